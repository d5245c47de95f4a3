"""The exceptions of the service, with their HTTP status.

    UwsError                       500  a fault of the service itself
    ├── UsageError                 400  the request is malformed: what, what is allowed, where
    │   ├── NoSite                 400  no site takes such a job
    │   ├── Misdirected            421  a foreign name in the Host header of a service at a loopback address
    │   ├── TooLarge               413  a body, upload or count over its limit
    │   ├── UnsupportedMediaType   415  a body of a type or coding that the resource does not take
    │   ├── IdempotencyConflict    422  one Idempotency-Key for two different requests
    │   └── MultiValuedParamNotSupported  400  several values where one is possible (SODA 1.0, S-003)
    ├── AuthenticationRequired     401  the caller must say who it is
    ├── BudgetExceeded             402  a budget has not enough left for the job
    ├── Forbidden                  403  not the caller's, or illegal in the job's phase (U-002, U-161)
    │   └── QuotaExceeded          403  the caller's quota allows no more
    ├── NotFound                   404  no such job or child (U-001, D-042)
    ├── MethodNotAllowed           405  the resource does not take this verb; with Allow (U-042)
    ├── Conflict                   409  the job changed at the same moment, more often than we retry
    ├── TooManyRequests            429  with Retry-After
    │   └── QueueFull              429  the caller's quota of waiting jobs
    ├── ServiceUnavailable         503  database or depot can't be reached; with Retry-After
    ├── StorageFull                507  no room left on the disk
    └── ConfigurationError              the service can't start: file, line and field

The message is one line for a person; ``detail`` may hold more. Handlers never translate errors: they let them
rise, and one place (``web/edge.py``) writes them as VOTable, text, JSON or HTML (DALI 1.1 §4.2, §4.4.2).
"""

from __future__ import annotations

import re

SHORT = 300
"""Characters that a message may have whatever it repeats of a request."""
_LONG_QUOTE = re.compile(r"('[^'\n]{80})[^'\n]*(')")


def shortened(message: str) -> str:
    """Return a message with only the beginning of each long word that it quotes, and at most 2,000 characters."""
    if len(message) <= SHORT:
        return message
    message = _LONG_QUOTE.sub(r"\1…\2", message)
    return message if len(message) <= 2000 else f"{message[:2000]}…"


class UwsError(Exception):
    """The base of errors that clients see.

    Parameters
    ----------
    message
        One line for a person: what was wrong, what is allowed, where.
    detail
        More text, if there is any.
    retry_after
        Seconds after which the same request may succeed, sent as ``Retry-After``.
    """

    status = 500
    title = "Error"

    def __init__(self, message: str, *, detail: str = "", retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.retry_after = retry_after


class UsageError(UwsError):
    status = 400
    title = "UsageError"

    def __init__(self, message: str, *, detail: str = "", retry_after: int | None = None) -> None:
        super().__init__(shortened(message), detail=detail, retry_after=retry_after)


class NoSite(UsageError):
    """No site takes such a job."""


class Misdirected(UsageError):
    status = 421


class TooLarge(UsageError):
    status = 413


class UnsupportedMediaType(UsageError):
    status = 415


class IdempotencyConflict(UsageError):
    status = 422


class MultiValuedParamNotSupported(UsageError):
    title = "MultiValuedParamNotSupported"


class AuthenticationRequired(UwsError):
    """The caller must authenticate.

    ``error`` is the code of RFC 6750 for what is wrong with a token, if any.
    """

    status = 401
    title = "AuthenticationError"

    def __init__(self, message: str, *, error: str = "") -> None:
        super().__init__(message)
        self.error = error


class BudgetExceeded(UwsError):
    """A budget has not enough left for a job; ``missing`` in millionths of the currency."""

    status = 402
    title = "BudgetExceeded"

    def __init__(self, message: str, *, detail: str = "", missing: int = 0) -> None:
        super().__init__(message, detail=detail)
        self.missing = missing


class Forbidden(UwsError):
    status = 403
    title = "AuthorizationError"


class QuotaExceeded(Forbidden):
    """The caller's quota has no room until something is deleted or a limit is raised."""


class NotFound(UwsError):
    status = 404
    title = "NotFound"


class MethodNotAllowed(UwsError):
    """The resource does not take this method (U-042).

    ``allow`` lists the methods that it takes.
    """

    status = 405
    title = "UsageError"

    def __init__(self, message: str, *, allow: tuple[str, ...]) -> None:
        super().__init__(message)
        self.allow = allow


class Conflict(UwsError):
    status = 409
    title = "Conflict"


class TooManyRequests(UwsError):
    status = 429
    title = "ServiceUnavailable"


class QueueFull(TooManyRequests):
    """So many of the caller's jobs wait as its quota allows."""


class ServiceUnavailable(UwsError):
    status = 503
    title = "ServiceUnavailable"


class StorageFull(UwsError):
    status = 507
    title = "ServiceUnavailable"


class ConfigurationError(UwsError):
    title = "ConfigurationError"
