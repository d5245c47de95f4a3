"""A service whose local site runs images, with an issuer of tokens, driven by SRCNet's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2
import pytest
import yaml
from ska_src_ef_broker_client import Broker

from tests.containers import ImageStore, require_namespaces
from tests.issuers import NanoIdp
from tests.server import Server

TOOL = "registry.example.org/tools/app:1"
TEAM_TOOL = "registry.example.org/team/app:1"
ELSEWHERE = "registry.example.org/elsewhere/app:1"
"""Allowed at a site alone that runs no images."""
ABSENT = "registry.example.org/tools/absent:1"
"""Allowed, and not in the store."""


def settings(issuer: NanoIdp, store: ImageStore) -> dict[str, object]:
    """Return the settings of the tests' service."""
    return {
        "sites": [
            {
                "name": "local",
                "slots": 3,
                "runner": store.runner,
                "storage": [{"area": "lake", "path": str(store.lake)}],
            },
            {"name": "bare", "slots": 3, "access": {"applications": ["sleep", "container"]}},
        ],
        "containers": {
            "images": [
                {"repository": "registry.example.org/tools/*"},
                {"repository": "registry.example.org/team/app", "groups": ["/ska/team"]},
                {"repository": "registry.example.org/elsewhere/app", "sites": ["bare"]},
            ]
        },
        "srcnet_broker": "container",
        "datasets": {"catalogues": [{"name": "lake", "kind": "static", "index": str(store.lake / "index.csv")}]},
        "reap_interval": 0.3,
        "accounting": {
            "currency": "EUR",
            "prices": [{"core_hour": 36, "groups": ["/ska/poor"]}],
            "budgets": [{"group": "/ska/poor", "amount": 0.01, "period": "total"}],
        },
        "auth": {
            "issuers": [issuer.settings()],
            "bad_tokens": None,
            "administrator_groups": ["/ska/uws/admin"],
            "quotas": {"groups": {"/ska/uws/admin": {"running": 0}}},
        },
    }


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NanoIdp]:
    """Yield nanoidp."""
    provider = NanoIdp(tmp_path_factory.mktemp("broker-issuer"))
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """Return the images of the local site."""
    require_namespaces()
    store = ImageStore(tmp_path_factory.mktemp("images"))
    store.lake.mkdir()
    (store.lake / "words").write_text("from the lake")
    (store.lake / "index.csv").write_text("identifier,file,size,area,path\nlake:words,,13,lake,words\n")
    for image in (TOOL, TEAM_TOOL, ELSEWHERE):
        store.add(image)
    return store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: NanoIdp, images: ImageStore) -> Iterator[Server]:
    """Yield the service."""
    service = Server(tmp_path_factory.mktemp("broker"), config=yaml.safe_dump(settings(issuer, images)))
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def broker_of(server: Server, issuer: NanoIdp) -> Callable[[str], Broker]:
    """Return SRCNet's client by the name of its user."""
    return lambda user: Broker(server.url, token=issuer.token(user), image=TOOL)


@pytest.fixture(scope="session")
def http_of(server: Server, issuer: NanoIdp) -> Iterator[Callable[[str], httpx2.Client]]:
    """Yield plain HTTP by the name of its user; "" for nobody."""
    clients: dict[str, httpx2.Client] = {}

    def client(user: str) -> httpx2.Client:
        if user not in clients:
            headers = {"authorization": f"Bearer {issuer.token(user)}"} if user else {}
            clients[user] = httpx2.Client(base_url=server.url, headers=headers, timeout=60)
        return clients[user]

    yield client
    for opened in clients.values():
        opened.close()
