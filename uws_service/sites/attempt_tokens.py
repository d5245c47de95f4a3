"""Tokens for one attempt, signed by this service.

They are for agents of sites that have no service accounts.

A token is a JWT (RFC 7519) signed with a key that all processes of the service share (HMAC-SHA256). It is good at the
resources for agents alone, for a few hours; an agent renews it while its attempt is open. What an agent may do with it
is decided at each request from the attempt's row, so a closed attempt's token is of no use however long it is valid.

A job of a batch system may wait for weeks, and lies where others may read it. So it gets a *ticket*, another kind of
JWT without an end of its own. It is good for one claim by one start of an agent, which exchanges it for a token.
"""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired, UsageError
from uws_service.sites.kind import UnknownToken

if TYPE_CHECKING:
    from joserfc.jwk import OctKey

log = structlog.get_logger(__name__)

SECRET = "attempt-tokens"
"""Name of the signing key among the store's secrets."""
AUDIENCE = "uws-service/agent"
TYPE = "attempt+jwt"
"""The header ``typ``: no other token of this service, or of an issuer, has it (RFC 8725 §3.11)."""
TICKET_TYPE = "attempt-ticket+jwt"
ALGORITHM = "HS256"
VALID_SECONDS = 6 * 3600
"""A single transfer of a file must end in this time."""
RENEWAL_SECONDS = 3600
"""An agent renews its token after this time."""
HEARTBEAT_MAX_SECONDS = 3600
"""Of an agent that runs the command itself, which renews its token to show that it lives."""
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
        self._secret = key
        self._clock = clock

    def issue(self, site: str, job_id: str, number: int) -> str:
        """Return a token for a new agent.

        Each has a uid of its own.
        """
        return self._sign(site, job_id, number, secrets.token_hex(8))

    def issue_ticket(self, site: str, job_id: str, number: int) -> str:
        """Return a ticket for the one agent that will begin an attempt."""
        claims = {"aud": AUDIENCE, "iat": self._clock() // 1000, "site": site, "job": job_id, "attempt": number}
        from joserfc import jwt  # with all of cryptography: most services have no such agents

        return str(jwt.encode({"alg": ALGORITHM, "typ": TICKET_TYPE}, claims, self._key))

    def renew(self, agent: AgentIdentity) -> str:
        """Return a fresh token for a verified agent."""
        (site,) = agent.sites
        return self._sign(site, agent.job_id, agent.number, agent.uid, agent.heartbeat)

    def _sign(self, site: str, job_id: str, number: int, uid: str, heartbeat: int = 0) -> str:
        now = self._clock() // 1000
        claims: dict[str, Any] = {
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + VALID_SECONDS,
            "site": site,
            "job": job_id,
            "attempt": number,
            "uid": uid,
        }
        if heartbeat:
            claims["heartbeat"] = heartbeat
        from joserfc import jwt  # with all of cryptography: most services have no such agents

        return str(jwt.encode({"alg": ALGORITHM, "typ": TYPE}, claims, self._key))

    @functools.cached_property
    def _key(self) -> OctKey:
        from joserfc.jwk import OctKey

        return OctKey.import_key(self._secret)

    async def verify(self, token: str) -> AgentIdentity:
        """Return the agent that shows a token or a ticket.

        Raises
        ------
        UnknownToken
            This service did not sign it as a token for an attempt.
        AuthenticationRequired
            It has expired, or is for something else.
        """
        from joserfc import jwt
        from joserfc.errors import JoseError

        if len(token) > TOKEN_LENGTH:
            raise UnknownToken("The token is none of this service's for an attempt.")
        try:
            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])
        except (JoseError, ValueError, TypeError):
            raise UnknownToken("The token is none of this service's for an attempt.") from None
        kind = decoded.header.get("typ")
        if kind not in (TYPE, TICKET_TYPE):
            raise UnknownToken("The token is none of this service's for an attempt.")
        claims = decoded.claims
        registry = jwt.JWTClaimsRegistry(
            now=lambda: self._clock() // 1000,
            leeway=LEEWAY_SECONDS,
            aud={"essential": True, "value": AUDIENCE},
            iat={"essential": True},
            exp={"essential": kind == TYPE},
        )
        try:
            registry.validate(claims)
            return _identity(claims) if kind == TYPE else _bearer(claims)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            log.info("attempt token refused", error=type(error).__name__)
            raise AuthenticationRequired("The token of this attempt has expired, or is not for an agent.") from None


def _identity(claims: Mapping[str, Any]) -> AgentIdentity:
    uid, heartbeat = claims["uid"], claims.get("heartbeat", 0)
    if not (_UID.fullmatch(uid) and type(heartbeat) is int and 0 <= heartbeat <= HEARTBEAT_MAX_SECONDS):
        raise ValueError("claims")
    return replace(_bearer(claims), uid=uid, ticket=False, renewable=True, heartbeat=heartbeat)


def _bearer(claims: Mapping[str, Any]) -> AgentIdentity:
    """Return the agent that a ticket is for.

    Nobody knows its uid yet.
    """
    site, job_id, number = claims["site"], claims["job"], claims["attempt"]
    if not (isinstance(site, str) and _JOB_ID.fullmatch(job_id) and type(number) is int):
        raise ValueError("claims")
    return AgentIdentity(frozenset({site}), job_id, number, "", ticket=True)


def started(agent: AgentIdentity, start: Mapping[str, Any]) -> AgentIdentity:
    """Return an agent with a ticket, as the start of it that names itself.

    Raises
    ------
    UsageError
        It names itself with no uid, or promises no sign of life.
    """
    uid, heartbeat = start.get("uid"), start.get("heartbeat")
    if not (isinstance(uid, str) and _UID.fullmatch(uid)):
        raise UsageError("uid: must be 16 hexadecimal digits.")
    if isinstance(heartbeat, bool) or not isinstance(heartbeat, int | float) or not heartbeat > 0:
        raise UsageError("heartbeat: must be a number of seconds.")
    seconds = max(1, int(min(heartbeat, HEARTBEAT_MAX_SECONDS)))
    return replace(agent, uid=uid, ticket=False, renewable=True, heartbeat=seconds)
