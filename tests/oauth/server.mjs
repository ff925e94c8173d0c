// The authorization server of the tests: oidc-provider, on a free port of 127.0.0.1.
//
//   node server.mjs MODULES < options.json
//
// MODULES is the `node_modules` folder. The first line of stdin holds the options as JSON:
//   issuer             how clients reach it (a proxy stands in front)
//   accessTokenTtl     lifetime of access tokens, in seconds
//   refreshTokenTtl    lifetime of refresh tokens, in seconds
//   accessTokenFormat  "jwt" or "opaque"
//   rotate             whether each refresh gives a new refresh token
// The first line of stdout is `ready PORT`. It ends when stdin does, so it never outlives a test.
//
// GET /test/events answers what it granted, refused and failed at, in order, as a list of strings. Only
// the test asks for that; it is no part of an authorization server.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

// Nobody reads stdout after the first line, so that what the provider remarks goes to stderr.
console.info = console.error;
console.log = console.error;

const { Provider } = await import(pathToFileURL(`${process.argv[2]}/oidc-provider/lib/index.js`));

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
const options = JSON.parse(await new Promise((resolve) => { lines.once('line', resolve); }));
const { issuer } = options;

const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const signing = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });

// Any port of a loopback address is accepted for a native client.
const native = {
  application_type: 'native',
  redirect_uris: [
    'http://127.0.0.1/callback',
    'http://localhost/auth/callback',
    'http://[::1]/callback',
  ],
  grant_types: ['authorization_code', 'refresh_token', DEVICE],
  response_types: ['code'],
};

const clients = [
  { ...native, client_id: 'public', token_endpoint_auth_method: 'none' },
  // A secret that shows whether Basic credentials are form-encoded first.
  {
    ...native, client_id: 'basic', client_secret: 'a secret: 100% + more',
    token_endpoint_auth_method: 'client_secret_basic',
  },
  {
    ...native, client_id: 'post', client_secret: 'a secret: 100% + more',
    token_endpoint_auth_method: 'client_secret_post',
  },
  {
    client_id: 'resource', client_secret: 'resource', token_endpoint_auth_method: 'client_secret_post',
    redirect_uris: [], response_types: [], grant_types: ['client_credentials'],
  },
];

const account = (id) => ({
  accountId: id,
  claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true }),
});

const provider = new Provider(issuer, {
  clients,
  jwks: { keys: [{ ...signing, use: 'sig', alg: 'RS256', kid: 'test' }] },
  cookies: { keys: ['test'] },
  scopes: ['openid', 'offline_access', 'email', 'api', 'api:write'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false,
  findAccount: (_ctx, id) => account(id),
  pkce: { required: () => true },
  rotateRefreshToken: options.rotate,
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  // What OpenAI's access tokens say of the account.
  extraTokenClaims: (_ctx, token) => token.accountId && {
    email: `${token.accountId}@example.com`,
    'https://api.openai.com/auth': { chatgpt_account_id: `account-${token.accountId}` },
  },
  ttl: {
    AccessToken: options.accessTokenTtl, RefreshToken: options.refreshTokenTtl,
    AuthorizationCode: 60, DeviceCode: 600, IdToken: 600,
    Grant: 86400, Interaction: 600, Session: 86400,
  },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true, charset: 'base-20', mask: '****-****' },
    introspection: { enabled: true, allowedPolicy: () => true },
    registration: { enabled: true, initialAccessToken: false },
    registrationManagement: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (_ctx, _client, oneOf) => oneOf ?? `${issuer}/api`,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => ({
        audience: resource, scope: 'api api:write', accessTokenTTL: options.accessTokenTtl,
        accessTokenFormat: options.accessTokenFormat, jwt: { sign: { alg: 'RS256' } },
      }),
    },
    revocation: { enabled: true, allowedPolicy: () => true },
  },
});

const events = [];
provider.on('grant.success', (ctx) => events.push(`granted ${ctx.oidc.params.grant_type}`));
provider.on('grant.error', (ctx, error) => {
  events.push(`refused ${ctx.oidc.params?.grant_type} ${error.error}`);
});
provider.on('grant.revoked', () => events.push('revoked'));
provider.on('server_error', (_ctx, error) => events.push(`failed ${error.message}`));

provider.use(async (ctx, next) => {
  if (ctx.path === '/test/events') {
    ctx.body = events;
    return;
  }
  if (ctx.path === '/.well-known/oauth-authorization-server') {
    ctx.path = '/.well-known/openid-configuration';
  }
  await next();
});

const server = createServer(provider.callback());
server.listen(0, '127.0.0.1', () => process.stdout.write(`ready ${server.address().port}\n`));
