// The audits of the npm package `graphql-http`: audits.js URL TOKEN. An empty token: without credentials.
import { serverAudits } from 'graphql-http';

const [url, token] = process.argv.slice(-2) as [string, string];

const audits = serverAudits({
  url,
  fetchFn: (address: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    if (token) headers.set('Authorization', `Bearer ${token}`);
    return fetch(address, { ...init, headers });
  },
});
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status !== 'ok') console.log(`${result.status} ${audit.id} ${audit.name}: ${result.reason}`);
}
console.log(`${audits.length} audits`);
