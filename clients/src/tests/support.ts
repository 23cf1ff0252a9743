// What the tests have in common.
import assert from 'node:assert/strict';
import type { Client } from '../client.js';
import { LogInDocument, type SetEmailInboxInput } from '../generated.js';

const DEADLINE = 20_000;

export const [url, username, password] = process.argv.slice(-3) as [string, string, string];

export function input(name: string, port = 465): SetEmailInboxInput {
  const server = { username: name, password: 'mail-secret', secure: true };
  return {
    id: name,
    name,
    email: `${name}@example.org`,
    active: true,
    smtp: { server: 'smtp.example.org', port, ...server },
    imap: { server: 'imap.example.org', port: 993, ...server },
  };
}

/** A token, after one attempt with a wrong password. */
export async function logIn(anonymous: Client): Promise<string> {
  const wrong = await anonymous.call(LogInDocument, { username, password: 'not this one' });
  assert.equal(wrong.login.token, null);
  assert.deepEqual(
    wrong.login.userErrors.map((error) => error.code),
    ['AUTHENTICATION_FAILED'],
  );
  const { login } = await anonymous.call(LogInDocument, { username, password });
  assert.equal(login.user?.username, username);
  assert(login.token);
  return login.token;
}

/** What the condition waits for, looked at whenever `changed` is called. */
export class Waiting {
  #look = () => {};

  changed = (): void => this.#look();

  until(condition: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not in time: ${what}`)), DEADLINE);
      this.#look = () => {
        if (!condition()) return;
        clearTimeout(timer);
        resolve();
      };
      this.#look();
    });
  }
}

/** Tells the test to stop the server, to store box-0000 and on, and to start it again. */
export function askForRestart(): void {
  console.log('restart');
}
