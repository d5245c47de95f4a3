"""Pages as a browser gets them.

How soon they are drawn, what open ones cost, how large their scripts are.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
import statistics
import time
from pathlib import Path

import httpx2
from playwright.async_api import Browser, async_playwright

from tests.bench.__main__ import Figure
from tests.bench.listing import fill
from tests.chromium import FLAGS
from tests.server import ROOT, Server

JOBS = 100_000
OPEN_PAGES = 1000
LOADS = 30
STATIC = ROOT / "uws_service" / "web" / "static"
ACCEPT = {"accept": "text/html,application/xhtml+xml"}
FIVE_ROWS = "SELECT TOP 5 name, ra, dec, vmag FROM openngc.objects"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


async def measure(folder: Path) -> list[Figure]:
    """Measure a warm service with many jobs in its store."""
    server = Server(folder)
    (folder / "data").mkdir(parents=True)
    await fill(f"sqlite:///{folder / 'data' / 'uws.db'}", JOBS)
    server.start()
    try:
        job = await _query_job(server)
        paths = {
            "the query page": "/tap/query",
            "the page of all tables": "/tap/tables",
            "the page of a table": "/tap/tables/openngc.objects",
            "rows of a result": f"{job}/results/result/view",
            "the sky of a result": f"{job}/results/result/view?VIEW=sky",
        }
        figures = await _answers(server, paths)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            figures += await _paints(server, browser, paths)
            await browser.close()
        figures += await _open_pages(server, job)
    finally:
        server.stop()
    return figures + scripts()


async def _query_job(server: Server) -> str:
    """Return the path of a complete job with 13,371 rows."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=120) as http:
        form = {"PHASE": "RUN", "LANG": "ADQL", "QUERY": "SELECT name, ra, dec, bmag, vmag FROM openngc.objects"}
        job = str((await http.post("/tap/async", data=form)).headers["location"])
        for phase in ("QUEUED", "EXECUTING"):
            await http.get(job, params={"WAIT": "50", "PHASE": phase})
        assert (await http.get(f"{job}/phase")).text == "COMPLETED"
        return job.removeprefix(server.url)


async def _answers(server: Server, paths: dict[str, str]) -> list[Figure]:
    """Measure answers without a browser, and five rows from the query page."""
    figures = []
    async with httpx2.AsyncClient(base_url=server.url, timeout=120, headers=ACCEPT) as http:
        for name, path in paths.items():
            seconds = []
            for _ in range(LOADS + 1):
                began = time.perf_counter()
                assert (await http.get(path)).status_code == 200
                seconds.append(time.perf_counter() - began)
            median = statistics.median(seconds[1:]) * 1e3
            words = f"median of {LOADS} answers, {JOBS:,} jobs in the store; the first took {seconds[0] * 1e3:.0f} ms"
            figures.append(Figure.most(name, median, 100, words, "ms"))
        seconds = []
        for _ in range(LOADS + 1):
            began = time.perf_counter()
            answer = await http.post("/tap/query", data={"QUERY": FIVE_ROWS})
            assert answer.text.count("<tr>") == 6
            seconds.append(time.perf_counter() - began)
        words = f"median of {LOADS}, from the form to the page with the rows"
        figures.append(
            Figure.most("five rows from the query page", statistics.median(seconds[1:]) * 1e3, 150, words, "ms")
        )
    return figures


async def _paints(server: Server, browser: Browser, paths: dict[str, str]) -> list[Figure]:
    """Measure the first contentful paint of each page."""
    figures = []
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(120_000)
    for name, path in paths.items():
        paints = []
        for _ in range(6):
            await page.goto(f"{server.url}{path}")
            await page.wait_for_function(f"({PAINT}) > 0")
            paints.append(await page.evaluate(PAINT))
        median = statistics.median(paints[1:])
        figures.append(Figure.most(f"first paint of {name}", median, 100, "median of 5 loads with a warm cache", "ms"))
    return figures


async def _open_pages(server: Server, job: str) -> list[Figure]:
    """Measure what pages cost that are open and do nothing: connections that are kept."""
    assert server.process is not None
    before = _memory(server.process.pid)
    limits = httpx2.Limits(max_connections=OPEN_PAGES, max_keepalive_connections=OPEN_PAGES, keepalive_expiry=60)
    async with httpx2.AsyncClient(base_url=server.url, timeout=120, headers=ACCEPT, limits=limits) as http:
        answers = await asyncio.gather(*(http.get("/tap/query") for _ in range(OPEN_PAGES)))
        assert all(answer.status_code == 200 for answer in answers)
        began, cpu = time.monotonic(), _cpu(server.process.pid)
        await asyncio.sleep(10)
        used = (_cpu(server.process.pid) - cpu) / (time.monotonic() - began)
        grown = (_memory(server.process.pid) - before) / 1e6
    return [
        Figure.most("memory of open pages", grown, 60, f"{OPEN_PAGES} query pages, opened at once and left open", "MB"),
        Figure.most("processor of open pages", used * 100, 1, "the same, for 10 s in which nothing happens", "%"),
    ]


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def scripts() -> list[Figure]:
    """Measure what each script weighs on its way."""

    def kilobytes(*names: str) -> float:
        return sum(len(gzip.compress((STATIC / name).read_bytes(), 9)) for name in names) / 1000

    return [
        Figure.most("scripts of a result's rows", kilobytes("viewer.js"), 60, "gzip", "kB"),
        Figure.plain("scripts of a plot", kilobytes("viewer.js", "uplot.js"), "gzip", "kB"),
        Figure.plain("scripts of the query page", kilobytes("viewer.js", "query.js", "editor.js"), "gzip", "kB"),
        Figure.plain("script of SAMP, loaded at a click", kilobytes("samp.js"), "gzip", "kB"),
    ]
