// Writes src/generated.ts: a typed document for every operation in src/operations.graphql.
import { readFile, writeFile } from 'node:fs/promises';
import { codegen } from '@graphql-codegen/core';
import * as operations from '@graphql-codegen/typescript-operations';
import * as documents from '@graphql-codegen/typed-document-node';
import { parse } from 'graphql';

const read = async (path) => parse(await readFile(new URL(path, import.meta.url), 'utf8'));

const written = await codegen({
  filename: 'src/generated.ts',
  schema: await read('../schema/schema.graphql'),
  documents: [{ location: 'src/operations.graphql', document: await read('src/operations.graphql') }],
  config: { useTypeImports: true, scalars: { ID: 'string', DateTime: 'string' }, strictScalars: true },
  pluginMap: { operations, documents },
  plugins: [{ operations: {} }, { documents: {} }],
});
await writeFile(new URL('src/generated.ts', import.meta.url), written);
