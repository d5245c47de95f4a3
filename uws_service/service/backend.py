"""The service as the web sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from uws_service.applications import Application
from uws_service.auth.permissions import PermissionsApi
from uws_service.auth.policy import Rules
from uws_service.auth.settings import Auth
from uws_service.auth.tokens import Tokens
from uws_service.domain.agent import AgentApi
from uws_service.domain.attempt import Attempt
from uws_service.domain.runner import RunnerApi
from uws_service.service.accounts import Accounts
from uws_service.service.files import Files
from uws_service.service.jobs import Service
from uws_service.service.limits import Limits
from uws_service.service.notifications import Notices
from uws_service.service.presentation import Presentation
from uws_service.service.publishing import Publishing
from uws_service.service.sessions import Sessions
from uws_service.service.uploads import Uploads
from uws_service.tap import Queries
from uws_service.viewer import Viewers


@dataclass(frozen=True, slots=True)
class FetchRules:
    """What a synchronous query may fetch from the network."""

    allow_private: bool = False
    allow_hosts: tuple[str, ...] = ()
    timeout: float = 60.0
    """Seconds without a byte after which a fetch fails."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Everything that handlers need."""

    service: Service
    applications: Mapping[str, Application]
    depot: Files
    uploads: Uploads
    agents: AgentApi
    runners: RunnerApi
    rules: Rules
    auth: Auth
    limits: Limits
    accounts: Accounts
    fetch: FetchRules
    live_log: Callable[[Attempt, str], Awaitable[bytes | None]]
    """The end of a running attempt's log, if its site can be asked from here."""
    problems: Callable[[], Awaitable[list[str]]]
    """What does not work now, one sentence each (V-020)."""
    remarks: Callable[[], list[str]]
    """What an operator should know although the service works."""
    drain: Callable[[], None]
    """Answer every waiting request now: the process is about to end (C-26)."""
    reload: Callable[[], Awaitable[None]]
    """Read the descriptors of applications again."""
    described_since: Callable[[], int]
    """When the descriptors were read, in milliseconds since the epoch."""
    up_since: int
    """When the service started, in milliseconds since the epoch."""
    cookie_key: bytes = b""
    """Signs cookies; the same in all processes."""
    sessions: Sessions | None = None
    """None: nobody can log in."""
    user_tokens: Tokens | None = None
    """None: there is no issuer, and no token is looked at."""
    permissions: PermissionsApi | None = None
    notices: Notices | None = None
    """Subscriptions of callers; None: there are none, as in a part of a service."""
    queries: Mapping[str, Queries] = field(default_factory=dict)
    """The TAP applications' tables and warm processes, by name."""
    viewers: Viewers | None = None
    """What looks into results; None: pages have links to them alone."""
    srcnet_broker: str | None = None
    """The application that SRCNet's client of a computing broker drives; None: that face is off."""
    site_details: Callable[[str, str, int], Mapping[str, str]] = lambda site, job_id, number: {}
    """Where an attempt runs, by site, job id and number."""
    presentation: Presentation = field(default_factory=Presentation)
    """What the service says of itself."""
    publishing: Publishing = field(default_factory=Publishing)
    """What the records of jobs say of who publishes them."""
    public_network: bool = False
    """Whether everybody may read how the sites are."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the service from a browser."""
