// The live list, beside what another client does: live-list.js URL USERNAME PASSWORD
import './node.js';
import assert from 'node:assert/strict';
import { InboxClient, InputRefused } from '../inbox-client.js';
import { LiveList } from '../live-list.js';
import { askForRestart, input, password, url, username, Waiting } from './support.js';

await assert.rejects(InboxClient.logIn(url, username, 'not this one'), InputRefused);
const client = await InboxClient.logIn(url, username, password);
await showsErrorsByField();
await staysAsTheServerHasIt();
client.close();

async function showsErrorsByField(): Promise<void> {
  const error = await client.setInbox({ ...input('inbox-0', 0), name: ' ' }).catch((reason: unknown) => reason);
  assert(error instanceof InputRefused);
  assert.deepEqual([...error.byField().keys()], ['input.name', 'input.smtp.port']);
  assert.equal((await client.setInbox(input('inbox-0'))).version, 1);
}

async function staysAsTheServerHasIt(): Promise<void> {
  for (const name of ['inbox-1', 'inbox-2']) await client.setInbox(input(name));
  const waiting = new Waiting();
  const list = new LiveList(client, waiting.changed, (reason) => assert.fail(String(reason)));
  const shown = () => [...list.inboxes.keys()].sort().join();
  await list.open();
  assert.equal(shown(), 'inbox-0,inbox-1,inbox-2');

  const { version } = await client.setInbox(input('inbox-1'));
  await waiting.until(() => list.inboxes.get('inbox-1')!.version === version, 'the change of an inbox');

  await client.setInbox(input('inbox-3'));
  await waiting.until(() => list.inboxes.has('inbox-3'), 'the new inbox');
  askForRestart();
  await waiting.until(() => list.inboxes.has('box-0002'), 'what was made while the server was away');
  assert.equal(shown(), 'box-0000,box-0001,box-0002,inbox-0,inbox-1,inbox-2,inbox-3');
  list.close();
}
