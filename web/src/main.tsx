// Sole purpose: puts GraphiQL on the page.

import "./page.css";
import "./workers";

import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";

import { headers, query, variables } from "./example";
import { fetcher } from "./fetcher";
import { storage } from "./storage";

createRoot(document.getElementById("graphiql")!).render(
  <GraphiQL
    fetcher={fetcher}
    storage={storage}
    shouldPersistHeaders={false}
    // Without the history plugin, which keeps headers and variables of every run.
    plugins={[]}
    initialQuery={query}
    initialVariables={variables}
    defaultHeaders={headers}
    defaultEditorToolsVisibility="headers"
  />,
);
