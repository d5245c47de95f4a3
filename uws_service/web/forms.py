"""Forms read from a stream (U-122, U-126, D-026).

Fields stay in order, files go straight into a sink; nothing is in memory as a whole.

Built on python-multipart's low-level parsers. A part is a file when it names a ``filename``: clients differ in all
else. What is malformed, cut short or over a limit is refused with what is allowed, and sinks are told to undo.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from uws_service.domain.errors import ServiceUnavailable, TooLarge, UnsupportedMediaType, UsageError, UwsError
from uws_service.offload import offload
from uws_service.service.files import Files, StoredFile

CHARSETS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "windows-1252": "cp1252",
}
"""Charsets of a part's text, with Python's codecs: those that are linear and that forms are written in."""
LONGEST_CONTENT_TYPE = 1000
"""Characters of a Content-Type header; its parser is quadratic."""
MOST_OPTIONS = 16
"""Semicolons in a header of a part; its parsers are quadratic, and a form has many parts."""
_ESCAPES = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
PATIENCE_SECONDS = 4.0
"""After this time without progress the depot is asked whether it still answers."""


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Bounds of one form.

    ``fields`` and ``files`` are numbers, the others bytes; ``text`` bounds all values together.
    """

    body: int
    fields: int
    field_size: int
    files: int
    file_size: int
    text: int


class FileSink(Protocol):
    """Takes the bytes of one file part."""

    async def write(self, data: bytes) -> None:
        """Write bytes; raise `TooLarge` beyond the sink's limit."""

    async def close(self) -> StoredFile:
        """Return size and checksum of all bytes."""

    async def abort(self) -> None:
        """Undo: nothing of the part may be left."""


@dataclass(frozen=True, slots=True)
class FilePart:
    """One uploaded file."""

    name: str
    filename: str
    media_type: str | None
    stored: StoredFile


@dataclass(slots=True)
class Form:
    """A form in the order of its parts."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[FilePart] = field(default_factory=list)


class DepotSink:
    """A `FileSink` that feeds `Files.put` through a queue.

    The queue is short, so that a slow depot slows the client down.
    """

    def __init__(
        self, depot: Files, key: str, max_size: int, spend: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        self._spend = spend
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(4)
        self._task = asyncio.create_task(depot.put(key, self._chunks(), max_size=max_size))
        self._depot, self._key = depot, key

    async def _chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._queue.get()) is not None:
            yield chunk

    async def write(self, data: bytes) -> None:
        """Write bytes, or raise what the depot raised."""
        if self._spend is not None:
            await self._spend(len(data))
        putting = asyncio.ensure_future(self._queue.put(data))
        await self._either(putting)
        if not putting.done():
            putting.cancel()
            self._task.result()

    async def close(self) -> StoredFile:
        """Wait until the depot has all of it."""
        if not self._task.done():
            await self._either(asyncio.ensure_future(self._queue.put(None)))
        await self._either(self._task)
        return await self._task

    async def _either(self, step: asyncio.Future[Any]) -> None:
        """Wait for a step or for the end of storing.

        It does not wait for a depot that does not answer.
        """
        while not (
            await asyncio.wait((step, self._task), timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        )[0]:
            problem = self._depot.notice()
            if problem:
                step.cancel()
                raise ServiceUnavailable(problem, retry_after=10)

    async def abort(self) -> None:
        """Stop, and remove what may have arrived."""
        self._task.cancel()
        with contextlib.suppress(BaseException):
            await self._task
        with contextlib.suppress(UwsError, TimeoutError):  # what stays is an orphan, which is found later
            await asyncio.wait_for(self._depot.delete_prefix(self._key), PATIENCE_SECONDS)


async def read_form(
    headers: Mapping[str, str],
    stream: AsyncIterator[bytes],
    *,
    limits: FormLimits,
    open_file: Callable[[int], FileSink],
    hold: Callable[[int], None] = lambda _: None,
) -> Form:
    """Return the posted form.

    Parameters
    ----------
    headers
        Lower-case names.
    open_file
        Gives the sink of the n-th file, n from 0.
    hold
        Counts bytes of values before they are in memory; may refuse them.

    Raises
    ------
    UsageError
        Malformed or truncated.
    TooLarge
        Over a limit, which is named.
    UnsupportedMediaType
        Neither urlencoded nor multipart; a POST without a body needs no type (U-125).
    """
    content_type = headers.get("content-type")
    if content_type is not None and len(content_type) > LONGEST_CONTENT_TYPE:
        raise UsageError(f"The Content-Type header is longer than {LONGEST_CONTENT_TYPE} characters.")
    kind, options = parse_options_header(content_type)
    length = headers.get("content-length")
    if length is not None and length.isdigit() and int(length) > limits.body:
        raise TooLarge(f"The request body has {length} bytes; at most {limits.body} are taken.")
    bounded = _bounded(stream, limits.body)
    media_type = kind.decode("latin-1").lower()
    if media_type == MULTIPART:
        boundary = options.get(b"boundary")
        if not boundary:
            raise UsageError("The multipart form names no boundary.")
        return await _Multipart(boundary, limits, open_file, hold).read(bounded)
    body = bytearray()
    pieces = 1
    async for chunk in bounded:
        if media_type != URLENCODED and chunk:
            raise UnsupportedMediaType(
                f"A body of type {media_type[:80] or 'unknown'!r} is not taken here; send {URLENCODED} or {MULTIPART}."
            )
        hold(len(chunk))
        body += chunk
        if len(body) > 3 * (limits.text + 256 * limits.fields):  # each byte may be written as three
            raise _too_much(limits)
        pieces += chunk.count(b"&")
        if pieces > limits.fields + limits.files + 100:
            raise _too_many(limits.fields)
    return Form(await offload(len(body), _urlencoded, bytes(body), limits))


async def _bounded(stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"The request body is larger than the {limit} bytes that are taken.")
        yield chunk


def _too_many(limit: int) -> TooLarge:
    return TooLarge(f"The form has too many parameters; at most {limit} are taken.")


def _too_long(name: str, limit: int) -> TooLarge:
    return TooLarge(f"The value of {name[:64]!r} is larger than {limit} bytes; send it as a file.")


def _too_much(limits: FormLimits) -> TooLarge:
    return TooLarge(f"The values of all parameters together are larger than {limits.text} bytes; send files.")


def _urlencoded(body: bytes, limits: FormLimits) -> list[tuple[str, str]]:
    pieces = [piece for piece in body.split(b"&") if piece]
    if len(pieces) > limits.fields:
        raise _too_many(limits.fields)
    fields = []
    size = 0
    for piece in pieces:
        name, _, value = piece.partition(b"=")
        if len(name) > 3 * 1024:
            raise UsageError("A parameter's name must have 1 to 256 characters and no control characters.")
        decoded = _text(_unquoted(name), "utf-8", "A parameter's name")
        if len(value) > 3 * limits.field_size:  # before it is decoded: that takes much memory
            raise _too_long(decoded, limits.field_size)
        raw = _unquoted(value)
        if len(raw) > limits.field_size:
            raise _too_long(decoded, limits.field_size)
        size += len(raw)
        if size > limits.text:
            raise _too_much(limits)
        fields.append((decoded, _text(raw, "utf-8", f"The value of {decoded[:64]!r}")))
    return fields


def _unquoted(piece: bytes) -> bytes:
    """Return the bytes that a name or a value stands for.

    What is no escape stays as it is.
    """
    return _ESCAPES.sub(lambda run: bytes.fromhex(run[0].replace(b"%", b"").decode()), piece.replace(b"+", b" "))


def _text(raw: bytes, charset: str, subject: str) -> str:
    codec = CHARSETS.get(charset.strip().lower())
    if codec is None:
        allowed = "utf-8, us-ascii, iso-8859-1, windows-1252"
        raise UsageError(f"{subject} has the charset {charset[:40]!r}, which is not taken here; allowed: {allowed}.")
    try:
        return raw.decode(codec)
    except UnicodeError:
        raise UsageError(f"{subject} is not text in {charset.upper()[:40]}.") from None


def _extended(disposition: bytes) -> bytes | None:
    """Return the file name of ``filename*=UTF-8''a%20b``.

    RFC 7578 forbids that form, and some libraries send it.
    """
    message = Message()
    message["content-disposition"] = disposition.decode("latin-1")
    filename = message.get_param("filename", header="content-disposition")
    return filename[2].encode("latin-1", "replace") if isinstance(filename, tuple) else None


@dataclass(slots=True)
class _Part:
    """The part that is being read."""

    headers: dict[str, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    value: bytearray = field(default_factory=bytearray)
    sink: FileSink | None = None


class _Multipart:
    """The parser's callbacks as a list of events.

    They are carried out between two chunks.
    """

    def __init__(
        self,
        boundary: bytes,
        limits: FormLimits,
        open_file: Callable[[int], FileSink],
        hold: Callable[[int], None],
    ) -> None:
        self.limits = limits
        self.hold = hold
        self.open_file = open_file
        self.form = Form()
        self.sinks: list[FileSink] = []
        self._events: list[tuple[str, bytes]] = []
        self._ended = False
        self._size = 0
        self._part: _Part | None = None
        self._header = (b"", b"")

        def on(kind: str) -> Callable[[bytes, int, int], None]:
            return lambda data, start, end: self._events.append((kind, data[start:end]))

        def mark(kind: str) -> Callable[[], None]:
            return lambda: self._events.append((kind, b""))

        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": mark("begin"),
                    "on_part_data": on("data"),
                    "on_part_end": mark("end"),
                    "on_header_field": on("field"),
                    "on_header_value": on("value"),
                    "on_header_end": mark("header"),
                    "on_headers_finished": mark("headers"),
                    "on_end": mark("finish"),
                },
            )
        except FormParserError as error:
            raise UsageError(f"The multipart form can't be read: {error}.") from None

    async def read(self, stream: AsyncIterator[bytes]) -> Form:
        """Return the form.

        On any error, undo all sinks.
        """
        try:
            started = False
            async for chunk in stream:
                if not started:
                    chunk = chunk.lstrip(b"\r\n")  # some clients begin with an empty line (U-126)
                    started = bool(chunk)
                await self._feed(chunk)
            if not self._ended:
                raise UsageError("The multipart form is cut short: its last boundary is missing.")
            return self.form
        except BaseException:
            for sink in self.sinks:
                await sink.abort()
            raise

    async def _feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise UsageError(f"The multipart form can't be read: {error}.") from None
        events, self._events = self._events, []
        for kind, data in events:
            await self._handle(kind, data)

    async def _handle(self, kind: str, data: bytes) -> None:
        part = self._part
        if kind == "begin":
            self._part = _Part()
        elif kind == "finish":
            self._ended = True
        elif part is None:
            return
        elif kind == "field":
            self._header = (self._header[0] + data, self._header[1])
        elif kind == "value":
            self._header = (self._header[0], self._header[1] + data)
        elif kind == "header":
            part.headers[self._header[0].decode("latin-1").lower()] = self._header[1]
            self._header = (b"", b"")
        elif kind == "headers":
            self._begin(part)
        elif kind == "data" and part.sink is not None:
            await part.sink.write(data)
        elif kind == "data":
            self.hold(len(data))
            part.value += data
            self._size += len(data)
            if self._size > self.limits.text:
                raise _too_much(self.limits)
            if len(part.value) > self.limits.field_size:
                raise _too_long(part.name, self.limits.field_size)
        elif kind == "end":
            await self._finish(part)

    def _begin(self, part: _Part) -> None:
        for name in ("content-disposition", "content-type"):
            if part.headers.get(name, b"").count(b";") > MOST_OPTIONS:
                raise UsageError(f"The {name} of a part has more than {MOST_OPTIONS} semicolons.")
        disposition, options = parse_options_header(part.headers.get("content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise UsageError("A part of the multipart form has no Content-Disposition: form-data with a name.")
        coding = part.headers.get("content-transfer-encoding", b"binary").lower()
        if coding not in (b"binary", b"8bit", b"7bit"):
            raise UsageError("Content-Transfer-Encoding is not taken in a form; send the bytes as they are.")
        part.name = _text(options[b"name"], "utf-8", "A part's name")
        filename = options.get(b"filename", _extended(part.headers.get("content-disposition", b"")))
        if filename is not None:
            part.filename = _text(filename, "utf-8", "A file's name")
            if len(self.sinks) >= self.limits.files:
                raise TooLarge(f"The form has too many files; at most {self.limits.files} are taken.")
            part.sink = self.open_file(len(self.sinks))
            self.sinks.append(part.sink)
        elif len(self.form.fields) >= self.limits.fields:
            raise _too_many(self.limits.fields)

    async def _finish(self, part: _Part) -> None:
        self._part = None
        kind, options = parse_options_header(part.headers.get("content-type"))
        if part.sink is not None:
            stored = await part.sink.close()
            media_type = kind.decode("latin-1") or None
            self.form.files.append(FilePart(part.name, part.filename or "", media_type, stored))
            return
        charset = options.get(b"charset", b"utf-8").decode("latin-1")
        self.form.fields.append((part.name, _text(bytes(part.value), charset, f"The value of {part.name[:64]!r}")))
