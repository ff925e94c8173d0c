// The MCP server of the tests: the official TypeScript SDK's, on a free port of 127.0.0.1.
//
//   node server.mjs MODULES < options.json
//
// MODULES is the `node_modules` folder. The first line of stdin holds the options as JSON:
//   issuer   who grants its tokens; `null`: it wants none
//   scope    the scope that every request needs
// The first line of stdout is `ready PORT`. It ends when stdin does, so it never outlives a test.
// Streamable HTTP is at /mcp, the transport before it at /sse with /messages.
//
// Tools: `hello` greets; `write` needs the scope `api:write`; `hang` never
// answers; `count` tells three numbers as
// notifications before its answer. GET /test/requests answers what came to those, in order, as a
// list of `METHOD what`: the methods of JSON-RPC, and the digest of the token. GET
// /test/refuse?token=T refuses that token from now on; GET /test/forget forgets all sessions.

import { createHash, randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const modules = process.argv[2];
const load = (path) => import(pathToFileURL(`${modules}/${path}`));
const require = createRequire(`${modules}/`);
const sdk = '@modelcontextprotocol/sdk/dist/esm';
const { McpServer } = await load(`${sdk}/server/mcp.js`);
const { StreamableHTTPServerTransport } = await load(`${sdk}/server/streamableHttp.js`);
const { SSEServerTransport } = await load(`${sdk}/server/sse.js`);
const { requireBearerAuth } = await load(`${sdk}/server/auth/middleware/bearerAuth.js`);
const { InvalidTokenError } = await load(`${sdk}/server/auth/errors.js`);
const express = require('express');

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
const options = JSON.parse(await new Promise((resolve) => { lines.once('line', resolve); }));
const { issuer, scope } = options;

const app = express();
app.use(express.json());
const requests = [];
const sessions = new Map();
app.get('/test/requests', (_req, res) => res.json(requests));
const refused = new Set();
app.get('/test/refuse', (req, res) => res.json([...refused.add(req.query.token)]));
app.get('/test/forget', async (_req, res) => {
  sessions.clear();
  await Promise.all([...streams.values()].map((transport) => transport.close()));
  res.json([]);
});

const server = await new Promise((resolve) => {
  const listening = app.listen(0, '127.0.0.1', () => resolve(listening));
});
const { port } = server.address();
const resource = `http://127.0.0.1:${port}/mcp`;
const resources = [resource, `http://127.0.0.1:${port}/sse`];
const metadataOf = (path) => `http://127.0.0.1:${port}/.well-known/oauth-protected-resource/${path}`;

// Asks the authorization server what a token is worth (RFC 7662).
const verifier = {
  async verifyAccessToken(token) {
    const body = new URLSearchParams({
      token, client_id: 'resource', client_secret: 'resource',
    });
    const answer = await fetch(`${issuer}/token/introspection`, { method: 'POST', body });
    const said = await answer.json();
    if (!said.active || refused.has(token) || !resources.includes(said.aud)) throw new InvalidTokenError('not for this server');
    return {
      token, clientId: said.client_id, scopes: (said.scope ?? '').split(' '), expiresAt: said.exp,
    };
  },
};

app.get('/.well-known/oauth-protected-resource/:path', (req, res) => {
  if (!issuer) return res.status(404).end();
  return res.json({
    resource: `http://127.0.0.1:${port}/${req.params.path}`, authorization_servers: [issuer], scopes_supported: [scope],
    bearer_methods_supported: ['header'],
  });
});

// Every message that needs more than every request needs it is told so before it is handled.
const stepUp = (path) => (req, res, next) => {
  const call = req.body?.method === 'tools/call' && req.body.params?.name;
  if (!issuer || call !== 'write' || req.auth?.scopes.includes('api:write')) return next();
  res.set('WWW-Authenticate', 'Bearer error="insufficient_scope", '
    + `scope="api:write", resource_metadata="${metadataOf(path)}"`);
  return res.status(403).json({ error: 'insufficient_scope' });
};

const note = (req, _res, next) => {
  const token = (req.get('authorization') ?? '').replace(/^Bearer /, '');
  const digest = token && createHash('sha256').update(token).digest('hex').slice(0, 16);
  requests.push(`${req.method} ${req.body?.method ?? ''} ${digest}`.trimEnd());
  next();
};

const make = () => {
  const mcp = new McpServer({ name: 'tests', version: '1' }, { capabilities: { logging: {} } });
  mcp.tool('hello', async () => ({ content: [{ type: 'text', text: 'hi' }] }));
  mcp.tool('write', async () => ({ content: [{ type: 'text', text: 'written' }] }));
  mcp.tool('hang', () => new Promise(() => {}));
  mcp.tool('count', async (extra) => {
    for (let i = 1; i <= 3; i += 1) {
      await extra.sendNotification({
        method: 'notifications/message', params: { level: 'info', data: i },
      });
    }
    return { content: [{ type: 'text', text: 'counted' }] };
  });
  return mcp;
};

const handle = async (req, res) => {
  const id = req.get('mcp-session-id');
  let transport = sessions.get(id);
  if (id && !transport) return res.status(404).json({ error: 'no such session' });
  if (!transport) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      onsessioninitialized: (made) => sessions.set(made, transport),
      onsessionclosed: (gone) => sessions.delete(gone),
    });
    await make().connect(transport);
  }
  return transport.handleRequest(req, res, req.body);
};
const guards = (path) => (issuer ? [
  requireBearerAuth({ verifier, requiredScopes: [scope], resourceMetadataUrl: metadataOf(path) }),
  stepUp(path),
] : []);
app.all('/mcp', note, ...guards('mcp'), handle);

// The transport of revision 2024-11-05: forgetting a session ends its stream.
const streams = new Map();
app.get('/sse', note, ...guards('sse'), async (_req, res) => {
  const transport = new SSEServerTransport('/messages', res);
  streams.set(transport.sessionId, transport);
  transport.onclose = () => streams.delete(transport.sessionId);
  await make().connect(transport);
});
app.post('/messages', note, ...guards('sse'), (req, res) => {
  const transport = streams.get(req.query.sessionId);
  if (!transport) return res.status(404).json({ error: 'no such session' });
  return transport.handlePostMessage(req, res, req.body);
});
process.stdout.write(`ready ${port}\n`);
