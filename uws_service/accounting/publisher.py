"""Publishes months of accounts: files for readers, each the same bytes however often it is written.

A month is published whole, never what is new alone: readers replace what they have (ACC-014). What was published last
is kept in the store (ACC-044), so the loop publishes a month again only when it has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import structlog

from uws_service import telemetry
from uws_service.accounting import apel
from uws_service.accounting.auditor import Auditor
from uws_service.accounting.car import usage_records
from uws_service.accounting.identities import Outside, Pseudonyms
from uws_service.accounting.settings import Accounting, Form
from uws_service.accounting.tables import ParquetFile, csv_text, json_lines
from uws_service.domain.errors import ConfigurationError, UwsError
from uws_service.domain.ids import now_ms
from uws_service.domain.usage_record import UsageRecord, month_of, month_start, month_text, next_month, total
from uws_service.store import Store
from uws_service.store.usage import MonthState, Publication, UsageStore

log = structlog.get_logger(__name__)
LEASE = "accounting"
LEASE_MS = 60_000
OVERLAP_MS = 600_000
"""A record may become visible so long after the instant that it names."""
SUFFIXES = {"car": "xml", "csv": "csv", "parquet": "parquet", "jsonl": "jsonl"}


class Published(NamedTuple):
    """What was written of a month."""

    names: tuple[str, ...]
    records: int
    digest: str


async def attempts_of(usage: UsageStore, month: int) -> AsyncIterator[list[UsageRecord]]:
    """Yield pages of a month's attempts, each with its corrections in it."""
    parts: list[UsageRecord] = []
    async for page in usage.month(month, apel.RECORDS_OF_MESSAGE):
        ready: list[UsageRecord] = []
        for record in page:
            if parts and parts[0].id != record.id:
                ready.append(total(parts))
                parts = []
            parts.append(record)
        if ready:
            yield ready
    if parts:
        yield [total(parts)]


class Files:
    """Writes the files of one month into a folder.

    Each is complete when it appears: a sender takes whatever it sees (ACC-043). It is made beside the folder and
    renamed, since senders know no hidden files and no subfolders (ACC-042).
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self.folder = folder
        self.stem = stem
        self.names: list[str] = []
        self._digest = hashlib.sha256()
        self._place = folder.with_name(f".{folder.name}.part")

    def begin(self, suffix: str) -> tuple[Path, str]:
        """Return the path of a file to write, and the name that it will have."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._place.mkdir(parents=True, exist_ok=True)
        name = f"{self.stem}-{len(self.names) + 1:05}.{suffix}"
        return self._place / f"{secrets.token_hex(8)}-{name}", name

    def end(self, path: Path, name: str) -> None:
        """Let readers see a file."""
        with path.open("rb") as file:
            self._digest.update(hashlib.file_digest(file, "sha256").digest())
            os.fsync(file.fileno())
        path.replace(self.folder / name)
        self.names.append(name)

    def write(self, suffix: str, content: bytes) -> None:
        """Write a whole file."""
        path, name = self.begin(suffix)
        path.write_bytes(content)
        self.end(path, name)

    @property
    def digest(self) -> str:
        """Return the digest of all files so far."""
        return self._digest.hexdigest()


class Publisher:
    """Publishes months of one service.

    Parameters
    ----------
    outside
        What readers get to know.
    clock
        The present in milliseconds.
    """

    def __init__(self, store: Store, outside: Outside, clock: Callable[[], int] = now_ms) -> None:
        self.store = store
        self.outside = outside
        self.clock = clock

    async def publish(self, form: Form, month: int, folder: Path) -> Published:
        """Write a month's files.

        The same records give the same bytes.

        Raises
        ------
        ConfigurationError
            The month has not begun, or the folder can't be written.
        """
        if month > month_of(self.clock()):
            raise ConfigurationError(f"The month {month_text(month)} has not begun.")  # ACC-012
        target, state = f"{form} {folder}", await self.store.usage.state(month)
        files = Files(folder, f"{form}-{month_text(month)}")
        try:
            count = await self._write(form, month, files)
        except OSError as error:
            raise ConfigurationError(f"{folder}: accounts can't be written: {error.strerror or error}") from None
        await self.store.usage.put_publication(
            Publication(target, month, state.records, state.latest, files.digest, self.clock())
        )
        return Published(tuple(files.names), count, files.digest)

    async def _write(self, form: Form, month: int, files: Files) -> int:
        if form == "apel-summary":
            return await self._summaries(month, files)
        if form == "apel-individual":
            return await self._individual(month, files)
        if form == "parquet":
            return await self._parquet(month, files)
        count = 0
        if form == "car":
            async for page in attempts_of(self.store.usage, month):
                if jobs := [record for record in page if record.is_job]:
                    files.write("xml", usage_records(jobs, self.outside))
                count += len(jobs)
            return count
        path, name = files.begin(SUFFIXES[form])
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            if form == "csv":
                file.write(csv_text([]))
            async for page in attempts_of(self.store.usage, month):
                page = [self._named(record) for record in page]
                file.write(csv_text(page, head=False) if form == "csv" else json_lines(page))
                count += len(page)
        files.end(path, name)
        return count

    async def _parquet(self, month: int, files: Files) -> int:
        count, (path, name) = 0, files.begin("parquet")
        file = ParquetFile(path)
        try:
            async for page in attempts_of(self.store.usage, month):
                await asyncio.to_thread(file.write, [self._named(record) for record in page])
                count += len(page)
        finally:
            file.close()
        files.end(path, name)
        return count

    def _named(self, record: UsageRecord) -> UsageRecord:
        """Return a record with the owner as readers outside know them."""
        return record._replace(owner=self.outside.user(record.owner))

    async def _individual(self, month: int, files: Files) -> int:
        counts: Counter[tuple[str, str]] = Counter()
        async for page in attempts_of(self.store.usage, month):
            for message in apel.individual(page, self.outside):
                files.write("txt", message.encode("ascii"))
            counts.update(
                (self.outside.site(record.site).name, self.outside.submit_host(record.application))
                for record in page
                if record.is_job
            )
        for message in apel.sync(month, counts):
            files.write("txt", message.encode("ascii"))
        return sum(counts.values())

    async def _summaries(self, month: int, files: Files) -> int:
        summaries = apel.Summaries(month, self.outside)
        async for sums in self.store.usage.month_sums(month, apel.SUMMARY_BY, apel.SUMMARY_MEASURES):
            summaries.add(sums)
        for message in summaries.messages():
            files.write("txt", message.encode("ascii"))
        return summaries.jobs

    async def push(self, auditor: Auditor, month: int) -> int:
        """Push what is new of a month to AUDITOR; return how many records it had not."""
        target, state = f"auditor {auditor.url}", await self.store.usage.state(month)
        last = (await self.store.usage.publications(target)).get(month)
        since, fresh = (last.latest - OVERLAP_MS if last is not None else 0), 0
        async for page in attempts_of(self.store.usage, month):
            fresh += await auditor.push([record for record in page if record.recorded >= since], self.outside)
        publication = Publication(target, month, state.records, state.latest, "", self.clock())
        await self.store.usage.put_publication(publication)
        return fresh


class AccountLoop:
    """Publishes what has changed, makes partitions, applies retention.

    In one process at a time.
    """

    def __init__(self, store: Store, settings: Accounting, publisher: Publisher, pseudonyms: Pseudonyms) -> None:
        self.store = store
        self.settings = settings
        self.publisher = publisher
        self.pseudonyms = pseudonyms
        self.holder = secrets.token_hex(8)

    async def run(self) -> None:
        """Loop until cancelled.

        What fails is tried again at the next look.
        """
        url = self.settings.publish.auditor
        auditor = Auditor(url) if url is not None else None
        try:
            while True:
                try:
                    if await self._leads():
                        await self.look(auditor)
                except UwsError as error:
                    log.warning("accounts can't be published", error=error.message)
                except Exception:
                    log.exception("accounts can't be published")
                await asyncio.sleep(self.settings.publish.interval)
        finally:
            with contextlib.suppress(UwsError):
                await self.store.owners.release_lease(LEASE, self.holder)
            if auditor is not None:
                await auditor.close()

    async def _leads(self) -> bool:
        ttl = max(LEASE_MS, int(self.settings.publish.interval * 2000))
        return await self.store.owners.acquire_lease(LEASE, self.holder, ttl) is not None

    async def look(self, auditor: Auditor | None = None) -> None:
        """Do once what is to be done now."""
        now = self.publisher.clock()
        await self.store.usage.prepare_partitions(next_month(month_of(now)))
        await self._retire(now)
        publish = self.settings.publish
        if publish.folder is None and auditor is None:
            return
        months = [month for month in await self.store.usage.months() if month <= month_of(now)][-publish.months :]
        for month in months:
            state = await self.store.usage.state(month)
            if publish.folder is not None:
                for form in publish.forms:
                    await self._publish(form, month, state, publish.folder)
            if auditor is not None:
                await self._push(auditor, month, state)

    async def _publish(self, form: Form, month: int, state: MonthState, folder: Path) -> None:
        if not await self._is_changed(f"{form} {folder}", month, state, form):
            return
        published = await self.publisher.publish(form, month, folder)
        telemetry.PUBLICATION_LAG.labels(form).set(0)
        log.info("accounts published", form=form, month=month_text(month), records=published.records)

    async def _push(self, auditor: Auditor, month: int, state: MonthState) -> None:
        if await self._is_changed(f"auditor {auditor.url}", month, state, "auditor"):
            fresh = await self.publisher.push(auditor, month)
            telemetry.PUBLICATION_LAG.labels("auditor").set(0)
            log.info("accounts published", form="auditor", month=month_text(month), records=fresh)

    async def _is_changed(self, target: str, month: int, state: MonthState, form: str) -> bool:
        """Return whether a month has changed since it was published; the metric tells for how long."""
        last = (await self.store.usage.publications(target)).get(month)
        changed = last is None or (last.records, last.latest) != (state.records, state.latest)
        lag = (self.publisher.clock() - (last.published if last is not None else state.latest)) / 1000
        telemetry.PUBLICATION_LAG.labels(form).set(max(0.0, lag) if changed else 0)
        return changed

    async def _retire(self, now: int) -> None:
        """Hide the owners of months that are old enough, and delete those that are older."""
        settings, usage = self.settings, self.store.usage
        for month in await usage.months():
            age = (now - month_start(next_month(month))) / 1000
            if settings.retention and age > settings.retention:
                log.info("accounts deleted", month=month_text(month), records=await usage.delete_month(month))
            elif settings.anonymise_after and age > settings.anonymise_after:
                withheld = settings.anonymise_as == "withheld"
                hide = (lambda owner: "withheld") if withheld else self.pseudonyms.of
                if changed := await self.store.usage.hide_owners(month, hide):
                    log.info("accounts anonymised", month=month_text(month), records=changed)
