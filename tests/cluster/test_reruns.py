"""Jobs that are done again in pods.

The same image by its digest, the same inputs, the same bytes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.service import NAMESPACE, ClusterServer, job_id
from tests.rig.site import Site
from uws_service.cli import run

TABLE = b"name,ra,dec\na,10.6847,41.2690\nb,202.4696,47.1952\n"
QUERY = "SELECT TOP 5 name, ra, dec FROM openngc.objects WHERE vmag < 9 ORDER BY name"
CIRCLE = {"ID": "ivo://uws-service.example/images?m13", "CIRCLE": "250.4226 36.4602 0.005"}
JOBS: dict[str, dict[str, Any]] = {
    "crossmatch": {
        "data": {"UPLOAD": "mine,param:t", "RADIUS": "60", "RESPONSEFORMAT": "csv"},
        "files": {"t": ("t.csv", TABLE, "text/csv")},
    },
    "tap": {"data": {"LANG": "ADQL", "QUERY": QUERY}},
    "cutout": {"data": CIRCLE},
}


@pytest.mark.parametrize("application", list(JOBS))
def test_verify(application: str, service: ClusterServer, site_a: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a job of its own in a pod of its own, and its results have the same SHA-256."""
    request = JOBS[application]
    with service.client(application) as user:
        before = sum(site_a.audited("create", namespace=NAMESPACE).values())
        answer = user.http.post(user.jobs, data={**request["data"], "PHASE": "RUN"}, files=request.get("files"))
        assert answer.status_code == 303, answer.text
        job = answer.headers["location"]
        user.made.append(job)
        content = user.ended(job)
        assert content["phase"] == "COMPLETED", content["errorSummary"]
        digest = content["jobInfo"]["versions"]["digest"]
        assert digest.startswith("sha256:")
        capsys.readouterr()
        code = run(["verify", job, "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        verdict = json.loads(out)
        user.made.append(verdict["rerun"])
        assert verdict["reproducible"] and verdict["results"][0]["verdict"] == "same"
        again = user.json(verdict["rerun"])
        assert job_id(verdict["rerun"]) != job_id(job)
        assert again["jobInfo"]["versions"]["digest"] == digest
        assert again["results"][0]["sha256"] == content["results"][0]["sha256"]
        assert sum(site_a.audited("create", namespace=NAMESPACE).values()) == before + 2, "both ran in pods"
        influences = user.http.get(f"{verdict['rerun']}/provenance").json()["wasInfluencedBy"].values()
        assert any("Repetition" in json.dumps(item) and job_id(job) in json.dumps(item) for item in influences)
