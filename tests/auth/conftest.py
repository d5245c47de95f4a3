"""Two real issuers, and a service that trusts both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.auth.callers import Caller
from tests.issuers import AUDIENCE, CLI, CLIENT, SECRET, NanoIdp, OidcProvider
from tests.server import Server

PROBE = Path(__file__).parent.parent / "service" / "probe.yaml"
ROWS = Path(__file__).parent / "rows.yaml"
"""For members of /ska/team, says its own description."""


@pytest.fixture(scope="session")
def server_port_holder(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Return the service before its start: issuers must know its address."""
    return Server(tmp_path_factory.mktemp("secured"))


@pytest.fixture(scope="session")
def nano(tmp_path_factory: pytest.TempPathFactory, server_port_holder: Server) -> Iterator[NanoIdp]:
    """Yield nanoidp."""
    issuer = NanoIdp(tmp_path_factory.mktemp("nano"), redirects=(f"{server_port_holder.url}/login/callback",))
    issuer.start()
    yield issuer
    issuer.stop()


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory, server_port_holder: Server) -> Iterator[OidcProvider]:
    """Yield oidc-provider."""
    issuer = OidcProvider(tmp_path_factory.mktemp("provider"))
    issuer.redirects = (f"{server_port_holder.url}/login/callback/127.0.0.1-{issuer.port}",)
    issuer.start()
    yield issuer
    issuer.stop()


def auth_settings(nano: NanoIdp, provider: OidcProvider | None) -> dict[str, object]:
    """Return the settings section ``auth`` of the tests."""
    client = {"client_id": CLIENT, "client_secret": SECRET, "cli_client_id": CLI}
    issuers = [nano.settings(**client)]
    if provider is not None:
        issuers.append(
            provider.settings(
                **client,
                introspection=True,
                login_scopes="openid profile uws",
                resource=f"https://{AUDIENCE}.example.org",
            )
        )
    return {
        "issuers": issuers,
        "bad_tokens": None,
        "administrator_groups": ["/ska/uws/admin"],
        "applications": {"sleep": {"anonymous": True}, "crossmatch": {"groups": ["/ska/team"]}},
    }


@pytest.fixture(scope="session")
def secured(server_port_holder: Server, nano: NanoIdp, provider: OidcProvider) -> Iterator[Server]:
    """Yield the service.

    `probe` is for verified callers, `sleep` for all, `crossmatch` for a group.
    """
    server = server_port_holder
    server.settings |= {
        "UWS_APPLICATIONS": f'["{PROBE}", "{ROWS}"]',
        "UWS_REAP_INTERVAL": "0.3",
        "UWS_LIMITS__WAIT": "8",
        "UWS_LOG_FORMAT": "json",
        "UWS_AUTH": json.dumps(auth_settings(nano, provider)),
    }
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def callers(secured: Server, nano: NanoIdp) -> Iterator[dict[str, Caller]]:
    """Yield people of all ranks by name, and `nobody`."""
    callers_by_name = {name: Caller(secured, nano.token(name)) for name in ("alice", "bob", "carol", "root")}
    callers_by_name["nobody"] = Caller(secured)
    yield callers_by_name
    for caller in callers_by_name.values():
        caller.http.close()
