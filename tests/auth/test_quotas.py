"""Quotas of callers with tokens, and what the service notes of its callers."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.auth.callers import Caller
from tests.auth.conftest import PROBE, auth_settings
from tests.issuers import NanoIdp
from tests.server import Server


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, nano: NanoIdp) -> Iterator[Server]:
    """Yield a service with narrow quotas."""
    quotas = {
        "default": {"queued": 0, "running": 1, "stored": 1000},
        "groups": {"/ska/team": {"queued": 2}},
        "owners": {f"root@127.0.0.1:{nano.port}": {"rate": 1}, f"dave@127.0.0.1:{nano.port}": {"running": 1}},
        "anonymous": {"queued": 0},
    }
    auth = {**auth_settings(nano, None), "quotas": quotas, "metrics_from": []}
    settings = {
        "UWS_APPLICATIONS": f'["{PROBE}"]',
        "UWS_AUTH": json.dumps(auth),
        "UWS_SITES": '[{"name": "local", "slots": 1}]',
    }
    server = Server(tmp_path_factory.mktemp("small"), settings)
    server.start()
    yield server
    server.stop()


def test_quotas(small: Server, nano: NanoIdp) -> None:
    """429 where waiting helps, 403 where deleting does."""
    with Caller(small, nano.token("alice")) as alice, Caller(small, nano.token("bob")) as bob:
        _quotas(small, alice, bob)


def _quotas(small: Server, alice: Caller, bob: Caller) -> None:
    pending = bob.create()
    refused = bob.http.post(f"{pending}/phase", data={"PHASE": "RUN"})
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert "0 are allowed" in refused.text and bob.http.get(f"{pending}/phase").text == "PENDING"
    assert httpx2.post(f"{small.url}/sleep/async", data={"PHASE": "RUN"}).status_code == 429
    first = alice.create(SECONDS="60", PHASE="RUN")
    while alice.http.get(f"{first}/phase").text == "QUEUED":
        alice.http.get(f"{first}?WAIT=2&PHASE=QUEUED")
    queued = [alice.create(SECONDS="60", PHASE="RUN") for _ in range(2)]
    over = alice.http.post(alice.jobs, data={"PHASE": "RUN"})
    assert over.status_code == 429 and "2 jobs that wait" in over.text
    votable = alice.http.get(f"{small.url}/probe/sync")
    assert votable.status_code == 429 and b"QUERY_STATUS" in votable.content
    table = {"TABLE": b"TAG\n1\n2\n3\n"}
    refused_table = alice.http.post(f"{small.url}/probe/bulk", files=table, data={"PHASE": "RUN", "RUNID": "whole"})
    assert refused_table.status_code == 403 and "3 jobs at once" in refused_table.text
    table = {"TABLE": b"TAG\n1\n2\n"}
    refused_table = alice.http.post(f"{small.url}/probe/bulk", files=table, data={"PHASE": "RUN", "RUNID": "whole"})
    assert refused_table.status_code == 429 and int(refused_table.headers["retry-after"]) > 0
    assert "<uws:jobref " not in alice.http.get(f"{alice.jobs}?RUNID=whole").text
    cutout = {"ID": "ivo://uws-service.example/images?m13", "CIRCLE": "250.4226 36.4602 0.005"}
    assert alice.http.get(f"{small.url}/cutout/sync", params=cutout).status_code == 429
    for job in (first, *queued):
        alice.http.delete(job)
    upload = {"FILE": ("f", b"x" * 600)}
    created = bob.http.post(bob.jobs, data={"TAG": "x" * 100}, files=upload)
    assert created.status_code == 303
    full = bob.http.post(bob.jobs, data={"TAG": "x" * 200})
    assert full.status_code == 403 and "1000 are allowed" in full.text
    for words in ({"data": {"TAG": "x" * 200}}, {"files": upload}):
        assert bob.http.post(f"{pending}/parameters", **words).status_code == 403, words
    bob.http.delete(created.headers["location"])
    assert bob.http.post(bob.jobs).status_code == 303


def test_queries_beside_jobs(small: Server, nano: NanoIdp) -> None:
    """A synchronous query counts as a running job."""
    query = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 name FROM openngc.objects"}
    with Caller(small, nano.signed(sub="dave")) as dave:
        job = dave.create(SECONDS="60", PHASE="RUN")
        while dave.http.get(f"{job}/phase").text == "QUEUED":
            dave.http.get(f"{job}?WAIT=2&PHASE=QUEUED")
        refused = dave.http.post(f"{small.url}/tap/sync", data=query)
        assert refused.status_code == 429 and refused.headers["retry-after"] and "1 jobs and 0 queries" in refused.text
        dave.http.delete(job)
        assert dave.http.post(f"{small.url}/tap/sync", data=query).status_code == 200


def test_what_a_caller_writes_into_the_log(small: Server, nano: NanoIdp) -> None:
    """Line ends and control characters are escaped."""
    with Caller(small, nano.token("carol")) as carol:
        assert carol.http.post(f"{small.url}/%1b[2Jcarol%0acarol writes%c2%9b31m").status_code == 405
        query = {"LANG": "ADQL", "QUERY": "SELECT 1 AS a", "RUNID": "a\nb"}
        assert "control characters" in carol.http.post(f"{small.url}/tap/sync", data=query).text
        assert "control characters" in carol.http.post(f"{small.url}/probe/sync", data={"RUNID": "a\0"}).text
    log = small.log.read_bytes()
    assert b"[2Jcarol" in log and b"\x1b" not in log and b"\xc2\x9b" not in log
    assert not any(line.startswith(b"carol") for line in log.splitlines())


def test_rates(small: Server, nano: NanoIdp) -> None:
    """Ten seconds' worth at once, then 429."""
    with Caller(small, nano.token("root")) as root, Caller(small, nano.token("bob")) as bob:
        answers = [root.http.get(root.jobs) for _ in range(25)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) >= 1
        assert bob.http.get(bob.jobs).status_code == 200


def test_metrics(small: Server, nano: NanoIdp) -> None:
    """Administrators alone, where no network is named."""
    url = f"{small.url}/metrics"
    assert httpx2.get(url).status_code == 401
    assert httpx2.get(url, headers={"Authorization": f"Bearer {nano.token('bob')}"}).status_code == 403
    admin = {"Authorization": f"Bearer {nano.signed(sub='chief', groups=['ska/uws/admin'])}"}
    assert httpx2.get(url, headers=admin).status_code == 200
