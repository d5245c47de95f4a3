"""A reader of server-sent events for tests, after WHATWG HTML §9.2.6, and connections that can be cut."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass
class Message:
    """An event as a browser would dispatch it; ``number`` is the last id at that moment."""

    name: str
    data: Any
    number: str
    has_number: bool


@dataclass
class Reader:
    """Turns lines into messages."""

    last_id: str = ""
    retry: int | None = None
    comments: int = 0
    _name: str = ""
    _data: list[str] = field(default_factory=list)
    _has_number: bool = False

    def line(self, line: str) -> Message | None:
        """Take a line.

        Return the message that an empty one ends.
        """
        if not line:
            name, data, numbered = self._name, self._data, self._has_number
            self._name, self._data, self._has_number = "", [], False
            return Message(name or "message", json.loads("\n".join(data)), self.last_id, numbered) if data else None
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "":
            self.comments += 1
        elif key == "data":
            self._data.append(value)
        elif key == "event":
            self._name = value
        elif key == "id":
            self.last_id, self._has_number = value, True
        elif key == "retry":
            self.retry = int(value)
        return None


class Events:
    """An open stream."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.reader = Reader()
        self.lines = response.iter_lines()

    def __iter__(self) -> Iterator[Message]:
        for line in self.lines:
            if (message := self.reader.line(line)) is not None:
                yield message

    def next(self) -> Message:
        """Return the next message.

        The time-out of the connection limits the wait.
        """
        return next(iter(self))

    def until(self, name: str, phase: str | None = None) -> list[Message]:
        """Return the messages up to one of a name, and of a phase."""
        messages = []
        for message in self:
            messages.append(message)
            if message.name == name and phase in (None, message.data.get("phase")):
                return messages
        raise AssertionError(f"the stream ended before {name} {phase}: {messages}")


@contextmanager
def events(url: str, after: str | None = None, headers: Mapping[str, str] | None = None) -> Iterator[Events]:
    """Open a stream, behind an event if one is named; leaving the block cuts the connection."""
    named = {**(headers or {}), **({"Last-Event-ID": after} if after is not None else {})}
    with httpx2.Client(timeout=120) as http, http.stream("GET", url, headers=named) as response:
        assert response.status_code == 200, (response.status_code, response.read())
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        yield Events(response)


def status(url: str, after: str | None = None, headers: Mapping[str, str] | None = None) -> int:
    """Return the status with which a stream begins."""
    named = {**(headers or {}), **({"Last-Event-ID": after} if after is not None else {})}
    with httpx2.Client(timeout=60) as http, http.stream("GET", url, headers=named) as response:
        return response.status_code


def eventually(condition: Any, description: str, seconds: float = 120) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {description}"
        time.sleep(0.05)
