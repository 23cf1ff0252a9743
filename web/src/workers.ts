// Sole purpose: tells Monaco, the editor in GraphiQL, where its workers are.

import type { Environment } from "monaco-editor";

/** The workers' addresses by language, filled in by the build. */
declare const WORKERS: Record<string, string>;

const environment: Environment = {
  getWorker: (_, label) => new Worker(WORKERS[label] ?? WORKERS.editor!, { type: "module" }),
};

Object.assign(globalThis, { MonacoEnvironment: environment });
