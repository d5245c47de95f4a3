"""What can go wrong between this client and a server; each message is one line for a person."""

from __future__ import annotations


class ClientError(Exception):
    """Base of the client's errors."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NetworkError(ClientError):
    """No connection, no answer in time, or a broken one; ``may_have_arrived``: the server may have got the request."""

    def __init__(self, message: str, *, may_have_arrived: bool) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


class ServerError(ClientError):
    """The server answered with a status that means refusal or failure; ``retry_after`` in seconds."""

    def __init__(self, message: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class BadDocument(ClientError):
    """The answer is not the document that UWS promises."""
