// Fastify with what is beside GraphQL: the REST path, and whether the server is ready.
import { env } from 'node:process';
import fastify from 'fastify';
import { ready } from './inboxes.js';
import { save } from './rest.js';

const saved = { type: 'object', properties: { _id: { type: 'string' }, success: { type: 'boolean' } } };

export const app = fastify();
app.get('/health/ready', () => ({ status: ready() ? 'ready' : 'not ready' }));
app.post('/api/v1/email-inbox', { schema: { response: { '2xx': saved } } }, (request, reply) => {
  const [status, body] = save(request.headers, request.body);
  reply.code(status).send(body);
});

export const listen = () => app.listen({ host: '127.0.0.1', port: Number(env.EMAIL_INBOX_PORT) });
