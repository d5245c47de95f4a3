"""Kills a service again and again, and counts the records of its attempts in the database that it leaves.

Jobs end well, fail, are aborted and deleted; agents are killed too, so that attempts are lost and others follow. After
each kill, while nothing runs that could still mend it, each attempt that is closed must have its record, and no other
must have any.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import psycopg
from lxml import etree

from tests.crash.forked import Forked
from tests.server import Server
from uws_service.agent import folder as layout
from uws_service.store.schema import SQLITE_PREFIX, is_postgresql, migrate

APPLICATION = """
name: ledger
title: Writes its id
description: Appends its job id to a file, then ends as it is told.
command:
  - sh
  - -c
  - echo $UWS_JOB_ID >> {ledger}; sleep "$0"; echo done > $UWS_OUTPUT_DIR/result; exit "$1"
  - "{{SECONDS}}"
  - "{{CODE}}"
parameters:
  - {{name: SECONDS, datatype: double, default: "0.1", description: How long it takes.}}
  - {{name: CODE, datatype: int, default: "0", description: How it ends.}}
limits:
  attempts: 3
  execution_duration: {{default: 600, maximum: 600}}
  retention: {{default: 86400, maximum: 86400}}
results:
  - {{id: result, path: result, media_type: text/plain}}
"""
IN_FLIGHT = 24
SETTLE_SECONDS = 300
_SERIAL_0 = "FROM usage_record r WHERE r.job_id = a.job_id AND r.number = a.number AND r.serial = 0"
COUNTS = {
    "attempts": "SELECT count(*) FROM attempt",
    "open": "SELECT count(*) FROM attempt WHERE state <> 'CLOSED'",
    "records": "SELECT count(*) FROM usage_record WHERE serial = 0",
    "corrections": "SELECT count(*) FROM usage_record WHERE serial > 0",
    "missing": f"SELECT count(*) FROM attempt a WHERE a.state = 'CLOSED' AND NOT EXISTS (SELECT 1 {_SERIAL_0})",
    "early": f"SELECT count(*) FROM attempt a WHERE a.state <> 'CLOSED' AND EXISTS (SELECT 1 {_SERIAL_0})",
    "doubles": "SELECT count(*) FROM (SELECT job_id FROM usage_record WHERE serial = 0 "
    "GROUP BY job_id, number HAVING count(*) > 1) AS twice",
    "strays": "SELECT count(*) FROM usage_record r WHERE NOT EXISTS "
    "(SELECT 1 FROM attempt a WHERE a.job_id = r.job_id AND a.number = r.number)",
    "lost": "SELECT count(*) FROM usage_record WHERE serial = 0 AND waste = 'infrastructure'",
    "aborted": "SELECT count(*) FROM usage_record WHERE serial = 0 AND waste = 'aborted'",
    "failed": "SELECT count(*) FROM usage_record WHERE serial = 0 AND waste = 'failed'",
}
WRONG = ("missing", "early", "doubles", "strays")
"""Counts that must be 0, whenever the service was killed."""


class Outcome(NamedTuple):
    """What came of it."""

    seed: int
    kills: int
    agents: int
    """Agents that were killed."""
    counts: dict[str, int]
    started: Counter[str]
    """How often the command of each job has started, by its own word."""
    recorded: dict[str, int]
    """The records of attempts, by job."""


@contextlib.contextmanager
def reading(url: str) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """Yield a function that asks a database, which no service uses."""
    if is_postgresql(url):
        with psycopg.connect(url) as connection:
            yield lambda query: connection.execute(query).fetchall()
        return
    with contextlib.closing(sqlite3.connect(url.removeprefix(SQLITE_PREFIX))) as lite:
        yield lambda query: lite.execute(query).fetchall()


def count(url: str) -> dict[str, int]:
    """Return the `COUNTS` of a database."""
    with reading(url) as ask:
        return {name: int(ask(query)[0][0]) for name, query in COUNTS.items()}


class Callers(threading.Thread):
    """Keep jobs in flight: most run, some are aborted or deleted."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(daemon=True)
        self.url = f"{url}/ledger/async"
        self.chance = random.Random(seed)
        self.stopped = threading.Event()
        self.surprises: list[str] = []
        self.deleted: set[str] = set()

    def run(self) -> None:
        """Call until stopped.

        A service that is away is called again.
        """
        with httpx2.Client(timeout=60) as http:
            while not self.stopped.is_set():
                try:
                    jobs = self.unfinished(http)
                    if len(jobs) < IN_FLIGHT:
                        for _ in range(6):
                            self._submit(http)
                    for job in jobs:
                        self._disturb(http, job)
                except (httpx2.TransportError, OSError):
                    pass
                self.stopped.wait(0.05)

    def unfinished(self, http: httpx2.Client) -> list[str]:
        """Return the URLs of jobs that have not ended."""
        answer = http.get(f"{self.url}?PHASE=QUEUED&PHASE=EXECUTING&PHASE=SUSPENDED&PHASE=UNKNOWN")
        if answer.status_code != 200:
            self._note(answer)
            return []
        return [f"{self.url}/{ref.get('id')}" for ref in etree.fromstring(answer.content)]

    def _submit(self, http: httpx2.Client) -> None:
        data = {
            "SECONDS": f"{self.chance.choice((0, 0.1, 0.5, 2, 6))}",
            "CODE": self.chance.choice(("0", "0", "0", "3")),
            "PHASE": "RUN",
        }
        self._note(http.post(self.url, data=data))

    def _disturb(self, http: httpx2.Client, job: str) -> None:
        lot = self.chance.random()
        if lot < 0.02:
            self._note(http.post(f"{job}/phase", data={"PHASE": "ABORT"}))
        elif lot < 0.03:
            self.deleted.add(job.rpartition("/")[2])
            self._note(http.delete(job))

    def _note(self, answer: httpx2.Response) -> None:
        """Remember an answer that nobody should get: a service that ends may say 503, and a job may be gone."""
        if answer.status_code not in (200, 303, 403, 404, 409, 503):
            self.surprises.append(f"{answer.status_code} {answer.text[:300]}")


def soak(folder: Path, url: str, kills: int, seed: int, *, until: float = float("inf")) -> Outcome:
    """Kill a service so often, or until an instant of the monotonic clock; return what is in its database then.

    Raises
    ------
    AssertionError
        After some kill the records were not those of the attempts that are closed, or a caller got a surprise.
    """
    ledger = folder / "ledger"
    folder.mkdir(parents=True, exist_ok=True)
    ledger.touch()
    descriptor = folder / "ledger.yaml"
    descriptor.write_text(APPLICATION.format(ledger=ledger))
    settings = {
        "UWS_APPLICATIONS": f'["{descriptor}"]', "UWS_BUILTIN_APPLICATIONS": "false", "UWS_DATABASE": url,
        "UWS_AUTO_MIGRATE": "true", "UWS_SITES": '[{"name": "local", "kind": "local", "slots": 8}]',
    }  # fmt: skip
    server = Server(folder / "service", settings)
    chance = random.Random(seed)
    agents = number = 0
    server.start()
    callers = Callers(server.url, seed)
    callers.start()
    try:
        while number < kills and time.monotonic() < until:
            time.sleep(chance.uniform(0.02, 1.0))  # the random moment is what is tested
            if chance.random() < 0.3:
                agents += kill_agent(folder / "service" / "data" / "work" / "local", chance)
            server.kill()
            number += 1
            check(url, seed, number)
            server.start()
        settle(callers, server)
        server.kill()
        check(url, seed, number)
        return outcome_of(url, ledger, seed, number, agents)
    finally:
        callers.stopped.set()
        server.stop()


def forked_soak(folder: Path, url: str, kills: int, seed: int, *, until: float = float("inf")) -> Outcome:
    """Do the same with the service without its web, whose starts are quick; see `soak`."""
    ledger = folder / "ledger"
    ledger.touch()
    descriptor = folder / "ledger.yaml"
    descriptor.write_text(APPLICATION.format(ledger=ledger))
    migrate(url)
    values = {
        "applications": [descriptor], "builtin_applications": False, "database": url, "data": folder / "data",
        "sites": [{"name": "local", "kind": "local", "slots": 8}],
    }  # fmt: skip
    service = Forked(folder, values, IN_FLIGHT)
    chance = random.Random(seed)
    agents = number = 0
    try:
        while number < kills and time.monotonic() < until:
            service.start(seed + number)
            time.sleep(chance.uniform(0, 0.8))  # the random moment is what is tested
            if chance.random() < 0.3:
                agents += kill_agent(folder / "data" / "work" / "local", chance)
                time.sleep(chance.uniform(0, 0.3))
            service.kill()
            number += 1
            check(url, seed, number)
        service.start(seed + number, submits=False)
        deadline = time.monotonic() + SETTLE_SECONDS
        while count(url)["open"]:
            assert time.monotonic() < deadline, service.tail()
            time.sleep(0.2)
        service.kill()
        check(url, seed, number)
        return outcome_of(url, ledger, seed, number, agents)
    finally:
        service.kill()


def outcome_of(url: str, ledger: Path, seed: int, kills: int, agents: int) -> Outcome:
    """Return what is in the database, and in the ledger of the commands."""
    with reading(url) as ask:
        query = "SELECT job_id, count(*) FROM usage_record WHERE serial = 0 GROUP BY job_id"
        recorded = {str(job): int(number) for job, number in ask(query)}
    return Outcome(seed, kills, agents, count(url), Counter(ledger.read_text().split()), recorded)


def judge(outcome: Outcome) -> None:
    """Raise `AssertionError` unless each attempt has one record, and each start of a command an attempt."""
    counts = outcome.counts
    assert counts["open"] == 0 and counts["attempts"] == counts["records"] > outcome.kills, outcome
    assert not any(counts[name] for name in WRONG), outcome
    unrecorded = {job for job, starts in outcome.started.items() if outcome.recorded.get(job, 0) < starts}
    assert not unrecorded, outcome.seed


def settle(callers: Callers, server: Server) -> None:
    """Wait until all jobs have ended and nothing of any attempt is open."""
    callers.stopped.set()
    callers.join(SETTLE_SECONDS)
    assert not callers.surprises, callers.surprises[:5]
    deadline = time.monotonic() + SETTLE_SECONDS
    with httpx2.Client(timeout=60) as http:
        while callers.unfinished(http) or count(server.settings["UWS_DATABASE"])["open"]:
            assert time.monotonic() < deadline, server.tail()
            time.sleep(0.2)


def check(url: str, seed: int, kills: int) -> None:
    """Compare records with attempts, once the service is dead."""
    counts = count(url)
    wrong = {name: counts[name] for name in WRONG if counts[name]}
    assert not wrong, f"seed {seed}, after {kills} kills: {wrong} of {counts}"


def kill_agent(work: Path, chance: random.Random) -> int:
    """Kill the agent of some attempt, as a machine without memory would; return how many there were to kill."""
    folders = sorted(path for path in work.glob("*") if path.is_dir())
    if not folders:
        return 0
    pid = layout.agent_pid(str(chance.choice(folders)))
    if pid is None:
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return 1
    return 0
