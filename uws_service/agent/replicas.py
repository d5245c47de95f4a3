"""Fetch a file of which there are several replicas, by ranges, and verify it before anybody sees it.

Standard library only. A large file comes in several streams, each of which goes on where it was cut; the checksum is
computed as the file grows. A replica that has another size or checksum is not handed over: the next one is tried.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import signal
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uws_service.agent.fetch import REDIRECTS, FetchError, Policy, authority, connect, fetch, redirected, shown

READ_BYTES = 1 << 20
PIECE_BYTES = 32 << 20
STREAMS = 4
"""Streams of one file that has more than one piece."""
RETRIES = 5
"""How often in a row a stream may be cut without a byte in between."""
PAUSE_SECONDS = 0.5
"""Before a stream goes on; doubled each time."""
POLL_SECONDS = 0.05
STOP_SECONDS = 3.0
"""So long streams that are stopped may take to end; one that still dials then reads nothing any more."""
TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


class WrongContent(FetchError):
    """A replica is not the file that it should be."""


class Cut(Exception):
    """A stream ended early; it may go on."""


class Transfer:
    """One try to fetch one replica.

    Parameters
    ----------
    size
        Bytes that the file must have.
    file
        A descriptor of the file to write.
    """

    def __init__(self, url: str, size: int, file: int, policy: Policy, tokens: Mapping[str, str]) -> None:
        self.url, self.size, self.file, self.policy, self.tokens = url, size, file, policy, tokens
        self.pieces = [(start, min(start + PIECE_BYTES, size)) for start in range(0, size, PIECE_BYTES)] or [(0, 0)]
        self.progress = [start for start, _ in self.pieces]
        """How far each piece is written."""
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._next = 0
        self._running = 0
        self._ended = threading.Event()
        self._stopped = False
        self._sockets: set[socket.socket] = set()
        self._tag = ""
        """The ETag of the first answer: all streams must be of one version."""

    def run(self, digests: Digests) -> None:
        """Fetch all pieces, and feed the digests in order; raise `FetchError`."""
        self._running = min(STREAMS, len(self.pieces))
        # Signals are for the main thread, which may raise because of them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for _ in range(self._running):
                threading.Thread(target=self._work, daemon=True).start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            while not self._ended.wait(POLL_SECONDS):
                digests.follow(self.file, self._frontier())
        finally:
            self._stop()
            self._ended.wait(STOP_SECONDS)
        if self.error is not None:
            raise self.error
        digests.follow(self.file, self.size)

    def _frontier(self) -> int:
        """Return up to where all bytes are written."""
        for (_, end), reached in zip(self.pieces, self.progress):  # noqa: B905 -- no such word in Python 3.9
            if reached < end:
                return reached
        return self.size

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for open_socket in self._sockets:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)

    def _work(self) -> None:
        try:
            while (index := self._take()) is not None:
                self._fetch_piece(index)
        except BaseException as error:
            with self._lock:
                self.error = self.error or error
            self._stop()
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._ended.set()

    def _take(self) -> int | None:
        """Return the index of the next piece to fetch; None if there is none."""
        with self._lock:
            if self._stopped or self._next >= len(self.pieces):
                return None
            self._next += 1
            return self._next - 1

    def _fetch_piece(self, index: int) -> None:
        """Fetch a piece.

        Go on where it was cut.
        """
        failures = 0
        while not self._stopped:
            before = self.progress[index]
            try:
                self._stream(index)
                return
            except Cut as error:
                failures = failures + 1 if self.progress[index] == before else 1
                if failures > RETRIES:
                    raise FetchError(f"{shown(self.url)}: {error}") from None
                end = time.monotonic() + PAUSE_SECONDS * 2 ** (failures - 1)
                while not self._stopped and time.monotonic() < end:
                    time.sleep(POLL_SECONDS)

    def _stream(self, index: int) -> None:
        """Read one answer into the file.

        `Cut` if it ends early.
        """
        start, end = self.progress[index], self.pieces[index][1]
        in_ranges = start > 0 or end < self.size
        headers = {"Range": f"bytes={start}-{end - 1}"} if in_ranges else {}
        with self._answer(headers) as answer:
            self._check(answer, start, end, in_ranges and answer.status == 206)
            if in_ranges and answer.status == 200:
                # No ranges here: the answer is the file from its beginning. What is written already stays as it is,
                # because it has been digested.
                if len(self.pieces) > 1:
                    raise NoRanges
                self._skip(answer, start)
            while start < end:
                try:
                    chunk = answer.read(min(READ_BYTES, end - start))
                except (OSError, http.client.HTTPException) as error:
                    raise Cut(f"was cut at {start} of {self.size} bytes: {error!r}") from None
                if not chunk:
                    raise Cut(f"was cut at {start} of {self.size} bytes")
                _write(self.file, chunk, start)
                start += len(chunk)
                self.progress[index] = start
            if not in_ranges and answer.read(1):
                raise WrongContent(f"{shown(self.url)} has more than {self.size} bytes.")

    def _skip(self, answer: http.client.HTTPResponse, size: int) -> None:
        """Read bytes that are written already."""
        while size > 0:
            try:
                chunk = answer.read(min(READ_BYTES, size))
            except (OSError, http.client.HTTPException) as error:
                raise Cut(f"was cut: {error!r}") from None
            if not chunk:
                raise Cut("was cut")
            size -= len(chunk)

    def _check(self, answer: http.client.HTTPResponse, start: int, end: int, partial: bool) -> None:
        """Raise unless an answer is about the file that it should be."""
        tag = answer.headers.get("ETag", "")
        with self._lock:
            self._tag = self._tag or tag
            if tag and tag != self._tag:
                raise FetchError(f"{shown(self.url)} changed while it was fetched.")
        if partial:
            covered = answer.headers.get("Content-Range", "").replace(" ", "").lower()
            if covered.rpartition("/")[2] not in ("*", str(self.size)):
                raise WrongContent(f"{shown(self.url)} has another size than {self.size} bytes: {covered[:60]}.")
            if covered.partition("/")[0] != f"bytes{start}-{end - 1}":
                raise FetchError(f"{shown(self.url)} answers with other bytes than were asked for: {covered[:60]}.")
        elif answer.length is not None and answer.length != self.size:
            raise WrongContent(f"{shown(self.url)} has {answer.length} bytes instead of {self.size}.")

    @contextlib.contextmanager
    def _answer(self, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Yield the answer to a request, redirects followed.

        The token goes to the first host alone.
        """
        url, host = self.url, authority(self.url)
        token = self.tokens.get(host) if host is not None else None
        for _ in range(self.policy.max_redirects + 1):
            connection = None
            try:
                try:
                    connection, target = connect(url, self.policy)
                except FetchError as error:
                    if isinstance(error.__cause__, OSError):
                        raise Cut(f"can't be reached: {error.__cause__}") from None
                    raise
                with self._registered(connection):
                    fields = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "uws-service", **headers}
                    if token is not None and authority(url) == host:
                        fields["Authorization"] = f"Bearer {token}"
                    try:
                        connection.request("GET", target, headers=fields)
                        answer = connection.getresponse()
                    except (OSError, http.client.HTTPException) as error:
                        raise Cut(f"does not answer: {getattr(error, 'strerror', None) or repr(error)}") from None
                    with answer:
                        if answer.status in REDIRECTS and answer.headers.get("Location"):
                            url = redirected(url, answer.headers["Location"])
                            continue
                        if answer.status in TEMPORARY:
                            raise Cut(f"answers {answer.status} {answer.reason}")
                        if answer.status not in (200, 206):
                            raise FetchError(f"{shown(self.url)} answered {answer.status} {answer.reason}.")
                        yield answer
                        return
            finally:
                if connection is not None:
                    connection.close()
        raise FetchError(f"{shown(self.url)}: more than {self.policy.max_redirects} redirects.")

    @contextlib.contextmanager
    def _registered(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """Let `_stop` end what waits for a connection."""
        open_socket = connection.sock
        with self._lock:
            if self._stopped:
                raise Cut("was stopped")
            self._sockets.add(open_socket)
        try:
            yield
        finally:
            with self._lock:
                self._sockets.discard(open_socket)


class NoRanges(FetchError):
    """The server gives whole files only."""

    def __init__(self) -> None:
        super().__init__("The server gives whole files only.")


class Digests:
    """The checksums of a file that grows."""

    def __init__(self, expected: Mapping[str, str]) -> None:
        self.expected = {kind: text for kind, text in expected.items() if kind in ("sha256", "md5", "adler32")}
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._hashes: dict[str, Any] = {
            kind: hashlib.new(kind, usedforsecurity=False) for kind in self.expected if kind != "adler32"
        }
        self._adler = 1
        self._position = 0

    def follow(self, file: int, end: int) -> None:
        """Read on, up to there."""
        while self._position < end and self.expected:
            chunk = os.pread(file, min(READ_BYTES, end - self._position), self._position)
            if not chunk:
                return
            self._position += len(chunk)
            for digest in self._hashes.values():
                digest.update(chunk)
            if "adler32" in self.expected:
                self._adler = zlib.adler32(chunk, self._adler)

    def require(self, url: str) -> None:
        """Raise `WrongContent` unless all checksums are as expected."""
        actual = {kind: digest.hexdigest() for kind, digest in self._hashes.items()}
        if "adler32" in self.expected:
            actual["adler32"] = f"{self._adler & 0xFFFFFFFF:08x}"
        for kind, text in self.expected.items():
            if actual[kind] != text:
                raise WrongContent(f"{shown(url)} has the {kind} {actual[kind]} instead of {text}.")


def fetch_input(item: Mapping[str, Any], path: str, policy: Policy, tokens: Mapping[str, str]) -> list[str]:
    """Write an input that has a URL.

    Return what was wrong with replicas that were not taken.

    A file of a data set has replicas, a size or checksums; anything else is what its URL gives.
    """
    if item.get("size") is None and not item.get("checksums") and not item.get("urls"):
        fetch(item["url"], path, max_size=item["max_size"], policy=policy, tokens=tokens)
        return []
    return fetch_replica(item, path, policy, tokens)


def fetch_replica(item: Mapping[str, Any], path: str, policy: Policy, tokens: Mapping[str, str]) -> list[str]:
    """Write a file from the first replica that is good; return what was wrong with those before it.

    Parameters
    ----------
    item
        The input: ``url`` and further ``urls``, ``size`` or None, ``checksums`` by kind, ``max_size``.

    Raises
    ------
    FetchError
        No replica is good; the message says what is wrong with each.
    """
    problems: list[str] = []
    urls: Sequence[str] = [item["url"], *item.get("urls", ())]
    draft = f"{path}.part"
    try:
        for url in urls:
            try:
                _fetch_one(url, item, draft, policy, tokens)
                os.replace(draft, path)
                return problems
            except FetchError as error:
                problems.append(str(error))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
    text = " ".join(dict.fromkeys(problems))
    raise FetchError(text if len(urls) == 1 else f"none of {len(urls)} replicas can be had: {text[:1500]}")


def _fetch_one(url: str, item: Mapping[str, Any], draft: str, policy: Policy, tokens: Mapping[str, str]) -> None:
    size: int | None = item.get("size")
    checksums = item.get("checksums") or {}
    with open(draft, "w+b") as file:
        digests = Digests(checksums)
        if size is None:
            fetch(url, draft, max_size=item["max_size"], policy=policy, tokens=tokens)
            digests.follow(file.fileno(), os.stat(draft).st_size)
        else:
            _fetch_sized(url, size, file.fileno(), policy, tokens, digests)
        digests.require(url)


def _fetch_sized(url: str, size: int, file: int, policy: Policy, tokens: Mapping[str, str], digests: Digests) -> None:
    transfer = Transfer(url, size, file, policy, tokens)
    try:
        transfer.run(digests)
    except NoRanges:
        os.ftruncate(file, 0)
        digests.reset()
        transfer = Transfer(url, size, file, policy, tokens)
        transfer.pieces, transfer.progress = [(0, size)], [0]
        transfer.run(digests)


def _write(file: int, chunk: bytes, position: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(file, view, position)
        position += written
        view = view[written:]
