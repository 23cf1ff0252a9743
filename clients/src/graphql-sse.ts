// The npm package `graphql-sse`: a request an operation, which goes through proxies that WebSockets do not.
import { createClient } from 'graphql-sse';

import { print } from 'graphql';
import { NetworkError, type ExecutionResult } from 'graphql-sse';
import { BadCredentials, errorOf, type Client } from './client.js';
import { ChangesDocument, type ChangesSubscription } from './generated.js';

export function open(url: string, token?: string) {
  return createClient({
    url,
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    retryAttempts: 0, // follow() comes back by itself, with the last cursor
  });
}

export function connect(url: string, token?: string): Client {
  const client = open(url, token);
  return {
    async call(document, variables) {
      const { value } = await client.iterate({ query: print(document), variables }).next();
      if (value.errors) throw errorOf(value.errors);
      return value.data;
    },
    changes(after, listener) {
      return client.subscribe<ChangesSubscription>(
        { query: print(ChangesDocument), variables: { after } },
        {
          next: ({ data, errors }: ExecutionResult<ChangesSubscription>) =>
            data ? listener.change(data.emailInboxChanged) : listener.ended(errorOf(errors ?? [])),
          error: (error) => listener.ended(reasonOf(error)),
          complete: () => listener.ended(),
        },
      );
    },
    close: () => client.dispose(),
  };
}

function reasonOf(error: unknown): unknown {
  const status = error instanceof NetworkError && error.response?.status;
  return status === 401 ? new BadCredentials() : error;
}
