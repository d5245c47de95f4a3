"""Login with a browser: the authorization-code flow with PKCE.

This is the part that talks to the issuer (OpenID Connect Core 1.0 §3.1); the web's part is in ``web.login``.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import structlog

from uws_service.auth.claims import identity_of, is_jwt, peek, require_claims
from uws_service.auth.credentials import invalid
from uws_service.auth.identity import Identity
from uws_service.auth.keys import IssuerFault, IssuerKeys
from uws_service.auth.tokens import Tokens
from uws_service.domain.errors import AuthenticationRequired, Forbidden, ServiceUnavailable

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A login that the person has not finished.

    ``url`` is the issuer's page that the browser goes to.
    """

    url: str
    state: str
    nonce: str
    verifier: str


def _unavailable(issuer: IssuerKeys, error: IssuerFault) -> ServiceUnavailable:
    log.warning("nobody can log in at an issuer", issuer=issuer.settings.url, problem=str(error))
    return ServiceUnavailable(f"Nobody can log in at {issuer.settings.host} now.", retry_after=10)


async def begin(issuer: IssuerKeys, redirect_uri: str) -> PendingLogin:
    """Prepare a login at the issuer."""
    settings = issuer.settings
    try:
        endpoint = (await issuer.metadata()).endpoint("authorization_endpoint")
    except IssuerFault as error:
        raise _unavailable(issuer, error) from None
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")
    query = {
        "response_type": "code",
        "client_id": str(settings.client_id),
        "redirect_uri": redirect_uri,
        "scope": settings.login_scopes,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **({"resource": settings.resource} if settings.resource else {}),
    }
    return PendingLogin(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", state, nonce, verifier)


async def require_sender(issuer: IssuerKeys, name: str | None) -> None:
    """Raise unless the login's issuer sent the answer.

    The parameter ``iss`` says so (RFC 9207 §2.4). An issuer that does not promise the parameter may omit it.
    """
    try:
        metadata = await issuer.metadata()
    except IssuerFault as error:
        raise _unavailable(issuer, error) from None
    if name is None and metadata.sends_issuer:
        raise AuthenticationRequired("The answer does not say which issuer it came from (iss). Log in again.")
    if name is not None and name != metadata.issuer:
        raise AuthenticationRequired("The answer came from another issuer. Log in again.")


async def finish(
    tokens: Tokens, issuer: IssuerKeys, *, code: str, nonce: str, verifier: str, redirect_uri: str, now: float
) -> Identity:
    """Exchange the code and return who logged in.

    The access token says it if it is for this service, else the ID token does.
    """
    settings = issuer.settings
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        **({"resource": settings.resource} if settings.resource else {}),
    }
    try:
        metadata = await issuer.metadata()
        answer = await tokens.post(issuer, metadata.endpoint("token_endpoint"), form, settings.client_id)
    except IssuerFault as error:
        if error.refusal == "invalid_grant":
            raise AuthenticationRequired("The issuer does not know this login, or no longer. Log in again.") from None
        raise _unavailable(issuer, error) from None
    claims = await _id_claims(tokens, issuer, answer.get("id_token"), nonce, now)
    access = answer.get("access_token")
    if isinstance(access, str):
        try:
            identity, _ = await tokens.verify(access, issuer=issuer)
            if identity.owner == identity_of(claims, settings).owner:
                return identity
        except (AuthenticationRequired, Forbidden) as error:
            log.info("the access token of a login is not for this service", reason=error.message)
    return identity_of(claims, settings)


async def _id_claims(tokens: Tokens, issuer: IssuerKeys, token: Any, nonce: str, now: float) -> Mapping[str, Any]:
    """Return the ID token's claims (OpenID Connect Core 1.0 §3.1.3.7)."""
    if not isinstance(token, str) or not is_jwt(token):
        raise invalid("The issuer gave no ID token; the scope openid must be among login_scopes.")
    peeked, _ = peek(token)
    if peeked.algorithm not in issuer.settings.algorithms:
        raise invalid(f"The ID token's algorithm {peeked.algorithm[:16]!r} is not taken.")
    claims, issuer_name = await tokens.verified_claims(issuer, token, peeked.key_id)
    rules = issuer.settings.model_copy(update={"audience": issuer.settings.client_id, "any_audience": False})
    require_claims(claims, rules, issuer_name, now, tokens.settings.leeway, id_token=True)
    if claims.get("nonce") != nonce:
        raise invalid("The ID token belongs to another login.")
    return claims
