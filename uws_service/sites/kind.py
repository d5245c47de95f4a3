"""What a kind of site is.

Its settings, how it is opened, how its agents prove who they are, what routes it brings.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args

from uws_service.domain.agent import AgentIdentity
from uws_service.domain.errors import AuthenticationRequired
from uws_service.sites.settings import Fetch, SiteSettings

if TYPE_CHECKING:
    from uws_service.depot import Depot
    from uws_service.sites.executor import Executor
    from uws_service.sites.remote.desk import Desk
    from uws_service.store import Store


IssueToken = Callable[[str, str, int], str]
"""Return a token for the agent of an attempt, from its site, job id and number; see `attempt_tokens`."""


class DataTokens(Protocol):
    """Where tokens for the jobs' data come from."""

    async def held(self, job_id: str) -> dict[str, Any]:
        """Return what the agent of a job gets, as JSON values."""


class UnknownToken(AuthenticationRequired):
    """The token is of another kind.

    Some other verifier may know it.
    """


@dataclass(frozen=True, slots=True)
class SiteParts:
    """What a site is opened with."""

    depot: Depot
    """Where inputs come from, and where results and logs go."""
    work: Path
    """The folder below which sites of this machine keep their work folders."""
    instance: str
    """The name of the service's database: at a shared site only what carries it belongs to this service."""
    fetch: Fetch
    """What stage-in may fetch."""
    data: DataTokens | None = None
    """Where tokens for the jobs' data come from, if there are any."""
    issue_token: IssueToken | None = None
    """Where tokens for agents come from, for sites that have none of their own to prove who an agent is."""
    issue_ticket: IssueToken | None = None
    """Where tickets for agents come from that run the command themselves, and may begin long after this."""
    store: Store | None = None
    """The rows, for sites that keep what their runners say there; None: at a site, where a runner opens it."""


class AgentVerifier(Protocol):
    """Verifies the tokens of one kind of agent."""

    async def verify(self, token: str) -> AgentIdentity:
        """Return the agent that shows a token.

        Raises
        ------
        UnknownToken
            The token is of another kind.
        AuthenticationRequired
            The token is not valid.
        ServiceUnavailable
            The token can't be verified now.
        """


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A resource that a kind of site adds.

    It is for the agents of that kind.
    """

    name: str
    """Its name in metrics."""
    handlers: Mapping[str, Callable[[Any], Awaitable[Any]]]
    """Handlers by verb; each takes a starlette request and returns a response."""
    sentence: str = ""
    """What it is, for the table of resources."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of trying one thing at a site."""

    thing: str
    """What was tried, in few words."""
    problem: str = ""
    """What is wrong, and which setting or right would help; empty: nothing."""
    remark: str = ""
    """What was seen."""


@dataclass(frozen=True, slots=True)
class Right:
    """What the operator of a site does in one place there."""

    place: str
    """Where, and as whom; one line."""
    text: str
    """Commands, or the content of a file."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of site."""

    name: str
    settings: type[SiteSettings]
    """The class of its settings; the ``Literal`` type of its ``kind`` is the name."""
    open: Callable[[Any, SiteParts], Executor]
    """Make the executor of a site from its settings. It connects to nothing before its ``start``."""
    leased: bool = True
    """Whether any replica may drive such a site, the one that holds its lease; else it belongs to one machine."""
    agents: Callable[[Sequence[Any]], AgentVerifier] | None = None
    """Make what verifies the agents of all sites of this kind; None: its agents do not come over HTTP."""
    tickets: bool = False
    """Whether its agents run the command themselves, and begin with a ticket of whoever drives the site."""
    endpoints: Callable[[Sequence[Any]], Mapping[str, Endpoint]] | None = None
    """Make the routes that all sites of this kind share, by path."""
    desks: Callable[[Sequence[Any]], Mapping[str, Desk]] | None = None
    """Return where the runners of all sites of this kind call, by site; None: its sites have no runners."""
    check: Callable[[Any], Awaitable[str]] | None = None
    """Try a site without changing anything there, and return a remark; None: there is nothing but the work folder.

    Raises `UwsError` for a site that can't be used.
    """
    trial: Callable[[Any, str], AsyncIterator[Finding]] | None = None
    """Run a small job at a site, and an image if one is named, and yield what it shows; None: no job is tried."""
    rights: Callable[[Any], Sequence[Right]] | None = None
    """Return what the operator of a site has to set there for these settings; None: nothing."""

    def __post_init__(self) -> None:
        """Check that the settings name this kind."""
        if not (isinstance(self.settings, type) and issubclass(self.settings, SiteSettings)):
            raise TypeError(f"the settings of the kind {self.name!r} must be a class below SiteSettings")
        if get_args(self.settings.model_fields["kind"].annotation) != (self.name,):
            raise ValueError(f"the field `kind` of {self.settings.__name__} must be of the type Literal[{self.name!r}]")
