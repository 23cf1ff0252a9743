// What every client here can do, whatever library is inside, and what may come of a call.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import type { ChangesSubscription, InboxFragment } from './generated.js';

export type Inbox = InboxFragment;
export type Change = ChangesSubscription['emailInboxChanged'];

export interface Client {
  /** Runs a query or a mutation. Rejects with Refused or Unavailable; without a connection, with the library's error. */
  call<Data, Variables extends Record<string, unknown>>(
    document: TypedDocumentNode<Data, Variables>,
    variables: Variables,
  ): Promise<Data>;
  /** Subscribes once. Returns what ends it. */
  changes(after: string | null, listener: Listener): () => void;
  close(): void;
}

export interface Listener {
  change(change: Change): void;
  /** With Refused where to come back would not help. */
  ended(reason?: unknown): void;
}

/** The server will not do it: not for this caller, or not as it was asked. */
export class Refused extends Error {
  constructor(readonly code: string, message: string) {
    super(message);
  }
}

/** No connection with these credentials: a WebSocket is closed with 4403, an event stream answered with 401. */
export class BadCredentials extends Refused {
  constructor() {
    super('UNAUTHENTICATED', 'The server does not take these credentials.');
  }
}

/** The server can't do it now. */
export class Unavailable extends Error {}

/** What the top-level errors of an answer mean. */
export function errorOf(errors: readonly { message: string; extensions?: Record<string, unknown> }[]): Error {
  const code = String(errors[0]?.extensions?.['code']);
  const message = errors.map((error) => error.message).join('; ');
  return ['SERVICE_UNAVAILABLE', 'RATE_LIMITED'].includes(code) ? new Unavailable(message) : new Refused(code, message);
}
