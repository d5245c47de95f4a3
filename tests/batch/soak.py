"""Soak a site: kill its parts at random.

Jobs are in flight, and what was lost, ran twice or was left is counted.

Each run of a command appends a line to one file, and holds a lock of its job's own while it lasts: a second run beside
it shows in the file too. What is killed, and when, follows from a seed.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2
import psutil

from tests.server import Server

APPLICATION = "counted"
ATTEMPTS = 10
ALLOWED_SECONDS = 900
"""After the last kill all jobs must have ended in this time."""
CLEAN_SECONDS = 90
"""After the last job's end nothing of any may be left at the site in this time."""
SCRIPT = """
exec 9>{folder}/lock-$UWS_JOB_ID
flock -n 9 || echo "beside $UWS_JOB_ID" >> {folder}/soak
echo "begin $UWS_JOB_ID" >> {folder}/soak
sleep $0
echo "end $UWS_JOB_ID" >> {folder}/soak
echo $UWS_JOB_ID > $UWS_OUTPUT_DIR/result
"""


def descriptor(folder: str) -> dict[str, Any]:
    """Return the application whose runs are counted.

    ``folder`` is the shared one as the nodes name it.
    """
    return {
        "name": APPLICATION,
        "title": "Writes down its runs",
        "description": "Appends lines to a file at the begin and at the end of each run.",
        "command": ["/bin/sh", "-c", SCRIPT.format(folder=folder), "{SECONDS}"],
        "parameters": [{"name": "SECONDS", "datatype": "double", "default": 1, "minimum": 0, "maximum": 600}],
        "resources": {"cpu": 1, "memory": "64MiB"},
        "limits": {"execution_duration": {"default": 600, "maximum": 3600}, "attempts": ATTEMPTS},
        "results": [{"id": "result", "path": "result", "media_type": "text/plain"}],
    }


def write_descriptor(folder: Path, shared: str) -> str:
    """Write that application's file into a folder, and return its path."""
    path = folder / f"{APPLICATION}.yaml"
    path.write_text(json.dumps(descriptor(shared)))
    return str(path)


class Victim(Protocol):
    """A site with all that can be killed there."""

    @property
    def name(self) -> str:
        """Return what kind of site it is."""

    @property
    def shared(self) -> Path:
        """Return the folder of the file, as this machine names it."""

    @property
    def server(self) -> Server:
        """Return the service that uses it."""

    @property
    def troubles(self) -> Mapping[str, Callable[[random.Random], None]]:
        """Return what may happen, by name.

        After each the site goes on, if need be with an operator's help.
        """

    def calm(self) -> None:
        """Let everything run again."""

    def leftovers(self, job_ids: frozenset[str]) -> Sequence[str]:
        """Name what the site still has of jobs that have ended."""


@dataclass(frozen=True)
class Findings:
    """What a soak has shown; the last three numbers must be 0."""

    site: str
    seed: int
    jobs: int
    kills: Mapping[str, int]
    seconds: int
    retries: int
    """Jobs with a second attempt, since the first one's command was ended with what looked after it."""
    lost_jobs: int
    """Jobs that did not end well, or without their result."""
    double_runs: int
    """Jobs whose command was begun more often than there were attempts, or beside an earlier run."""
    orphans: int
    """What of the jobs was left running or queued at the site."""
    details: Sequence[str] = ()

    @property
    def is_clean(self) -> bool:
        """Return whether nothing was lost, ran twice or was left."""
        return not (self.lost_jobs or self.double_runs or self.orphans)

    @property
    def line(self) -> str:
        """Return the report in one line."""
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.site}: seed {self.seed}, {self.jobs} jobs, {sum(self.kills.values())} kills ({kills}), "
            f"{self.seconds} s; lost {self.lost_jobs}, twice {self.double_runs}, orphans {self.orphans}; "
            f"{self.retries} tried again"
        )

    def append(self, path: Path) -> None:
        """Append the findings to a file of JSON lines."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(asdict(self)) + "\n")


def make_ledger(shared: Path) -> Path:
    """Return the file of the runs, to which every user of the nodes may append."""
    path = shared / "soak"
    path.touch()
    path.chmod(0o666)
    return path


def submit(url: str, shared: Path, count: int, moments: random.Random) -> list[str]:
    """Create jobs and start them.

    Return their URLs. Each has a lock that every user of the nodes may take.
    """
    jobs = []
    with httpx2.Client(timeout=180) as http:
        for _ in range(count):
            seconds = f"{moments.uniform(0, 3):.2f}"
            answer = http.post(f"{url}/{APPLICATION}/async", data={"SECONDS": seconds})
            assert answer.status_code == 303, answer.text
            job = str(answer.headers["location"])
            lock = shared / f"lock-{job.rpartition('/')[2]}"
            lock.touch()
            lock.chmod(0o666)
            assert http.post(f"{job}/phase", data={"PHASE": "RUN"}).status_code == 303
            jobs.append(job)
    return jobs


def soak(victim: Victim, seed: int, jobs: int, kills: int, pause: float = 3.0) -> Findings:
    """Kill parts of a site with jobs in flight, and count what became of them.

    Parameters
    ----------
    seed
        Says what is killed, and when.
    jobs, kills
        How many; all that can be killed is killed in turn, in random order.
    pause
        Most seconds between two kills.
    """
    moments = random.Random(seed)
    ledger = make_ledger(victim.shared)
    began = time.monotonic()
    urls = submit(victim.server.url, victim.shared, jobs, moments)
    counts: Counter[str] = Counter()
    order: list[str] = []
    while sum(counts.values()) < kills:
        if not order:
            order = moments.sample(sorted(victim.troubles), len(victim.troubles))
        name = order.pop()
        time.sleep(moments.uniform(0.1, pause))  # the random moment is what is tried
        victim.troubles[name](moments)
        counts[name] += 1
    victim.calm()
    documents = [_ended(url) for url in urls]
    ids = frozenset(url.rpartition("/")[2] for url in urls)
    orphans = _left(victim, ids)
    runs = [line.split() for line in ledger.read_text().splitlines()]
    starts = Counter(job_id for word, job_id in runs if word == "begin")
    beside = {job_id for word, job_id in runs if word == "beside"} & ids
    losses = [words for words in map(_loss, documents) if words]
    doubles = [
        f"{document['jobId']} was begun {starts[document['jobId']]} times"
        for document in documents
        if document["jobId"] in beside or starts[document["jobId"]] > document["jobInfo"].get("attempt", 0)
    ]
    retries = sum(1 for document in documents if document["jobInfo"].get("attempt", 0) > 1)
    seconds = round(time.monotonic() - began)
    details = (*losses, *doubles, *orphans)
    return Findings(victim.name, seed, jobs, counts, seconds, retries, len(losses), len(doubles), len(orphans), details)


def _ended(url: str) -> dict[str, Any]:
    """Return a job's document once it has ended, or when it should have; with its result's text."""
    with httpx2.Client(timeout=180, headers={"Accept": "application/json"}) as http:
        deadline = time.monotonic() + ALLOWED_SECONDS
        while True:
            phase = http.get(f"{url}/phase").text
            if phase in ("COMPLETED", "ERROR", "ABORTED") or time.monotonic() > deadline:
                break
            http.get(f"{url}?WAIT=5&PHASE={phase}")
        document: dict[str, Any] = http.get(url).json()
        result = http.get(f"{url}/results/result")
        return {**document, "answer": result.text.strip() if result.status_code == 200 else ""}


def _loss(document: Mapping[str, Any]) -> str:
    """Return why a job counts as lost.

    Empty if it ended well, with the result of its own run.
    """
    if document["phase"] != "COMPLETED":
        return f"{document['jobId']} is {document['phase']}: {document.get('errorSummary')}"
    return "" if document["answer"] == document["jobId"] else f"{document['jobId']} has no result"


def _left(victim: Victim, ids: frozenset[str]) -> list[str]:
    """Return what is left of jobs, once nothing is or it should be gone."""
    deadline = time.monotonic() + CLEAN_SECONDS
    while True:
        remains = [*victim.leftovers(ids), *_processes(ids)]
        if not remains or time.monotonic() > deadline:
            return remains
        time.sleep(1)


def _processes(ids: frozenset[str]) -> list[str]:
    """Name the processes of commands of jobs."""
    names = []
    for process in psutil.process_iter():
        try:
            job_id = process.environ().get("UWS_JOB_ID", "")
        except psutil.Error:
            continue
        if job_id in ids:
            names.append(f"{job_id}: process {process.pid}")
    return names
