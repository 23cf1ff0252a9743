// What every client is put through: journey.js CLIENT URL USERNAME PASSWORD
import './node.js';
import assert from 'node:assert/strict';
import * as apollo from '../apollo.js';
import { BadCredentials, type Change, type Client, type Refused } from '../client.js';
import { follow } from '../follow.js';
import { InboxesDocument, SetInboxDocument, type InboxesQueryVariables } from '../generated.js';
import * as graphqlSse from '../graphql-sse.js';
import * as graphqlWs from '../graphql-ws.js';
import { InboxClient } from '../inbox-client.js';
import * as urql from '../urql.js';
import { askForRestart, input, logIn, url, Waiting } from './support.js';

const CLIENTS: Record<string, (url: string, token?: string) => Client> = {
  apollo: apollo.connect,
  'graphql-sse': graphqlSse.connect,
  'graphql-ws': graphqlWs.connect,
  'inbox-client': (url, token) => new InboxClient(url, token),
  urql: urql.connect,
  'urql-ws': (url, token) => urql.connect(url, token, urql.openWithWebSocket(url, token)),
};
const connect = CLIENTS[process.argv[2]!]!;

const anonymous = connect(url);
const client = connect(url, await logIn(anonymous));
anonymous.close();
await refusesBadCredentials();
await setsAnInbox();
await pages();
await follows();
client.close();

async function refusesBadCredentials(): Promise<void> {
  const bad = connect(url, 'no such token');
  await assert.rejects(bad.call(InboxesDocument, {}), { code: 'UNAUTHENTICATED' });
  const reason = await new Promise<Refused>((resolve) => follow(bad, null, () => assert.fail('a change'), resolve));
  assert(reason instanceof BadCredentials, String(reason));
  bad.close();
}

async function setsAnInbox(): Promise<void> {
  const refused = (await client.call(SetInboxDocument, { input: input('inbox-0', 0) })).setEmailInbox;
  assert.equal(refused.success, false);
  assert.equal(refused.emailInbox, null);
  assert.deepEqual(
    refused.userErrors.map(({ code, field }) => [code, field]),
    [['INVALID', ['input', 'smtp', 'port']]],
  );
  const saved = (await client.call(SetInboxDocument, { input: input('inbox-0') })).setEmailInbox;
  assert.deepEqual(saved.userErrors, []);
  assert.equal(saved.emailInbox?.email, 'inbox-0@example.org');
}

async function pages(): Promise<void> {
  const names = ['inbox-0', 'inbox-1', 'inbox-2', 'inbox-3', 'inbox-4'];
  for (const name of names.slice(1)) await client.call(SetInboxDocument, { input: input(name) });

  const forwards: string[][] = [];
  for (let variables: InboxesQueryVariables | null = { first: 2 }; variables; ) {
    const { edges, pageInfo } = await page(variables);
    forwards.push(edges.map(({ node }) => node.id));
    variables = pageInfo.hasNextPage ? { first: 2, after: pageInfo.endCursor } : null;
  }
  assert.deepEqual(forwards, [['inbox-0', 'inbox-1'], ['inbox-2', 'inbox-3'], ['inbox-4']]);

  const backwards: string[][] = [];
  for (let variables: InboxesQueryVariables | null = { last: 2 }; variables; ) {
    const { edges, pageInfo } = await page(variables);
    backwards.push(edges.map(({ node }) => node.id));
    variables = pageInfo.hasPreviousPage ? { last: 2, before: pageInfo.startCursor } : null;
  }
  assert.deepEqual(backwards, [['inbox-3', 'inbox-4'], ['inbox-1', 'inbox-2'], ['inbox-0']]);
}

async function page(variables: InboxesQueryVariables) {
  return (await client.call(InboxesDocument, variables)).emailInboxes;
}

async function follows(): Promise<void> {
  const found: Change[] = [];
  const waiting = new Waiting();
  const stop = follow(
    client,
    null,
    (change) => {
      found.push(change);
      waiting.changed();
    },
    (reason) => assert.fail(reason),
  );

  // A client is not told when it follows, so an inbox is changed until a change is seen.
  while (!found.length) await change('inbox-1');
  await change('inbox-3');
  await waiting.until(() => found.at(-1)!.id === 'inbox-3', 'the live change');
  assert.equal(found.at(-1)!.emailInbox?.version, 2);

  const before = found.length;
  askForRestart();
  await waiting.until(() => found.length >= before + 3, 'the changes while away');
  await change('inbox-2');
  await waiting.until(() => found.length >= before + 4, 'the change after coming back');
  stop();
  assert.equal(new Set(found.map(({ cursor }) => cursor)).size, found.length);
  const seen = found.slice(before).map(({ id, kind }) => [id, kind]);
  const away = ['box-0000', 'box-0001', 'box-0002'].map((id) => [id, 'CREATED']);
  assert.deepEqual(seen, [...away, ['inbox-2', 'UPDATED']]);
}

async function change(id: string): Promise<void> {
  assert((await client.call(SetInboxDocument, { input: input(id) })).setEmailInbox.success);
}
