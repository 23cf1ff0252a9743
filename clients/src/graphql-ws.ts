// The npm package `graphql-ws`: everything over one WebSocket.
import { createClient } from 'graphql-ws';

import { print } from 'graphql';
import type { FormattedExecutionResult } from 'graphql-ws';
import { BadCredentials, errorOf, type Client } from './client.js';
import { ChangesDocument, type ChangesSubscription } from './generated.js';

export function open(url: string, token?: string) {
  return createClient({
    url: url.replace(/^http/, 'ws'),
    connectionParams: token ? { Authorization: `Bearer ${token}` } : {},
    retryAttempts: 0, // follow() comes back by itself, with the last cursor
  });
}

export function connect(url: string, token?: string): Client {
  const client = open(url, token);
  return {
    async call(document, variables) {
      try {
        const { value } = await client.iterate({ query: print(document), variables }).next();
        if (value.errors) throw errorOf(value.errors);
        return value.data;
      } catch (error) {
        throw reasonOf(error);
      }
    },
    changes(after, listener) {
      return client.subscribe<ChangesSubscription>(
        { query: print(ChangesDocument), variables: { after } },
        {
          next: ({ data, errors }: FormattedExecutionResult<ChangesSubscription>) =>
            data ? listener.change(data.emailInboxChanged) : listener.ended(errorOf(errors ?? [])),
          error: (error) => listener.ended(reasonOf(error)),
          complete: () => listener.ended(),
        },
      );
    },
    close: () => void client.dispose(),
  };
}

/** A WebSocket ends with GraphQL errors, or with the event of its closing. */
export function reasonOf(error: unknown): unknown {
  if (Array.isArray(error)) return errorOf(error);
  const code = typeof error === 'object' && error && 'code' in error ? error.code : undefined;
  return code === 4403 ? new BadCredentials() : error;
}
