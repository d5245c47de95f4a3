"""Jobs over data sets.

Looked up in a real Rucio, fetched from real WebDAV servers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.test_rucio import settings_of
from tests.rucio.network import CONTENTS, SCOPE, Network
from tests.rucio.server import path_of, register
from tests.server import Server, free_port
from tests.service.client import Uws

FOLDER = Path(__file__).parent
WAIT_SECONDS = 120


def service(folder: Path, catalogues: list[dict[str, Any]], **settings: Any) -> Server:
    """Return a service with the application of this folder."""
    return Server(
        folder,
        {
            "UWS_APPLICATIONS": json.dumps([str(FOLDER / "reader.yaml")]),
            "UWS_FETCH": '{"allow_private": true, "timeout": 5}',
            "UWS_DATASETS": json.dumps({"catalogues": catalogues}),
            **settings,
        },
    )


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, rucio: Network) -> Iterator[Server]:
    server = service(tmp_path_factory.mktemp("service"), [settings_of(rucio.server.url)])
    server.start()
    yield server
    server.stop()


@pytest.fixture
def user(ready: Server) -> Iterator[Uws]:
    with Uws(ready.url, "reader") as client:
        yield client


def run(user: Uws, data: Any) -> str:
    """Create a job and run it."""
    answer = user.http.post(user.jobs, data={**data, "PHASE": "RUN"})
    assert answer.status_code == 303, answer.text
    url = str(answer.headers["location"])
    user.made.append(url)
    return url


def show(user: Uws, job: str) -> dict[str, Any]:
    answer: dict[str, Any] = user.http.get(job, headers={"accept": "application/json"}).json()
    return answer


def ended(user: Uws, job: str) -> dict[str, Any]:
    """Return the job once it has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (content := show(user, job))["phase"] in ("QUEUED", "EXECUTING") and time.monotonic() < deadline:
        user.http.get(f"{job}?WAIT=5")
    return content


def files_of(user: Uws, job: str) -> dict[str, Any]:
    content = ended(user, job)
    assert content["phase"] == "COMPLETED", content["errorSummary"]
    answer: dict[str, Any] = user.http.get(f"{job}/results/result", follow_redirects=True).json()
    return answer


def expected(folder: str, *names: str) -> dict[str, Any]:
    return {f"{folder}/{name}": [len(CONTENTS[name]), hashlib.sha256(CONTENTS[name]).hexdigest()] for name in names}


def test_page_says_what_an_identifier_is(user: Uws) -> None:
    page = user.http.get(f"{user.base}/new", headers={"accept": "text/html,application/xhtml+xml"}).text
    assert "data set" in page
    assert "An identifier of data: scope:name, ivo://authority/path?key or an http(s) URL." in page


def test_dataset_is_a_folder_of_its_files(user: Uws) -> None:
    before = moved_gib(user)
    files = files_of(user, run(user, {"DATA": "survey:night-1"}))
    assert files == {"files": expected("data/DATA", *CONTENTS), "value": "survey:night-1"}
    fetched = sum(len(content) for content in CONTENTS.values())
    # The site has no storage area: all of it came from elsewhere.
    assert moved_gib(user) - before == pytest.approx(fetched / 2**30, abs=1e-9)


def moved_gib(user: Uws) -> float:
    """Return what the accounts say was moved for jobs of the application."""
    lines = user.http.get(f"{user.root}/usage?BY=application&RESPONSEFORMAT=json").json()["lines"]
    return sum(float(line["gib_moved"]) for line in lines)


def test_file_is_a_file_and_several_values_are_a_folder(user: Uws) -> None:
    data = {"DATA": "survey:obs-5.fits", "MORE": ["survey:obs-0.fits", "survey:obs-1.fits", "survey:obs-0.fits"]}
    files = files_of(user, run(user, data))
    assert files["files"] == expected("data/DATA", "obs-5.fits") | expected("data/MORE", "obs-0.fits", "obs-1.fits")


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        ({"DATA": "night-1"}, "Usage", "scope:name"),
        ({"DATA": "survey:../etc"}, "Usage", "DATA="),
        ({"DATA": "survey:nothing"}, "Data", "DATA: survey:nothing is not known"),
        ({"DATA": "survey:empty"}, "Data", "has no files"),
        ({"DATA": "survey:obs-0.fits", "MORE": "survey:night-1"}, "Data", "more than the 5120 bytes"),
        ({"DATA": "ivo://nowhere.example/x?y"}, "Data", "in no catalogue"),
        (
            {"DATA": "survey:obs-0.fits", "MORE": ["survey:obs-0.fits", "survey:nothing"]},
            "Data",
            "MORE: survey:nothing",
        ),
    ],
)
def test_what_a_job_can_not_have_is_its_end_with_a_reason(user: Uws, data: Any, reason: str, words: str) -> None:
    content = ended(user, run(user, data))
    assert content["phase"] == "ERROR"
    assert words in content["errorSummary"]["message"], content["errorSummary"]
    assert content["errorSummary"]["type"] == "fatal"


def test_corrupt_replica_is_not_handed_over_and_another_is_tried(user: Uws, rucio: Network) -> None:
    name, content = "half-good.fits", b"h" * 1000
    register(rucio.server, SCOPE, {name: content}, {name: [rucio.north, rucio.south]})
    (rucio.north.files / path_of(SCOPE, name)).write_bytes(content[:-1] + b"!")
    for _ in range(4):  # either replica may be the first
        files = files_of(user, run(user, {"DATA": f"{SCOPE}:{name}"}))
        assert files["files"] == {f"data/DATA/{name}": [len(content), hashlib.sha256(content).hexdigest()]}


def test_file_of_which_no_replica_is_good(user: Uws, rucio: Network) -> None:
    """It is a file of this test alone: a copy elsewhere, which another test had made, would be a good one."""
    name, content = "bad.fits", b"b" * 1000
    register(rucio.server, SCOPE, {name: content}, {name: [rucio.north]})
    place = rucio.north.files / path_of(SCOPE, name)
    place.write_bytes(content[:-1] + b"!")
    wrong = ended(user, run(user, {"DATA": f"{SCOPE}:{name}"}))
    place.unlink()
    gone = ended(user, run(user, {"DATA": f"{SCOPE}:{name}"}))
    assert wrong["phase"] == gone["phase"] == "ERROR"
    assert "md5" in wrong["errorSummary"]["message"] or "adler32" in wrong["errorSummary"]["message"]
    assert "404" in gone["errorSummary"]["message"]


def test_job_waits_for_a_catalogue_that_is_down(tmp_path: Path, rucio: Network) -> None:
    """The look-up is told, tried again, and no job is lost; not even if the service is killed meanwhile."""
    port = free_port()
    index = tmp_path / "index.csv"
    index.write_text("identifier,file,url\nlocal:x,,http://127.0.0.1:1/x\n")
    static = {"name": "index", "kind": "static", "index": str(index)}
    server = service(tmp_path / "service", [static, settings_of(f"http://127.0.0.1:{port}")])
    server.start()
    try:
        with Uws(server.url, "reader") as user:
            job = run(user, {"DATA": "survey:night-1"})
            deadline = time.monotonic() + 60
            while "tried again" not in json.dumps(show(user, job)["jobInfo"]) and time.monotonic() < deadline:
                time.sleep(0.1)
            content = show(user, job)
            assert content["phase"] == "QUEUED"
            assert "lake can't be asked now" in json.dumps(content["jobInfo"])
            server.kill()
            server.settings["UWS_DATASETS"] = json.dumps({"catalogues": [static, settings_of(rucio.server.url)]})
            server.start()
            assert files_of(user, job)["files"] == expected("data/DATA", *CONTENTS)
            user.made.clear()
    finally:
        server.stop()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_service_that_ends_in_the_middle_of_a_look_up(tmp_path: Path, rucio: Network, end: str) -> None:
    """A catalogue is asked and says nothing; the next service asks again."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(50)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        server = service(tmp_path / "service", [settings_of(url, timeout=600)])
        server.start()
        try:
            with Uws(server.url, "reader") as user:
                jobs = [run(user, {"DATA": f"survey:{name}"}) for name in ("night-1", "obs-1.fits")]
                silent.settimeout(60)
                connection, _ = silent.accept()
                getattr(server, end)()
                connection.close()
                with contextlib.closing(sqlite3.connect(server.folder / "data" / "uws.db")) as database:
                    dues = [due for (due,) in database.execute("SELECT due FROM lookup")]
                assert len(dues) == 2
                if end == "stop":
                    assert max(dues) <= time.time() * 1000, "nothing waits for a lease to end"
                server.settings["UWS_DATASETS"] = json.dumps({"catalogues": [settings_of(rucio.server.url)]})
                server.start()
                for job in jobs:
                    assert ended(user, job)["phase"] == "COMPLETED"
                user.made.clear()
        finally:
            server.stop()


def test_aborted_while_it_waits(tmp_path: Path) -> None:
    server = service(tmp_path / "service", [settings_of(f"http://127.0.0.1:{free_port()}")])
    server.start()
    try:
        with Uws(server.url, "reader") as user:
            job = run(user, {"DATA": "survey:night-1"})
            user.http.post(f"{job}/phase", data={"PHASE": "ABORT"})
            assert ended(user, job)["phase"] == "ABORTED"
    finally:
        server.stop()
