// Sole purpose: carries operations to the server, over HTTP or, for subscriptions, a WebSocket.
//
// Failures are thrown as plain objects: GraphiQL prints those as they are, an Error with its stack.

import type { Fetcher, FetcherParams } from "@graphiql/toolkit";
import { getOperationAST, type ExecutionResult } from "graphql";
import { createClient } from "graphql-ws";

type Headers = Record<string, string>;

const endpoint = new URL("/graphql", location.href);

export const fetcher: Fetcher = (params, { headers = {}, documentAST } = {}) => {
  const operation = documentAST && getOperationAST(documentAST, params.operationName);
  return operation?.operation === "subscription"
    ? subscribe(params, filledIn(headers))
    : post(params, filledIn(headers)).catch(fail);
};

// An empty value means "not filled in", not "log in with an empty token".
function filledIn(headers: Record<string, unknown>): Headers {
  const entries = Object.entries(headers).map(([name, value]) => [name, String(value ?? "").trim()]);
  return Object.fromEntries(entries.filter(([, value]) => value !== ""));
}

async function post(params: FetcherParams, headers: Headers): Promise<ExecutionResult> {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: {
      Accept: "application/graphql-response+json, application/json;q=0.9",
      "Content-Type": "application/json",
      ...headers,
    },
    body: JSON.stringify(params),
  });
  const text = await response.text();
  const body = parsed(text);
  if (isResult(body)) return body;
  throw { message: `HTTP ${response.status} ${response.statusText}`.trim(), body: body ?? text };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isResult(body: unknown): body is ExecutionResult {
  return typeof body === "object" && body !== null && ("data" in body || "errors" in body);
}

// Each run has a connection of its own, because credentials count for a whole connection. It is
// never retried: a reconnect would hide why it closed, and the changes missed in between.
function subscribe(params: FetcherParams, headers: Headers): AsyncIterable<ExecutionResult> {
  const url = new URL(endpoint);
  url.protocol = url.protocol.replace("http", "ws");
  const client = createClient({
    url: url.href,
    connectionParams: headers,
    retryAttempts: 0,
    on: {
      // Without this, a close with code 1000 would be retried all the same, and without a pause.
      closed: (event) => {
        void results.throw(event);
        void results.return(undefined);
      },
    },
  });
  const results = client.iterate({ ...params }) as AsyncGenerator<ExecutionResult>;
  // Not an async generator: that would stop only when the next result arrives.
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => results.next().catch(fail),
      return: (value) => results.return(value),
    }),
  };
}

function fail(cause: unknown): never {
  if (cause instanceof CloseEvent)
    throw { message: `WebSocket closed: ${cause.code} ${cause.reason}`.trim() };
  if (cause instanceof Event) throw { message: "The WebSocket connection failed." };
  if (cause instanceof Error) throw { message: `Request failed: ${cause.message}` };
  throw cause;
}
