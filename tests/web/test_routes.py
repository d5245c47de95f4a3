"""One table of resources, for service and documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from uws_service.runtime import running
from uws_service.settings import Settings
from uws_service.web.routes import declared, resources


def test_every_verb_has_a_sentence() -> None:
    """What the page of resources says."""
    for path, _, resource in declared():
        assert resource.sentences.keys() == resource.policies.keys() - {"HEAD"}, path
        assert all(sentence.endswith((".", ";")) for sentence in resource.sentences.values()), path


@pytest.mark.anyio
async def test_the_service_has_what_is_declared(tmp_path: Path) -> None:
    """All of it with an issuer and the broker's face; no login and no broker without them."""
    auth = {"issuers": [{"url": "https://iam.example.org", "audience": "uws-api"}]}
    broker: dict[str, Any] = {
        "containers": {"images": [{"repository": "ghcr.io/skao/*"}]},
        "srcnet_broker": "container",
    }
    paths = [path for path, _, _ in declared()]
    assert len(paths) == len(set(paths))
    async with running(Settings.load(data=tmp_path / "a", controller=False, auth=auth, **broker)) as runtime:
        assert list(resources(runtime.backend())) == paths
    async with running(Settings.load(data=tmp_path / "b", controller=False)) as runtime:
        absent = set(paths) - set(resources(runtime.backend()))
    login = {"/login", "/login/start/{number:int}", "/login/callback", "/login/callback/{issuer}", "/logout"}
    jobs = {f"/v1/jobs{part}" for part in ("", "/{client_id}", "/{client_id}/logs", "/{client_id}/cancel")}
    assert absent == login | jobs | {"/healthz"}
