// The demo server of the official TypeScript SDK with its own authorization server, as published.
//
//   node demo.mjs MODULES
//
// MODULES is the `node_modules` folder. The first line of stdout is `ready PORT`: where it speaks
// MCP. What the demo itself prints, tokens among it, is dropped. It ends when stdin does, so it
// never outlives a test.

import { createServer } from 'node:net';
import { pathToFileURL } from 'node:url';

process.stdin.resume().on('end', () => process.exit(0));

const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
const [port, authPort] = await Promise.all([freePort(), freePort()]);
Object.assign(process.env, { MCP_PORT: port, MCP_AUTH_PORT: authPort });

let listening = 0;
console.log = (first) => {
  listening += Number(/ listening on port /.test(first));
  if (listening === 2) {
    process.stdout.write(`ready ${port}\n`);
    listening = NaN;
  }
};
process.argv.push('--oauth', '--oauth-strict');
const examples = '@modelcontextprotocol/sdk/dist/esm/examples/server';
await import(pathToFileURL(`${process.argv[2]}/${examples}/simpleStreamableHttp.js`));
