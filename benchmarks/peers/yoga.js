// GraphQL Yoga on the HTTP server of Node, as its documentation starts it. Documents are parsed and validated once.
import { createServer } from 'node:http';
import { env } from 'node:process';
import { json } from 'node:stream/consumers';
import { createSchema, createYoga } from 'graphql-yoga';
import { authenticated, ready } from './inboxes.js';
import { save } from './rest.js';
import { resolvers, typeDefs } from './schema.js';

const yoga = createYoga({
  schema: createSchema({ typeDefs, resolvers }),
  context: (/** @type {any} */ { req }) => ({ caller: authenticated(req.headers) }),
  cors: false,
  graphiql: false,
  landingPage: false,
});

async function rest(request, response) {
  const [status, body] = save(request.headers, await json(request));
  send(response, status, body);
}

function send(response, status, body) {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

createServer((request, response) => {
  if (request.url === '/graphql') return yoga(request, response);
  if (request.url === '/api/v1/email-inbox') {
    return rest(request, response).catch(() => send(response, 500, { success: false, error: 'Internal error.' }));
  }
  return send(response, request.url === '/health/ready' ? 200 : 404, { ready: ready() });
}).listen(Number(env.EMAIL_INBOX_PORT), '127.0.0.1');
