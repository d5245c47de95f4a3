"""Jobs over data sets that are done anew.

With the same data, or not at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.test_jobs import ended, run, service
from tests.server import Server
from tests.service.client import Uws

INDEX = """\
areas: {{here: ""}}
datasets:
  - id: survey:night-1
    files:
      - {{name: a.csv, size: 3, sha256: {digest}, replicas: [{{area: here, path: a.csv}}]}}
      - {{name: b.csv, size: 3, replicas: [{{area: here, path: b.csv}}]}}
"""


def publish(folder: Path, content: bytes) -> None:
    """Put a file into the storage area, and its digest into the catalogue."""
    (folder / "area" / "a.csv").write_bytes(content)
    index = folder / "index.yaml"
    before = index.stat().st_mtime if index.exists() else 0.0
    index.write_text(INDEX.format(digest=hashlib.sha256(content).hexdigest()))
    os.utime(index, (before + 10, before + 10))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("reruns")
    (folder / "area").mkdir()
    (folder / "area" / "b.csv").write_bytes(b"x\n2")
    publish(folder, b"x\n1")
    catalogue = {"name": "nights", "kind": "static", "index": str(folder / "index.yaml")}
    sites = f'[{{"name": "local", "storage": [{{"area": "here", "path": "{folder / "area"}"}}]}}]'
    running = service(folder, [catalogue], UWS_SITES=sites)
    running.start()
    yield running
    running.stop()


def test_data_that_are_not_what_they_were(server: Server) -> None:
    """Their checksums are recorded, and a rerun gets the same files; another digest in the catalogue ends it."""
    with Uws(server.url, "reader") as user:
        job = run(user, {"DATA": "survey:night-1"})
        assert ended(user, job)["phase"] == "COMPLETED"
        document = user.http.get(f"{job}/provenance").json()
        members = [relation["prov:entity"] for relation in document["hadMember"].values()]
        assert sorted(name.rpartition("/")[2] for name in members) == ["a.csv", "b.csv"]
        (first,) = (name for name in members if name.endswith("a.csv"))
        assert document["entity"][first]["uws:sha256"] == hashlib.sha256(b"x\n1").hexdigest()
        plan = user.http.get(f"{job}/rerun").json()
        assert plan["possible"] and plan["remarks"] == ["Of DATA (survey:night-1) no checksum is recorded."]

        again = user.http.post(f"{job}/rerun", data={"PHASE": "RUN"}).headers["location"]
        content = ended(user, again)
        assert content["phase"] == "COMPLETED", content["errorSummary"]
        before = user.http.get(job, headers={"accept": "application/json"}).json()
        assert content["results"][0]["sha256"] == before["results"][0]["sha256"]

        publish(server.folder, b"x\n3")
        changed = user.http.post(f"{job}/rerun", data={"PHASE": "RUN"}).headers["location"]
        content = ended(user, changed)
        assert content["phase"] == "ERROR"
        message = content["errorSummary"]["message"]
        assert "DATA: survey:night-1" in message and "has another sha256 than it had" in message
        assert ended(user, run(user, {"DATA": "survey:night-1"}))["phase"] == "COMPLETED"
