"""One table of resources, for service and documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route, Router

from uws_service.runtime import running
from uws_service.settings import Settings
from uws_service.web.router import JobsFirst
from uws_service.web.routes import JOBS, declared, resources


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


ID = "0190c8a1f7b87abc9def0123456789ab"
PATHS = [
    *("/sleep/async", f"/sleep/async/{ID}", f"/sleep/async/{ID}/phase", f"/sites/async/{ID}/phase", "/sites/async"),
    *(f"/sleep/async/{ID}/owner", f"/sleep/async/{ID}/", f"/sleep/async/{ID}/phase/", "/sleep/async/events"),
    *("/sleep/async/short", "/sleep/async/short/phase", "/sleep/async/", "/sites", "/sites/a", "/sleep", "/"),
    *("/async/async/async", "//async", "/a/b/async", f"/a\n/async/{ID}", f"/a/async/{ID}\n", "/sleep/async/phase"),
    *(
        f"/v1/async/{ID}",
        "/v1/jobs/async",
        f"/sleep/async/{ID.upper()}",
        f"/sleep/async/{ID}0",
        "/sleep/async/../async",
    ),
]


@pytest.mark.anyio
async def test_jobs_are_found_first(tmp_path: Path) -> None:
    """The short way leads wherever the table of routes leads."""
    reached: list[tuple[str, dict[str, str]]] = []

    async def nowhere(scope: Any, receive: Any, send: Any) -> None:
        reached.append(("", {}))

    def noted(path: str) -> Any:
        async def note(scope: Any, receive: Any, send: Any) -> None:
            reached.append((path, scope["path_params"]))

        return note

    async with running(Settings.load(data=tmp_path, controller=False)) as runtime:
        table = {path: _Noted(noted(path)) for path in resources(runtime.backend())}
    listed = [Route(path, endpoint=endpoint) for path, endpoint in table.items()]
    plain = Router(routes=listed, default=nowhere, redirect_slashes=False)
    swift = JobsFirst(None, nowhere)  # type: ignore[arg-type]
    swift.set_routes(listed, table, JOBS)
    for path in PATHS:
        for method in ("GET", "POST", "PATCH"):
            reached.clear()
            for router in (plain, swift):
                await router({"type": "http", "path": path, "method": method, "headers": []}, None, None)  # type: ignore[arg-type]
            assert reached[0] == reached[1], path


class _Noted:
    """An endpoint that is an ASGI application, as a resource is."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
