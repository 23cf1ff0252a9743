// Apollo Server, on Fastify: it is faster there than on Express. Documents are parsed and validated once.
import { ApolloServer } from '@apollo/server';
import fastifyApollo from '@as-integrations/fastify';
import { app, listen } from './fastify.js';
import { authenticated } from './inboxes.js';
import { resolvers, typeDefs } from './schema.js';

const apollo = new ApolloServer({ typeDefs, resolvers });
await apollo.start();
await app.register(fastifyApollo(apollo), {
  path: '/graphql',
  context: async ({ headers }) => ({ caller: authenticated(headers) }),
});
await listen();
