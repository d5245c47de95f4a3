"""A resource: its verbs, who may use them, their meaning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import FunctionType, MethodType
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from uws_service.auth.policy import Policy
from uws_service.domain.errors import MethodNotAllowed
from uws_service.web.call import Call

SAFE_VERBS = frozenset({"GET", "HEAD", "OPTIONS"})
_AGENTS = frozenset({Policy.AGENT, Policy.RUNNER})
_LIGHT_POLICIES = frozenset({Policy.PROBE, Policy.OPEN, Policy.READ})

Handler = Callable[..., Awaitable[Response]]
"""Takes a starlette request, after its object if it is a method that is not bound yet."""


class ErrorBody(NamedTuple):
    """An error in the form of a resource."""

    content: str | bytes
    media_type: str
    status: int | None = None
    """None: that of the error."""


ErrorForm = Callable[..., ErrorBody]
"""Takes an error and the request, after its object if it is a method that is not bound yet."""


Locate = Callable[..., Awaitable[dict[str, Any]]]
"""Takes a caller and the parameters of a path, after its object; returns those of the job or application meant."""


class Verb(NamedTuple):
    """What a resource does on one verb."""

    handler: Handler
    sentence: str
    """What it does, for the table of resources in the documentation."""


class Resource:
    """One resource: name, policies, and handlers by verb.

    HEAD works wherever GET does; OPTIONS tells the verbs; any other answers 405 with Allow (U-042).

    Parameters
    ----------
    read
        Who may GET it.
    write
        Who may use any other verb; by default as ``read``.
    get_runs
        Whether a GET runs something, as one of ``/sync`` does: pages of other sites must not cause it.
    error_form
        The form of its errors for programs, if it has one of its own.
    own_errors
        Whether all of its errors have that form, whatever a client accepts.
    locate
        Finds the application and the job of a path that names them in another way.
    verbs
        What it does, by the verb in lower case.
    """

    def __init__(
        self,
        name: str,
        read: Policy,
        write: Policy | None = None,
        *,
        get_runs: bool = False,
        error_form: ErrorForm | None = None,
        own_errors: bool = False,
        locate: Locate | None = None,
        **verbs: Verb | tuple[Handler, str],
    ) -> None:
        self.__name__ = name
        self.path = ""
        """The template of its path, once it is in the routes table."""
        self.get_runs = get_runs
        self.error_form = error_form
        self.own_errors = own_errors
        self.locate = locate
        self.handlers: dict[str, Handler] = {verb.upper(): handler for verb, (handler, _) in verbs.items()}
        self.sentences: Mapping[str, str] = {verb.upper(): sentence for verb, (_, sentence) in verbs.items()}
        self.policies = {verb: read if verb == "GET" else write or read for verb in self.handlers}
        if "GET" in self.handlers:
            self.handlers["HEAD"], self.policies["HEAD"] = self.handlers["GET"], read
        self.allow = (*self.handlers, "OPTIONS")
        self.light = frozenset(
            verb
            for verb, policy in self.policies.items()
            if verb in SAFE_VERBS and policy in _LIGHT_POLICIES and locate is None
        )
        """Verbs that an idle gate has nothing to say about."""

    @property
    def is_for_agents(self) -> bool:
        """Return whether agents or runners use it instead of people."""
        return not _AGENTS.isdisjoint(self.policies.values())

    def bind(self, owner: object) -> Resource:
        """Return the resource with handlers bound to an object."""
        bound = Resource.__new__(Resource)
        bound.__dict__.update(self.__dict__)
        bound.handlers = {verb: _bound(handler, owner) for verb, handler in self.handlers.items()}
        bound.error_form = _bound(self.error_form, owner)
        bound.locate = _bound(self.locate, owner)
        return bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope["uws.call"]
        call.resource = self
        method = scope["method"]
        handler = self.handlers.get(method)
        if handler is None:
            if method != "OPTIONS":
                raise MethodNotAllowed(
                    f"{method} is not possible here; possible: {', '.join(self.allow)}.", allow=self.allow
                )
            response = Response(status_code=204, headers={"allow": ", ".join(self.allow)})
        else:
            gate = call.gate
            assert gate is not None, "the edge gives each call the gate"
            # Only to save time: for such a request `admit` would find nothing to do.
            if not gate.idle or method not in self.light or scope["query_string"] or call.cookie:
                await gate.admit(scope, self.policies[method])
            response = await handler(Request(scope, receive))
        await response(scope, receive, send)


def _bound(function: Any, owner: object) -> Any:
    return MethodType(function, owner) if isinstance(function, FunctionType) else function
