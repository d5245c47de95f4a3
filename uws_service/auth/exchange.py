"""OAuth 2.0 Token Exchange (RFC 8693), downscoped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uws_service.auth.credentials import checked
from uws_service.auth.keys import IssuerFault, IssuerKeys
from uws_service.auth.tokens import Tokens
from uws_service.domain.errors import AuthenticationRequired, Forbidden, ServiceUnavailable

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
DEFAULT_LIFETIME_SECONDS = 300.0
"""For tokens without `expires_in`, which is only recommended."""
MAX_LIFETIME_SECONDS = 86400.0


@dataclass(frozen=True, slots=True)
class Granted:
    """A token for an audience, good for ``seconds``."""

    access: str
    seconds: float
    refresh: str | None = None


async def exchange(tokens: Tokens, issuer: IssuerKeys, subject: str, audience: str, scopes: tuple[str, ...]) -> Granted:
    """Exchange the caller's token for one with this audience.

    It has no more than these scopes.

    Raises
    ------
    ServiceUnavailable
        The issuer can't be asked now.
    Forbidden
        It refuses, or gives more than was requested.
    """
    form = {
        "grant_type": GRANT,
        "subject_token": subject,
        "subject_token_type": ACCESS_TOKEN,
        "requested_token_type": ACCESS_TOKEN,
        "audience": audience,
        **({"scope": " ".join(scopes)} if scopes else {}),
    }
    granted = await _ask(tokens, issuer, form, audience, scopes)
    if granted.access == subject:
        raise Forbidden(f"{issuer.settings.host} gave the caller's own token back instead of one for {audience!r}.")
    return granted


async def refresh(tokens: Tokens, issuer: IssuerKeys, token: str, audience: str, scopes: tuple[str, ...]) -> Granted:
    """Renew a token by its refresh token.

    Raise as `exchange`.
    """
    form = {"grant_type": "refresh_token", "refresh_token": token}
    return await _ask(tokens, issuer, form, audience, scopes)


async def _ask(
    tokens: Tokens, issuer: IssuerKeys, form: Mapping[str, str], audience: str, scopes: tuple[str, ...]
) -> Granted:
    host = issuer.settings.host
    try:
        url = (await issuer.metadata()).endpoint("token_endpoint")
        answer = await tokens.post(issuer, url, form, issuer.settings.client_id)
    except IssuerFault as error:
        if error.refusal in ("", "temporarily_unavailable", "server_error", "slow_down"):
            raise ServiceUnavailable(
                f"The issuer {host} can't be asked now for access to data at {audience!r}.", retry_after=10
            ) from None
        raise Forbidden(f"The issuer {host} gives no access to data at {audience!r}: {error.refusal}.") from None
    return _granted(answer, host, audience, scopes)


def _granted(answer: Mapping[str, Any], host: str, audience: str, scopes: tuple[str, ...]) -> Granted:
    """Read the answer (RFC 8693 §2.2.1).

    Refuse broader tokens.
    """
    access, kind, lasts = (
        answer.get("access_token"),
        answer.get("token_type"),
        answer.get("expires_in", DEFAULT_LIFETIME_SECONDS),
    )
    if not isinstance(access, str) or str(kind).lower() != "bearer":
        raise Forbidden(f"The issuer {host} gives no bearer token for {audience!r}.")
    if isinstance(lasts, bool) or not isinstance(lasts, int | float) or not 0 < lasts < math.inf:
        raise Forbidden(f"The issuer {host} gives a token for {audience!r} without a time that makes sense.")
    granted_scopes = str(answer.get("scope", "")).split()
    if scopes and not set(granted_scopes) <= set(scopes):
        raise Forbidden(f"The issuer {host} gives more than the scopes that were asked for at {audience!r}.")
    try:
        checked(access)
    except AuthenticationRequired:
        raise Forbidden(f"The issuer {host} gives a token for {audience!r} that can't be sent.") from None
    refresh_token = answer.get("refresh_token")
    return Granted(
        access, min(float(lasts), MAX_LIFETIME_SECONDS), refresh_token if isinstance(refresh_token, str) else None
    )
