// oidc-provider with ES256 access tokens for one resource, opaque ones without it, and groups as SKA IAM has them.
// Its own development pages take any password. Settings come as JSON in the environment variable PROVIDER.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider, { errors } from 'oidc-provider';
import { createLocalJWKSet, jwtVerify } from 'jose';

const settings = JSON.parse(process.env.PROVIDER);

function key(type, options, alg) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
}

const programs = ['robot', 'other'].map((name) => ({
  client_id: name, client_secret: `${name}-secret`, grant_types: ['client_credentials'], redirect_uris: [],
  response_types: [], scope: 'uws',
}));

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const DATA = 'https://data.example.org';
const keys = [key('ec', { namedCurve: 'P-256' }, 'ES256'), key('rsa', { modulusLength: 2048 }, 'RS256')];
const published = createLocalJWKSet({ keys: keys.map(({ d, p, q, dp, dq, qi, ...open }) => open) });
const data = {
  scope: 'storage.read', audience: DATA, accessTokenTTL: settings.dataTtl ?? 3600, accessTokenFormat: 'jwt',
  jwt: { sign: { alg: 'ES256' } },
};

const provider = new Provider(settings.url, {
  clients: [
    {
      client_id: settings.client, client_secret: settings.secret, redirect_uris: settings.redirects,
      grant_types: ['authorization_code', 'refresh_token', EXCHANGE], response_types: ['code'],
    },
    {
      client_id: settings.cli, token_endpoint_auth_method: 'none', redirect_uris: [], response_types: [],
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], application_type: 'native',
    },
    ...programs,
  ],
  jwks: { keys },
  scopes: ['openid', 'offline_access', 'profile', 'uws', 'storage.read'],
  claims: { openid: ['sub'], profile: ['preferred_username', 'groups'] },
  cookies: { keys: ['only-for-tests'] },
  features: {
    devInteractions: { enabled: true },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    revocation: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => (resource === DATA ? data : {
        scope: 'uws', audience: settings.audience, accessTokenTTL: 3600,
        accessTokenFormat: resource.includes('opaque') ? 'opaque' : 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
  pkce: { required: () => true },
  extraTokenClaims: (ctx, token) => {
    const name = token.accountId ?? token.clientId;
    return {
      sub: name, preferred_username: name, 'wlcg.ver': '1.0',
      'wlcg.groups': settings.users[name] ?? ['/ska/programs'], aud: token.resourceServer?.audience ?? settings.audience,
    };
  },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: settings.users[id] ?? [] }),
  }),
});

// Token exchange (RFC 8693): an access token of ours for one audience and one scope; a refresh token, if so set.
async function exchange(ctx) {
  const { subject_token: subject, audience, scope } = ctx.oidc.params;
  const { client } = ctx.oidc;
  let claims;
  try {
    ({ payload: claims } = await jwtVerify(subject, published, { issuer: settings.url }));
  } catch (error) {
    throw new errors.InvalidGrant(error.code);
  }
  if (audience !== DATA) throw new errors.InvalidTarget('no such audience');
  if (scope !== data.scope) throw new errors.InvalidScope('no such scope', scope);
  const grant = new provider.Grant({ clientId: client.clientId, accountId: claims.sub });
  grant.addResourceScope(DATA, scope);
  const common = {
    accountId: claims.sub, client, grantId: await grant.save(), gty: 'token_exchange', scope, expiresWithSession: false,
  };
  const access = new provider.AccessToken(common);
  access.resourceServer = new provider.ResourceServer(DATA, data);
  const again = settings.dataRefresh ? new provider.RefreshToken({ ...common, resource: DATA }) : undefined;
  ctx.body = {
    access_token: await access.save(), token_type: 'Bearer', expires_in: data.accessTokenTTL, scope,
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    refresh_token: await again?.save(),
  };
}

provider.registerGrantType(
  EXCHANGE, exchange,
  ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope'],
);
provider.listen(settings.port, '127.0.0.1');
