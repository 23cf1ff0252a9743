// Sole purpose: what GraphiQL would keep in localStorage, kept in memory until the page is left.
//
// GraphiQL stores queries and variables in any case. They can hold passwords, which must not
// outlive the page.

import type { Storage } from "@graphiql/toolkit";

const items = new Map<string, string>();

export const storage: Storage = {
  getItem: (key) => items.get(key) ?? null,
  setItem: (key, value) => void items.set(key, value),
  removeItem: (key) => void items.delete(key),
  clear: () => items.clear(),
  get length() {
    return items.size;
  },
};
