// Apollo Client: HTTP for queries and mutations, `graphql-ws` for subscriptions.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { relayStylePagination } from '@apollo/client/utilities';
import { OperationTypeNode } from 'graphql';
import { createClient } from 'graphql-ws';

import { CombinedGraphQLErrors } from '@apollo/client/errors';
import { getOperationAST } from 'graphql';
import { BadCredentials, errorOf, type Client } from './client.js';
import { ChangesDocument } from './generated.js';

export function open(url: string, token?: string) {
  const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {};
  const http = new HttpLink({ uri: url, headers });
  const webSocket = new GraphQLWsLink(
    createClient({ url: url.replace(/^http/, 'ws'), connectionParams: headers, retryAttempts: 0 }),
  );
  return new ApolloClient({
    link: ApolloLink.split(({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION, webSocket, http),
    cache: new InMemoryCache({
      typePolicies: { Query: { fields: { emailInboxes: relayStylePagination(['filter', 'orderBy']) } } },
    }),
  });
}

export function connect(url: string, token?: string, client = open(url, token)): Client {
  return {
    async call(document, variables) {
      try {
        const { data } =
          getOperationAST(document)?.operation === 'mutation'
            ? await client.mutate({ mutation: document, variables })
            : await client.query({ query: document, variables, fetchPolicy: 'no-cache' });
        return data!;
      } catch (error) {
        throw reasonOf(error);
      }
    },
    changes(after, listener) {
      const subscription = client.subscribe({ query: ChangesDocument, variables: { after } }).subscribe({
        next: ({ data, error }) =>
          data ? listener.change(data.emailInboxChanged) : listener.ended(reasonOf(error)),
        error: (error) => listener.ended(reasonOf(error)),
        complete: () => listener.ended(),
      });
      return () => subscription.unsubscribe();
    },
    close: () => client.stop(),
  };
}

function reasonOf(error: unknown): unknown {
  if (CombinedGraphQLErrors.is(error)) return errorOf(error.errors);
  const closed = error instanceof Error && /closed with event 4403\b/.test(error.message);
  return closed ? new BadCredentials() : error;
}
