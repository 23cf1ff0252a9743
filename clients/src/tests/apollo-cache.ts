// What Apollo Client does beyond single calls, with its cache and its links: apollo-cache.js URL USERNAME PASSWORD
import './node.js';
import { HttpLink } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { connect, open } from '../apollo.js';
import { follow } from '../follow.js';
import { InboxesDocument, SetInboxDocument } from '../generated.js';
import { input, logIn, url, Waiting } from './support.js';

const anonymous = connect(url);
const token = await logIn(anonymous);
anonymous.close();
const client = open(url, token);
for (const name of ['inbox-0', 'inbox-1', 'inbox-2']) await set(name, name);
await watchesAList();
await fallsBackFromPersistedQueries();
client.stop();

async function set(id: string, name: string): Promise<void> {
  const values = { ...input(id), name };
  await client.mutate({ mutation: SetInboxDocument, variables: { input: values }, fetchPolicy: 'no-cache' });
}

/** The pages grow into one list, and a change that a subscription brings is seen in it. */
async function watchesAList(): Promise<void> {
  const list = client.watchQuery({ query: InboxesDocument, variables: { first: 1 } });
  const waiting = new Waiting();
  let names: string[] = [];
  let end: string | null = null;
  const watched = list.subscribe(({ data, dataState }) => {
    if (dataState !== 'complete') return;
    names = data.emailInboxes.edges.map(({ node }) => node.name);
    end = data.emailInboxes.pageInfo.hasNextPage ? data.emailInboxes.pageInfo.endCursor : null;
    waiting.changed();
  });
  for (let count = 1; count <= 3; count += 1) {
    await waiting.until(() => names.length === count, `${count} inboxes`);
    if (end) {
      await list.fetchMore({ variables: { after: end } });
    }
  }
  assert.deepEqual(names, ['inbox-0', 'inbox-1', 'inbox-2']);

  const refused = assert.fail;
  const stop = follow(connect(url, token, client), null, () => {}, refused);
  for (let tries = 1; names[1] === 'inbox-1'; tries += 1) await set('inbox-1', `renamed ${tries}`);
  stop();
  watched.unsubscribe();
  assert.match(names.join(), /^inbox-0,renamed \d+,inbox-2$/);
}

/** The server has none: Apollo asks once, and sends documents from then on. */
async function fallsBackFromPersistedQueries(): Promise<void> {
  const sent: { named: boolean; whole: boolean }[] = [];
  const http = new HttpLink({
    uri: url,
    headers: { Authorization: `Bearer ${token}` },
    fetch: (address, init) => {
      const { query, extensions } = JSON.parse(String(init?.body));
      sent.push({ named: Boolean(extensions?.persistedQuery), whole: Boolean(query) });
      return fetch(address, init);
    },
  });
  const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
  client.setLink(new PersistedQueryLink({ sha256 }).concat(http));
  for (let times = 0; times < 2; times += 1) {
    const { data } = await client.query({ query: InboxesDocument, variables: { first: 2 }, fetchPolicy: 'no-cache' });
    assert.equal(data?.emailInboxes.edges.length, 2);
  }
  const whole = { named: false, whole: true };
  assert.deepEqual(sent, [{ named: true, whole: false }, whole, whole]);
}
