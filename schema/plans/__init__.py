"""Plans: plain operations run without the work that graphql-core does at each request. Knows no field by name."""
