"""The one object that a request carries.

The edge makes it, the gate completes it, the resources read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request
from starlette.types import Scope

from uws_service.auth import Identity
from uws_service.auth.policy import Policy
from uws_service.service.caller import Caller
from uws_service.web.pages import Account

if TYPE_CHECKING:
    from uws_service.web.resource import Resource


@dataclass(slots=True)
class Call:
    """A request, beside its path and body."""

    identity: Identity
    base: str
    """Public URL of the service's root, without a slash at the end."""
    origin: str
    """Address that the request came from, for the history of jobs."""
    authorization: list[bytes] | None = None
    """The Authorization headers, not yet looked at."""
    cookie: bytes | None = None
    direct: bool = True
    """Whether no proxy says that it handed the request on."""
    by: str = ""
    """Where the identity comes from: ``token``, ``session``, or neither."""
    token: str | None = None
    """The token that the caller was verified by; None for browsers' sessions and anonymous callers."""
    session: str | None = None
    """The secret of the browser's session, if the identity came from one."""
    share: str = ""
    """The secret of a link to one job."""
    gate: Gate | None = None
    """What lets callers in; None before the service is open."""
    resource: Resource | None = None
    """What the request was routed to; None if there is nothing at its path."""
    waited: bool = False
    """Whether the answer waited for a job or a query: how long it took tells nothing of the service's speed."""

    @property
    def caller(self) -> Caller:
        """Return the caller as the service sees it."""
        return Caller(self.identity, self.origin, self.token)


class Gate(Protocol):
    """Lets callers in; see `uws_service.web.gate`."""

    idle: bool
    """Whether it looks at no credentials, counts no requests and asks nobody."""
    audits: bool
    """Whether what callers do is written into the log."""
    verifies_tokens: bool
    """Whether a token that is no good is refused."""

    async def admit(self, scope: Scope, policy: Policy) -> None:
        """Identify the caller.

        Raise unless the policy admits it.
        """

    async def require_also(
        self, scope: Scope, policy: Policy, path: str, method: str, parameters: Mapping[str, str]
    ) -> None:
        """Raise unless the Permissions API allows what a request does beside the resource in its path."""

    def challenges(self, scope: Scope, *, error: str = "", message: str = "") -> list[str]:
        """Return values for WWW-Authenticate headers."""

    def account(self, scope: Scope) -> Account | None:
        """Return the account of a page's reader.

        None: nobody can log in here.
        """


def call_of(request: Request) -> Call:
    """Return the `Call` of a request."""
    call: Call = request.scope["uws.call"]
    return call


def account_of(request: Request) -> Account | None:
    """Return the account of a page's reader.

    None: nobody can log in here.
    """
    gate = call_of(request).gate
    return gate.account(request.scope) if gate is not None else None
