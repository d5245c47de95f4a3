"""An application that is open to all, beside issuers: names that clients choose can be guessed."""

from __future__ import annotations

from pathlib import Path

import httpx2
import yaml

from tests.containers.test_attacks import document
from tests.issuers import NanoIdp
from tests.server import Server


def test_unknown_callers_have_no_names(issuer: NanoIdp, tmp_path: Path) -> None:
    """They may run jobs over UWS, whose ids are secrets; here they need a token."""
    auth = {"issuers": [issuer.settings()], "applications": {"container": {"anonymous": True}}}
    containers = {"images": [{"repository": "registry.example.org/tools/*"}]}
    config = yaml.safe_dump({"containers": containers, "srcnet_broker": "container", "auth": auth})
    server = Server(tmp_path / "service", config=config)
    server.start()
    try:
        with httpx2.Client(base_url=server.url, timeout=60) as nobody:
            form = {"IMAGE": "registry.example.org/tools/app:1", "COMMAND": "true"}
            job = nobody.post("/container/async", data=form)
            assert job.status_code == 303
            name = job.headers["location"].rpartition("/")[2]
            for answer in (
                nobody.post("/v1/jobs", json=document("guessable")),
                nobody.get("/v1/jobs"),
                nobody.get("/v1/jobs/guessable"),
                nobody.get(f"/v1/jobs/{name}"),
                nobody.post(f"/v1/jobs/{name}/cancel"),
            ):
                assert answer.status_code == 401
                assert answer.json()["detail"].startswith("Send a token")
            assert nobody.get(f"/container/async/{name}/phase").text == "PENDING"
    finally:
        server.stop()
