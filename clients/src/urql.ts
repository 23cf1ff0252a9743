// urql: HTTP for queries and mutations; for subscriptions server-sent events, or `graphql-ws`.
import { cacheExchange, Client as Urql, fetchExchange } from '@urql/core';

import { CombinedError, subscriptionExchange } from '@urql/core';
import { getOperationAST } from 'graphql';
import { createClient } from 'graphql-ws';
import { onEnd, pipe, subscribe } from 'wonka';
import { BadCredentials, errorOf, type Client } from './client.js';
import { ChangesDocument } from './generated.js';
import { reasonOf as reasonOfClosing } from './graphql-ws.js';

export function open(url: string, token?: string) {
  return new Urql({
    url,
    exchanges: [cacheExchange, fetchExchange],
    fetchOptions: { headers: token ? { Authorization: `Bearer ${token}` } : {} },
    fetchSubscriptions: true,
  });
}

export function openWithWebSocket(url: string, token?: string) {
  const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {};
  const webSocket = createClient({ url: url.replace(/^http/, 'ws'), connectionParams: headers, retryAttempts: 0 });
  return new Urql({
    url,
    exchanges: [
      cacheExchange,
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query, variables }) => ({
          subscribe: (sink) => ({ unsubscribe: webSocket.subscribe({ query: query!, variables: variables! }, sink) }),
        }),
      }),
    ],
    fetchOptions: { headers },
  });
}

export function connect(url: string, token?: string, client = open(url, token)): Client {
  return {
    async call(document, variables) {
      const { data, error } =
        getOperationAST(document)?.operation === 'mutation'
          ? await client.mutation(document, variables)
          : await client.query(document, variables, { requestPolicy: 'network-only' });
      if (error) throw reasonOf(error);
      return data!;
    },
    changes(after, listener) {
      const { unsubscribe } = pipe(
        client.subscription(ChangesDocument, { after }),
        onEnd(() => listener.ended()),
        subscribe(({ data, error, hasNext }) => {
          if (error) listener.ended(reasonOf(error));
          // Where the stream ends, urql shows its last result once more, without a next.
          else if (data && hasNext) listener.change(data.emailInboxChanged);
        }),
      );
      return unsubscribe;
    },
    close: () => {},
  };
}

function reasonOf(error: CombinedError): unknown {
  if (error.response?.status === 401) return new BadCredentials();
  if (error.graphQLErrors.length) return errorOf(error.graphQLErrors);
  return reasonOfClosing(error.networkError);
}
