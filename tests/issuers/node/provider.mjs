// oidc-provider with ES256 access tokens for one resource, opaque ones without it, and groups as SKA IAM has them.
// Its own development pages take any password. Settings come as JSON in the environment variable PROVIDER.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const settings = JSON.parse(process.env.PROVIDER);

function key(type, options, alg) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
}

const programs = ['robot', 'other'].map((name) => ({
  client_id: name, client_secret: `${name}-secret`, grant_types: ['client_credentials'], redirect_uris: [],
  response_types: [], scope: 'uws',
}));

const provider = new Provider(settings.url, {
  clients: [
    {
      client_id: settings.client, client_secret: settings.secret, redirect_uris: settings.redirects,
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
    },
    {
      client_id: settings.cli, token_endpoint_auth_method: 'none', redirect_uris: [], response_types: [],
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], application_type: 'native',
    },
    ...programs,
  ],
  jwks: { keys: [key('ec', { namedCurve: 'P-256' }, 'ES256'), key('rsa', { modulusLength: 2048 }, 'RS256')] },
  scopes: ['openid', 'offline_access', 'profile', 'uws'],
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
      getResourceServerInfo: (ctx, resource) => ({
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
      'wlcg.groups': settings.users[name] ?? ['/ska/programs'], aud: settings.audience,
    };
  },
  findAccount: (ctx, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: id, groups: settings.users[id] ?? [] }),
  }),
});

provider.listen(settings.port, '127.0.0.1');
