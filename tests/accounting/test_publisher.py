"""What is published when, retention, and AUDITOR's answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.accounting.histories import METER, OUTSIDE, SEPTEMBER
from tests.accounting.test_formats import attempt
from uws_service.accounting.auditor import Auditor
from uws_service.accounting.identities import Pseudonyms
from uws_service.accounting.publisher import AccountLoop, Files, Publisher
from uws_service.accounting.settings import Accounting
from uws_service.domain.errors import ConfigurationError, ServiceUnavailable
from uws_service.store import Store

pytestmark = pytest.mark.anyio
MONTH = 202409
DAY_SECONDS = 86_400
NAMES = Pseudonyms(b"k" * 32)
NOW = SEPTEMBER + 40 * DAY_SECONDS * 1000


class AuditorDouble(BaseHTTPRequestHandler):
    """Answers as AUDITOR 0.11 does: a known record is 500 RECORD_EXISTS, and fails its whole batch (ACC-055).

    The real server is a Rust program that needs a PostgreSQL of its own; python-auditor judges what is sent.
    """

    records: dict[str, Any]
    refuses = False

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        batch = document if self.path == "/records" else [document]
        status, text = 200, ""
        if self.refuses:
            status, text = 403, "Forbidden"
        elif any(entry["record_id"] in self.records for entry in batch):
            status, text = 500, "RECORD_EXISTS"
        else:
            self.records.update({entry["record_id"]: entry for entry in batch})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@pytest.fixture
def double() -> Iterator[tuple[str, type[AuditorDouble]]]:
    """Run a double of AUDITOR."""
    handler = type("Handler", (AuditorDouble,), {"records": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    thread.join()
    server.server_close()


async def end(store: Store, *names: str, **fields: Any) -> None:
    store.attempts.meter = METER
    for name in names:
        await store.attempts.save(replace(attempt(**fields), job_id=name, number=1))


def loop_of(store: Store, folder: Path, clock: int = NOW, **settings: Any) -> AccountLoop:
    values = {"publish": {"folder": folder, "forms": ("apel-summary", "csv")}, **settings}
    publisher = Publisher(store, OUTSIDE, lambda: clock)
    return AccountLoop(store, Accounting.model_validate(values), publisher, NAMES)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_only_what_changed_is_published(store: Store, tmp_path: Path) -> None:
    """ACC-044: a sender takes files away; they come again when their month has changed, and whole."""
    folder = tmp_path / "outgoing"
    await end(store, "a", "b")
    loop = loop_of(store, folder)
    await loop.look()
    names = names_in(folder)
    assert names == ["apel-summary-2024-09-00001.txt", "apel-summary-2024-09-00002.txt", "csv-2024-09-00001.csv"]
    first = (folder / names[0]).read_text()
    for name in names:
        (folder / name).unlink()
    await loop.look()
    assert names_in(folder) == []
    await end(store, "c")
    await loop.look()
    assert names_in(folder) == names
    assert "NumberOfJobs: 2\n" in first and "NumberOfJobs: 3\n" in (folder / names[0]).read_text()
    published = await store.usage.publications(f"csv {folder}")
    assert (published[MONTH].records, published[MONTH].published) == (3, NOW)


def test_files_are_complete_when_they_appear(tmp_path: Path) -> None:
    """ACC-043: a sender takes whatever lies in the folder, at any moment."""
    files = Files(tmp_path / "outgoing", "csv-2024-09")
    path, name = files.begin("csv")
    path.write_text("half")
    assert names_in(files.folder) == [] and path.stat().st_dev == files.folder.stat().st_dev
    path.write_text("whole")
    files.end(path, name)
    assert names_in(files.folder) == [name] == files.names
    assert (files.folder / name).read_text() == "whole" and not path.exists()


async def test_one_process_publishes(store: Store, peer: Store, tmp_path: Path) -> None:
    """The others wait for the lease."""
    here, there = loop_of(store, tmp_path / "a"), loop_of(peer, tmp_path / "b")
    assert await here._leads() and await here._leads()
    assert not await there._leads()


async def test_a_month_that_has_not_begun(store: Store, tmp_path: Path) -> None:
    """ACC-012."""
    with pytest.raises(ConfigurationError, match="2024-11 has not begun"):
        await Publisher(store, OUTSIDE, lambda: NOW).publish("apel-summary", 202411, tmp_path)


async def test_a_folder_that_can_not_be_written(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    await end(store, "a")
    with pytest.raises(ConfigurationError, match="accounts can't be written"):
        await Publisher(store, OUTSIDE, lambda: NOW).publish("csv", MONTH, tmp_path / "file" / "below")


@pytest.mark.parametrize(("form", "expected"), [("hashed", NAMES.of("ada@iam.example.org")), ("withheld", "withheld")])
async def test_old_records_lose_their_owners(store: Store, tmp_path: Path, form: str, expected: str) -> None:
    """Whole months, once they are old enough; sums stay."""
    await end(store, "a", "b")
    settings: dict[str, Any] = {"anonymise_after": 30 * DAY_SECONDS, "anonymise_as": form, "publish": {}}
    await loop_of(store, tmp_path, **settings).look()
    records = [record async for page in store.usage.month(MONTH) for record in page]
    assert {record.owner for record in records} == {"ada@iam.example.org"}  # the month ended ten days before
    later = NOW + 31 * DAY_SECONDS * 1000
    for _ in range(2):
        await loop_of(store, tmp_path, later, **settings).look()
        records = [record async for page in store.usage.month(MONTH) for record in page]
        assert {record.owner for record in records} == {expected}
        assert sum(record.wall_s for record in records) == 7200


async def test_retention(store: Store, tmp_path: Path) -> None:
    """Months that are older go."""
    await end(store, "a", "b")
    await end(store, "c", ended=SEPTEMBER + 35 * DAY_SECONDS * 1000)
    await loop_of(store, tmp_path, NOW + 300 * DAY_SECONDS * 1000, retention=300 * DAY_SECONDS, publish={}).look()
    assert await store.usage.months() == [202410]


async def test_auditor(store: Store, tmp_path: Path, double: tuple[str, type[AuditorDouble]]) -> None:
    """ACC-055, ACC-057: each record arrives once, however often it is pushed."""
    url, server = double
    await end(store, "a", "b")
    await end(store, "never", started=None)
    loop = loop_of(store, tmp_path, publish={"auditor": url})
    auditor = Auditor(url)
    try:
        await loop.look(auditor)
        assert set(server.records) == {"uws.example.org-a-1", "uws.example.org-b-1"}
        await end(store, "c")
        await loop.look(auditor)
        assert set(server.records) == {f"uws.example.org-{name}-1" for name in "abc"}
        server.refuses = True
        await end(store, "d")
        with pytest.raises(ServiceUnavailable, match="answers 403"):
            await loop.look(auditor)
        server.refuses = False
        await loop.look(auditor)
        assert "uws.example.org-d-1" in server.records
    finally:
        await auditor.close()
