"""TAP: small queries with many clients beside another server, cones, a million rows beside astropy's own writer.

The other server is DaCHS where `conformance/tests/peers.py` finds it installed or unpacked (``make conformance-peers``
unpacks it), or what ``UWS_BENCH_TAP_PEER`` names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx2
import numpy as np
import psutil

from tests.bench import tap_index
from tests.bench.__main__ import Figure
from tests.bench.load import request_bytes
from tests.server import ROOT, Server

CLIENTS = 32
SECONDS = 8.0
ROWS = 1_000_000
QUERY = "SELECT TOP 1 name, ra, dec FROM openngc.objects"
PEER = os.environ.get("UWS_BENCH_TAP_PEER", "")
"""The base URL of another TAP service on this machine, in place of DaCHS."""
PEER_QUERY = os.environ.get("UWS_BENCH_TAP_PEER_QUERY", "SELECT TOP 1 schema_name FROM TAP_SCHEMA.schemas")
MIN_RATIO = 10.0
"""How many times the peer's requests a second are wanted."""
CONE_ROWS = 10_000_000
"""Rows of the table that cones are searched in."""
SCANNED = 0.1
"""A cone with the sky index takes at most this part of the time of reading everything."""


async def measure(folder: Path) -> list[Figure]:
    """Return all figures."""
    server = Server(folder / "service", warm=False)
    catalogue = folder / "service" / "data" / "catalogues"
    await asyncio.to_thread(_publish, folder, catalogue)
    server.start()
    try:
        figures = [*await _small(server.url, folder), *await _large(server, folder)]
    finally:
        server.stop()
    return figures + await asyncio.to_thread(_cones, folder / "cones")


# --- small queries ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _peer(folder: Path) -> Iterator[str]:
    """Yield the base URL of the other server while it runs; empty where there is none."""
    if PEER:
        yield PEER
        return
    import peers  # type: ignore[import-not-found] # by PYTHONPATH: Makefile

    if not shutil.which("dachs") and not (peers.BUILD / "root" / "usr" / "bin" / "dachs").exists():
        print("DaCHS is neither installed nor unpacked (`make conformance-peers` does that): no figures of a peer")
        yield ""
        return
    folder.mkdir()
    for part in (folder, *folder.parents[:1]):
        part.chmod(0o755)  # it runs as a user without rights
    dachs = peers.Dachs(peers.unpacked(), folder)
    try:
        dachs.start()
        yield f"{dachs.url}/tap"
    finally:
        dachs.stop()


async def _small(url: str, folder: Path) -> list[Figure]:
    await _load(f"{url}/tap", QUERY, 2.0)  # the processes are started by the first queries
    rate, slow = await _load(f"{url}/tap", QUERY, SECONDS)
    description = f"{CLIENTS} clients, GET /sync: {QUERY}"
    figures = [
        Figure.plain("small TAP queries", rate, description, "requests/s"),
        Figure.plain("95 % of them answered within", 1000 * slow, description, "ms"),
    ]
    with _peer(folder / "peer") as peer:
        if not peer:
            return figures
        rounds = []
        for seconds in (2.0, SECONDS, SECONDS, SECONDS):  # in turns; the first one warms up
            rounds.append((await _load(f"{url}/tap", PEER_QUERY, seconds), await _load(peer, PEER_QUERY, seconds)))
    (rate, slow), (peer_rate, peer_slow) = np.median(rounds[1:], axis=0).tolist()
    description = f"{CLIENTS} clients, GET /sync, in turns: {PEER_QUERY}"
    figures += [
        Figure.plain("small queries of the peer's kind, ours", rate, description, "requests/s"),
        Figure.plain("95 % of ours answered within", 1000 * slow, description, "ms"),
        Figure.plain("small queries of the peer's kind, the peer's", peer_rate, description, "requests/s"),
        Figure.plain("95 % of the peer's answered within", 1000 * peer_slow, description, "ms"),
        Figure.least("small queries, ours / the peer's", rate / peer_rate, MIN_RATIO, description),
    ]
    return figures


async def _load(base: str, query: str, seconds: float) -> tuple[float, float]:
    """Return requests a second, and the 95 % delay.

    In seconds; every answer must be a good one.
    """
    url = f"{base}/sync?{urlencode({'REQUEST': 'doQuery', 'LANG': 'ADQL', 'QUERY': query})}"
    parts = urlsplit(url)
    wire = request_bytes(url)
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader = writer = None
        while time.perf_counter() < end:
            began = time.perf_counter()
            if writer is None:
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            assert reader is not None
            writer.write(wire)
            body, stays = await _answer(reader)
            if b'"QUERY_STATUS"' not in body or b"ERROR" in body:
                raise RuntimeError(body[:300])
            took.append(time.perf_counter() - began)
            if not stays:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return len(took) / (time.perf_counter() - began), float(np.percentile(took, 95))


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """Return a body and whether more may follow."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
        raise RuntimeError(head[:300])
    stays = head.startswith(b"http/1.1") and b"connection: close" not in head
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line[15:])), stays
    if b"transfer-encoding: chunked" not in head:
        return await reader.read(), False
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body, stays


# --- cones --------------------------------------------------------------------------------------------------------


def _cones(folder: Path) -> list[Figure]:
    folder.mkdir()
    figures = tap_index.measure(CONE_ROWS, folder)
    description = f"median of 30 random cones of 1 arcmin in {CONE_ROWS} rows, warm; query to rows, without HTTP"
    indexed, scan = figures["cone_indexed_s"], figures["cone_scan_s"]
    return [
        Figure.plain("a cone of 1 arcmin", 1000 * indexed, description, "ms"),
        Figure.plain("the same without the sky index", 1000 * scan, description, "ms"),
        Figure.most("a cone with the sky index / without", indexed / scan, SCANNED, description),
    ]


# --- a million rows -----------------------------------------------------------------------------------------------

_COLUMNS = """
import numpy as np
numbers = np.random.default_rng(11)
rows = {rows}
table = dict(
    id=np.arange(rows), ra=numbers.uniform(0, 360, rows), dec=numbers.uniform(-90, 90, rows),
    mag=numbers.normal(18, 2, rows).astype("f4"), flag=numbers.integers(0, 2, rows).astype("i2"),
    name=np.char.add("star ", np.arange(rows).astype(str)),
)
"""
_ASTROPY = """
import sys, time
from astropy.table import Table
table = Table(table)
began = time.perf_counter()
table.write(sys.argv[1], format="votable", overwrite=True)
print(time.perf_counter() - began)
"""
_PARQUET = """
import sys, pyarrow, pyarrow.parquet
pyarrow.parquet.write_table(pyarrow.table(table), sys.argv[1])
"""


def _run(program: str, *words: object) -> str:
    completed = subprocess.run([sys.executable, *map(str, words)] if not program else
                          [sys.executable, "-c", program, *map(str, words)],
                          check=True, capture_output=True, text=True, cwd=ROOT)  # fmt: skip
    return completed.stdout


def _publish(folder: Path, catalogue: Path) -> None:
    source = folder / "stars.parquet"
    _run(_COLUMNS.format(rows=ROWS) + _PARQUET, source)
    _run("", "-m", "uws_service", "catalogue", "add", source, "--name", "bench.stars", "--folder", catalogue)


async def _large(server: Server, folder: Path) -> list[Figure]:
    figures = []
    peaks = {}
    rates = {}
    for form in ("votable", "votable/b2"):
        for rows in (ROWS // 4, ROWS // 4, ROWS):  # the first one warms up
            size, seconds, peaks[form, rows] = await asyncio.to_thread(_fetched, server, form, rows)
            rates[form] = size / 1e6 / seconds
        description = f"GET /sync of {ROWS} rows, 6 columns, as {form}, from the first byte sent to the last received"
        figures.append(Figure.plain(f"a million rows as {form}", rates[form], description, "MB/s"))
    target = folder / "astropy.vot"
    seconds = float(await asyncio.to_thread(_run, _COLUMNS.format(rows=ROWS) + _ASTROPY, target))
    rate = target.stat().st_size / 1e6 / seconds
    description = "the same table by Table.write(format='votable') into a file, without any query or network"
    figures.append(Figure.plain("a million rows by astropy's writer", rate, description, "MB/s"))
    figures.append(
        Figure.least("a million rows as VOTable, ours / astropy's", rates["votable"] / rate, 1.0, description)
    )
    for form in rates:
        description = f"peak memory of the query process and the service: {ROWS} rows / {ROWS // 4} rows as {form}"
        ratio = peaks[form, ROWS] / peaks[form, ROWS // 4]
        figures.append(Figure.most(f"memory with four times the rows, {form}", ratio, 1.25, description))
    return figures


def _fetched(server: Server, form: str, rows: int) -> tuple[int, float, int]:
    """Return bytes, seconds and peak memory.

    The memory of all processes of the service, in bytes.
    """
    assert server.process is not None
    service = psutil.Process(server.process.pid)
    words = {"LANG": "ADQL", "QUERY": f"SELECT TOP {rows} * FROM bench.stars", "MAXREC": str(ROWS + 1),
             "RESPONSEFORMAT": form}  # fmt: skip
    size = peak = 0
    began = time.perf_counter()
    with httpx2.stream("GET", f"{server.url}/tap/sync", params=words, timeout=120) as answer:
        answer.raise_for_status()
        for number, part in enumerate(answer.iter_raw()):
            size += len(part)
            if number % 50 == 0:
                peak = max(peak, sum(_memory(process) for process in [service, *service.children(recursive=True)]))
    return size, time.perf_counter() - began, peak


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
