"""The depot.

Results, uploads and logs in a folder or on S3, streamed in constant memory (obstore).

Keys are made by the service, such as ``jobs/{id}/results/{name}``; they never come from a client as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from uws_service.domain.errors import (
    ConfigurationError,
    NotFound,
    ServiceUnavailable,
    StorageFull,
    TooLarge,
    UsageError,
    UwsError,
)

log = structlog.get_logger(__name__)

CHUNK_BYTES = 1024 * 1024
MAX_RENEWAL_SECONDS = 30.0
WATCH_SECONDS, FAILING_SECONDS, CHECK_SECONDS = 30.0, 2.0, 4.0
"""Between two looks while all is well and while it is not, and how long one may take."""
PART_BYTES = 8 * 1024 * 1024
"""Size of one part of a multipart upload to S3, in bytes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was put.

    Size in bytes, SHA-256 in lower-case hex.
    """

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is there.

    Size in bytes, and the store's tag if it has one.
    """

    size: int
    etag: str


MAX_NAME_BYTES = 240
"""Of each part of a key: file systems take 255, and a file that is being written has a longer name."""


def check_key(key: str) -> str:
    """Return a key that can't leave the depot.

    ValueError for any other.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in key or "\\" in key:
        raise ValueError(f"{key!r} is not a key of the depot")
    if max(len(part.encode()) for part in parts) > MAX_NAME_BYTES:
        raise ValueError(f"{key[:80]!r}… has a name of more than {MAX_NAME_BYTES} bytes")
    return key


@contextmanager
def _translated(subject: str) -> Iterator[None]:
    """Translate the store's errors to the service's own."""
    try:
        yield
    except UwsError:
        raise
    except FileNotFoundError as error:
        raise NotFound(f"{subject} is not there.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull("The depot's disk is full.", retry_after=60) from error
        raise ServiceUnavailable(f"The depot can't be used: {error.strerror or error}.", retry_after=10) from error
    except BaseError as error:
        text = str(error)
        if "No space left" in text or "os error 28" in text or "os error 27" in text:
            raise StorageFull("The depot's disk is full.", retry_after=60) from error
        words = " ".join(text.split())[:600] or type(error).__name__  # status and code stand behind the address
        raise ServiceUnavailable(f"The depot can't be used: {words}", retry_after=10) from error


class Depot:
    """Objects by key; made by `open`."""

    def __init__(self, store: LocalStore | S3Store, folder: Path | None) -> None:
        self._store: Any = store
        self.folder = folder
        self.renewal = MAX_RENEWAL_SECONDS
        """Seconds between two signs of life of what is open."""
        self.problem = ""
        """Why it can't be used now, as `watch` has found it."""
        self._doubt = asyncio.Event()

    @classmethod
    def open(cls, url: str, **options: Any) -> Depot:
        """Open a depot by its URL.

        A folder (a path or ``file:///path``), or ``s3://bucket/prefix?endpoint=…&region=…``.

        Credentials for S3 come from the environment (``AWS_ACCESS_KEY_ID`` …) or from ``options``, never from the URL.
        """
        parts = urlsplit(url)
        if parts.scheme == "s3":
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            unknown = set(query) - {"endpoint", "region"}
            if unknown or not parts.netloc or parts.username or parts.password:
                raise ConfigurationError("depot: write s3://bucket/prefix?endpoint=URL&region=NAME, no credentials.")
            config: Any = {"region": query.get("region", "us-east-1"), **options}
            if endpoint := query.get("endpoint"):
                config["endpoint"] = endpoint
                config["virtual_hosted_style_request"] = False
            client: Any = {"allow_http": bool(endpoint and endpoint.startswith("http:")), "timeout": "300s",
                           "connect_timeout": "5s"}  # fmt: skip
            retry: Any = {"max_retries": 3, "retry_timeout": _seconds(20)}
            store = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                config=config,
                client_options=client,
                retry_config=retry,
            )
            return cls(store, None)
        if parts.scheme not in ("", "file"):
            raise ConfigurationError(f"depot: {parts.scheme!r} is not known; use a folder or s3://bucket/prefix.")
        folder = Path(parts.path if parts.scheme == "file" else url).absolute()
        with _translated("The depot's folder"):
            folder.mkdir(parents=True, exist_ok=True)
            return cls(LocalStore(folder, automatic_cleanup=False), folder)

    async def put(
        self, key: str, chunks: AsyncIterator[bytes], *, max_size: int, expected: Stored | None = None
    ) -> Stored:
        """Store a stream.

        The object is there, whole, only once its last byte is accepted.

        Until then nothing is under its key but what was there before: an upload in parts, or a file of another name.

        Raises
        ------
        TooLarge
            Beyond ``max_size`` bytes.
        UsageError
            Other bytes than ``expected``.
        """
        check_key(key)
        digest = hashlib.sha256()
        size = 0

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            async for chunk in chunks:
                size += len(chunk)
                if size > max_size:
                    raise TooLarge(f"The file is larger than the {max_size} bytes that are allowed.")
                digest.update(chunk)
                yield chunk
            if expected is not None and Stored(size, digest.hexdigest()) != expected:
                raise UsageError(
                    f"What came ({size} bytes, SHA-256 {digest.hexdigest()}) is not what was announced "
                    f"({expected.size} bytes, {expected.sha256})."
                )

        problem: list[UwsError] = []

        async def guarded() -> AsyncIterator[bytes]:
            # The library wraps what its source raises; the service's own errors are kept beside.
            try:
                async for chunk in counted():
                    yield chunk
            except UwsError as error:
                problem.append(error)
                raise

        with _translated(key):
            try:
                await obstore.put_async(self._store, key, guarded(), chunk_size=PART_BYTES, max_concurrency=2)
            except Exception:
                if problem:
                    raise problem[0] from None
                raise
        return Stored(size, digest.hexdigest())

    async def get_file(self, key: str, path: Path) -> None:
        """Write an object to a file."""
        with _translated(key):
            if self.folder is not None:
                shutil.copyfile(self.folder / check_key(key), path)
                return
            with path.open("wb") as file:
                async for chunk in self.read(key):
                    file.write(chunk)

    async def head(self, key: str) -> ObjectInfo | None:
        """Return size and tag, or None."""
        check_key(key)
        if self.folder is not None:  # a stat, without the way through the library
            try:
                entry = (self.folder / key).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return ObjectInfo(entry.st_size, f"{entry.st_mtime_ns:x}-{entry.st_size:x}")
        with _translated(key):
            try:
                meta = await obstore.head_async(self._store, key)
            except FileNotFoundError:
                return None
        return ObjectInfo(meta["size"], meta["e_tag"] or "")

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from ``start`` up to, not with, ``end``; `NotFound` before the first of them."""
        check_key(key)
        with _translated(key):
            options: Any = {"range": (start, end) if end is not None else {"offset": start}}
            answer = await obstore.get_async(self._store, key, options=options if start or end is not None else None)
            async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin so."""
        async for key, _ in self.list_sizes(prefix):
            yield key

    async def list_sizes(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """Yield the keys that begin so, with the sizes of their objects."""
        with _translated(prefix):
            async for batch in obstore.list(self._store, prefix=_folder(prefix), chunk_size=500):
                for entry in batch:
                    if entry["path"].startswith(prefix):
                        yield entry["path"], int(entry["size"])

    def hold(self, prefix: str) -> Hold:
        """Return what shows to every process that a prefix is in use."""
        return Hold(self, prefix)

    async def touch(self, key: str) -> None:
        """Write an empty object anew, so that its age tells that somebody is there; errors are left aside."""
        with contextlib.suppress(UwsError), _translated(key):
            await obstore.put_async(self._store, key, b"")

    async def now(self) -> float:
        """Return the present instant by the depot's own clock, in seconds since the epoch."""
        if self.folder is not None:  # that of its disk, which may be another machine's
            with _translated("The depot's folder"):
                os.utime(self.folder)
                return self.folder.stat().st_mtime
        key = f"health/{uuid.uuid4().hex}"
        with _translated("The depot's test object"):
            await obstore.put_async(self._store, key, b"")
            try:
                return float((await obstore.head_async(self._store, key))["last_modified"].timestamp())
            finally:
                await obstore.delete_async(self._store, key)

    async def newest(self, prefix: str) -> float | None:
        """Return the time of the last change below a prefix.

        The prefix ends with a slash; None if nothing is there.
        """
        with _translated(prefix):
            if self.folder is not None:  # drafts and empty folders count too
                return await asyncio.to_thread(_newest_below, self.folder / prefix)
            latest = None
            async for batch in obstore.list(self._store, prefix=_folder(prefix), chunk_size=500):
                for entry in batch:
                    if entry["path"].startswith(prefix):
                        latest = max(latest or 0.0, entry["last_modified"].timestamp())
            return latest

    async def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with _translated(check_key(key)), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(self._store, key)

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all objects whose key begins so.

        How many.
        """
        count = 0
        with _translated(prefix):
            stream = obstore.list(self._store, prefix=_folder(prefix), chunk_size=500)
            async for batch in stream:
                keys = [entry["path"] for entry in batch if entry["path"].startswith(prefix)]
                if keys:
                    await obstore.delete_async(self._store, keys)
                    count += len(keys)
            if self.folder is not None and prefix.endswith("/"):
                shutil.rmtree(self.folder / prefix, ignore_errors=True)  # folders that are empty now
        return count

    async def list_prefixes(self, prefix: str) -> AsyncIterator[str]:
        """Yield the folders right below a prefix."""
        with _translated(prefix):
            if self.folder is not None:
                top = self.folder / prefix
                for entry in os.scandir(top) if top.is_dir() else ():
                    yield f"{prefix}{entry.name}/"
                return
            listing = await obstore.list_with_delimiter_async(self._store, prefix=prefix.rstrip("/"))
            for folder in listing["common_prefixes"]:
                yield folder.rstrip("/") + "/"

    def doubt(self) -> None:
        """Let `watch` look at once: something takes long."""
        self._doubt.set()

    def notice(self) -> str:
        """Return why the depot can't be used now.

        For whoever has waited long; `watch` looks at once.
        """
        self.doubt()
        return self.problem

    async def watch(self) -> None:
        """Try the depot now and then.

        At once on doubt, and often while it fails; what changes is in the log.
        """
        while True:
            self._doubt.clear()
            problem = ""
            try:
                await asyncio.wait_for(self.check(), CHECK_SECONDS)
            except UwsError as error:
                problem = error.message
            except TimeoutError:
                problem = f"The depot gave no answer in {CHECK_SECONDS:g} s."
            if problem and problem != self.problem:
                log.warning("the depot can't be used", error=problem)
            elif self.problem and not problem:
                log.warning("the depot can be used again")
            self.problem = problem
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._doubt.wait(), FAILING_SECONDS if problem else WATCH_SECONDS)
            if problem:
                await asyncio.sleep(FAILING_SECONDS / 2)  # however many have doubts

    async def check(self) -> None:
        """Write, read and delete a small object.

        Raises what does not work (V-020).
        """
        key = f"health/{uuid.uuid4().hex}"
        with _translated("The depot's test object"):
            await obstore.put_async(self._store, key, b"ok")
            read = await obstore.get_async(self._store, key)
            content = bytes(await read.bytes_async())
            await obstore.delete_async(self._store, key)
        if content != b"ok":
            raise ServiceUnavailable("The depot gave back other bytes than were put in.", retry_after=10)


def _newest_below(top: Path) -> float | None:
    latest: float | None = None
    for folder, _, names in os.walk(top):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            with contextlib.suppress(FileNotFoundError):
                latest = max(latest or 0.0, os.lstat(path).st_mtime)
    return latest


def renewal(orphan_age: float) -> float:
    """Return the seconds between signs of life.

    What is open then never looks as old as an orphan.
    """
    return min(MAX_RENEWAL_SECONDS, max(0.2, orphan_age / 4))


def _seconds(number: int) -> Any:
    from datetime import timedelta

    return timedelta(seconds=number)


def _folder(prefix: str) -> str:
    """Return the folder to list for a prefix.

    The listing goes by whole path segments: it is the part of the prefix up to its last slash.
    """
    return prefix.rpartition("/")[0]


class Hold:
    """Shows to every process that a prefix is in use: nothing below it is taken for an orphan.

    From `begin`, with the first object that is put there, until `release`, a small object beside it is written anew
    every `Depot.renewal` seconds, so its age by the depot's own clock tells whether anybody is there.
    """

    def __init__(self, depot: Depot, prefix: str) -> None:
        self._depot = depot
        self.prefix = prefix
        self._key = ""
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Show it from now on."""
        if self._task is None:
            self._task = asyncio.create_task(self._renew())

    async def release(self) -> None:
        """Show it no more."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._key:
            with contextlib.suppress(UwsError, TimeoutError):  # it goes with the job, or with the orphans
                await asyncio.wait_for(self._depot.delete(self._key), CHECK_SECONDS)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._depot.renewal)
            self._key = self._key or f"{self.prefix}.open-{uuid.uuid4().hex}"
            await self._depot.touch(self._key)
