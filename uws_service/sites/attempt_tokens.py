"""Tokens for one attempt, signed by this service.

They are for agents of sites that have no service accounts.

A token is a JWT (RFC 7519) signed with a key that all processes of the service share (HMAC-SHA256). It is good at the
resources for agents alone, for a few hours; an agent renews it while its attempt is open. What an agent may do with it
is decided at each request from the attempt's row, so a closed attempt's token is of no use however long it is valid.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired
from uws_service.sites.kind import UnknownToken

log = structlog.get_logger(__name__)

SECRET = "attempt-tokens"
"""Name of the signing key among the store's secrets."""
AUDIENCE = "uws-service/agent"
TYPE = "attempt+jwt"
"""The header ``typ``: no other token of this service, or of an issuer, has it (RFC 8725 §3.11)."""
ALGORITHM = "HS256"
VALID_SECONDS = 6 * 3600
"""A single transfer of a file must end in this time."""
RENEWAL_SECONDS = 3600
"""An agent renews its token after this time."""
LEEWAY_SECONDS = 30
TOKEN_LENGTH = 2048
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_UID = re.compile(r"[0-9a-f]{16}")


class AttemptTokens:
    """Issues and verifies the tokens.

    Parameters
    ----------
    key
        Signs the tokens; the same in all processes of the service.
    clock
        The present instant in milliseconds.
    """

    def __init__(self, key: bytes, clock: Callable[[], int]) -> None:
        self._key = OctKey.import_key(key)
        self._clock = clock

    def issue(self, site: str, job_id: str, number: int) -> str:
        """Return a token for a new agent.

        Each has a uid of its own.
        """
        return self._sign(site, job_id, number, secrets.token_hex(8))

    def renew(self, agent: AgentIdentity) -> str:
        """Return a fresh token for a verified agent."""
        (site,) = agent.sites
        return self._sign(site, agent.job_id, agent.number, agent.uid)

    def _sign(self, site: str, job_id: str, number: int, uid: str) -> str:
        now = self._clock() // 1000
        claims = {
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + VALID_SECONDS,
            "site": site,
            "job": job_id,
            "attempt": number,
            "uid": uid,
        }
        return jwt.encode({"alg": ALGORITHM, "typ": TYPE}, claims, self._key)

    async def verify(self, token: str) -> AgentIdentity:
        """Return the agent that shows a token.

        Raises
        ------
        UnknownToken
            This service did not sign it as a token for an attempt.
        AuthenticationRequired
            It has expired, or is for something else.
        """
        if len(token) > TOKEN_LENGTH:
            raise UnknownToken("The token is none of this service's for an attempt.")
        try:
            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError):
            raise UnknownToken("The token is none of this service's for an attempt.") from None
        if decoded.header.get("typ") != TYPE:
            raise UnknownToken("The token is none of this service's for an attempt.")
        claims = decoded.claims
        registry = jwt.JWTClaimsRegistry(
            now=lambda: self._clock() // 1000,
            leeway=LEEWAY_SECONDS,
            aud={"essential": True, "value": AUDIENCE},
            iat={"essential": True},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
            return _identity(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            log.info("attempt token refused", error=type(error).__name__)
            raise AuthenticationRequired("The token of this attempt has expired, or is not for an agent.") from None


def _identity(claims: Mapping[str, Any]) -> AgentIdentity:
    site, job_id, number, uid = claims["site"], claims["job"], claims["attempt"], claims["uid"]
    if not (isinstance(site, str) and _JOB_ID.fullmatch(job_id) and _UID.fullmatch(uid) and type(number) is int):
        raise ValueError("claims")
    return AgentIdentity(frozenset({site}), job_id, number, uid, renewable=True)
