// Sole purpose: bundles the page into dist/, which the server hands out under /graphiql/.

import { readFile, rm, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const base = "/graphiql/";

const options = {
  outdir: "dist",
  publicPath: base,
  entryNames: "assets/[name]-[hash]",
  assetNames: "assets/[name]-[hash]",
  chunkNames: "assets/chunk-[hash]",
  bundle: true,
  splitting: true,
  minify: true,
  metafile: true,
  format: "esm",
  target: "es2022",
  define: { "process.env.NODE_ENV": '"production"' },
  // GraphiQL's "prettify" needs the named exports of these, which only their newer form has.
  alias: {
    "prettier/parser-babel": "prettier/plugins/babel",
    "prettier/parser-graphql": "prettier/plugins/graphql",
  },
  loader: { ".ttf": "file" },
  logLevel: "warning",
};

/** The address of a built file, whose name holds a hash of its content. */
function address({ metafile }, name, extension) {
  const files = Object.keys(metafile.outputs).map((file) => file.replace(/^dist\//, base));
  return files.find((file) => file.startsWith(`${base}assets/${name}-`) && file.endsWith(extension));
}

await rm("dist", { recursive: true, force: true });

// The workers come first, because the page has to know their addresses.
const workers = await build({
  ...options,
  entryPoints: {
    editor: "monaco-editor/esm/vs/editor/editor.worker.js",
    graphql: "monaco-graphql/esm/graphql.worker.js",
    json: "monaco-editor/esm/vs/language/json/json.worker.js",
  },
});

const page = await build({
  ...options,
  entryPoints: { page: "src/main.tsx" },
  jsx: "automatic",
  define: {
    ...options.define,
    WORKERS: JSON.stringify({
      editor: address(workers, "editor", ".js"),
      graphql: address(workers, "graphql", ".js"),
      json: address(workers, "json", ".js"),
    }),
  },
});

// The styles of what is loaded later are in the page's stylesheet as well; nothing refers to theirs.
const stylesheets = Object.keys(page.metafile.outputs).filter((file) => file.endsWith(".css"));
const superfluous = stylesheets.filter((file) => !file.startsWith("dist/assets/page-"));
await Promise.all(superfluous.map((file) => rm(file)));

const html = await readFile("index.html", "utf8");
await writeFile(
  "dist/index.html",
  html.replace("page.css", address(page, "page", ".css")).replace("page.js", address(page, "page", ".js")),
);
