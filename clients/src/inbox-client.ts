// A small client to begin with: fetch for queries and mutations, a WebSocket for what is live. Typed by the schema.
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { print } from 'graphql';
import { errorOf, type Change, type Client, type Inbox, type Listener, type Refused } from './client.js';
import { follow } from './follow.js';
import {
  CursorDocument,
  type InboxesQuery,
  InboxesDocument,
  LogInDocument,
  SetInboxDocument,
  type SetEmailInboxInput,
  type SetInboxMutation,
} from './generated.js';
import { connect } from './graphql-ws.js';

export type UserError = SetInboxMutation['setEmailInbox']['userErrors'][number];

/** The input is not right. Show each message beside its field. */
export class InputRefused extends Error {
  constructor(readonly userErrors: readonly UserError[]) {
    super(userErrors.map((error) => error.message).join('\n'));
  }

  /** The messages by the path of the field, such as `input.smtp.port`; what belongs to no field by ''. */
  byField(): Map<string, string[]> {
    const found = new Map<string, string[]>();
    for (const { field, message } of this.userErrors) {
      const path = field?.join('.') ?? '';
      found.set(path, [...(found.get(path) ?? []), message]);
    }
    return found;
  }
}

export class InboxClient implements Client {
  readonly #webSocket: Client;

  /** `url` ends with /graphql. */
  constructor(
    readonly url: string,
    readonly token?: string,
  ) {
    this.#webSocket = connect(url, token);
  }

  /** A client of the user. Rejects with InputRefused where username or password is wrong. */
  static async logIn(url: string, username: string, password: string): Promise<InboxClient> {
    const { login } = await new InboxClient(url).call(LogInDocument, { username, password });
    if (!login.token) throw new InputRefused(login.userErrors);
    return new InboxClient(url, login.token);
  }

  /** Creates the inbox, or replaces the one with this id. Rejects with InputRefused. */
  async setInbox(input: SetEmailInboxInput): Promise<Inbox> {
    const { setEmailInbox } = await this.call(SetInboxDocument, { input });
    if (!setEmailInbox.emailInbox) throw new InputRefused(setEmailInbox.userErrors);
    return setEmailInbox.emailInbox;
  }

  /** Every inbox, fetched page by page while you read. */
  async *inboxes(pageSize = 50): AsyncGenerator<Inbox> {
    let after: string | null = null;
    do {
      const { emailInboxes }: InboxesQuery = await this.call(InboxesDocument, { first: pageSize, after });
      for (const { node } of emailInboxes.edges) yield node;
      after = emailInboxes.pageInfo.hasNextPage ? emailInboxes.pageInfo.endCursor : null;
    } while (after);
  }

  /** The cursor of the newest change. Ask for it before you read the inboxes that you want to follow. */
  async cursor(): Promise<string> {
    return (await this.call(CursorDocument, {})).changesCursor;
  }

  /** Every change after the cursor, or from now on, through lost connections. Returns what ends it. */
  follow(after: string | null, change: (change: Change) => void, refused: (reason: Refused) => void): () => void {
    return follow(this, after, change, refused);
  }

  async call<Data, Variables>(document: TypedDocumentNode<Data, Variables>, variables: Variables): Promise<Data> {
    const answer = await fetch(this.url, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Accept: 'application/graphql-response+json',
        ...(this.token && { Authorization: `Bearer ${this.token}` }),
      },
      body: JSON.stringify({ query: print(document), variables }),
    });
    const { data, errors } = await answer.json();
    if (errors) throw errorOf(errors);
    return data;
  }

  changes(after: string | null, listener: Listener): () => void {
    return this.#webSocket.changes(after, listener);
  }

  close(): void {
    this.#webSocket.close();
  }
}
