"""A Parquet file on which Arrow ends its own process."""

from __future__ import annotations

from pathlib import Path

import httpx2

from tests.server import Server

FILE = Path(__file__).with_name("levels.parquet")
"""Its histogram of definition levels has another length than its column needs."""


def test_the_sender_is_told_and_the_service_goes_on(server: Server) -> None:
    files = {"f": ("t.parquet", FILE.read_bytes(), "application/vnd.apache.parquet")}
    query = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f"}
    with httpx2.Client(base_url=server.url, timeout=120) as http:
        answer = http.post("/tap/sync", data=query, files=files)
        assert answer.status_code == 400 and "can't be read" in answer.text, answer.text
        form = {"UPLOAD": "t,param:f", "PHASE": "RUN"}
        job = http.post("/crossmatch/async", data=form, files=files).headers["location"]
        while (document := http.get(f"{job}?WAIT=20", headers={"accept": "application/json"}).json())["phase"] in (
            "QUEUED",
            "EXECUTING",
        ):
            pass
        assert document["phase"] == "ERROR" and "histogram size mismatch" in document["errorSummary"]["message"]
        assert http.post("/tap/sync", data={**query, "QUERY": "SELECT 1 AS a FROM TAP_SCHEMA.keys"}).status_code < 500
