// Mercurius with graphql-jit, which compiles a document when it comes for the second time.
import mercurius from 'mercurius';
import { app, listen } from './fastify.js';
import { authenticated } from './inboxes.js';
import { resolvers, typeDefs } from './schema.js';

await app.register(mercurius, {
  schema: typeDefs,
  resolvers,
  jit: 1,
  context: ({ headers }) => ({ caller: authenticated(headers) }),
});
await listen();
