"""The part of ``make demo AUTH=1`` that is about tokens: nanoidp as issuer, and a login by device flow."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import yaml

HOST = "127.0.0.1"
USER, PASSWORD = "galileo", "eppur-si-muove"
START_SECONDS = 60


@contextlib.contextmanager
def issuer(folder: Path, service_url: str) -> Iterator[dict[str, str]]:
    """An issuer in a process of its own; the settings with which the service believes it."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    url = f"http://{HOST}:{port}"
    config = folder / "config"
    config.mkdir(parents=True, exist_ok=True)
    clients = [
        {"client_id": "uws", "client_secret": "demo", "redirect_uris": [f"{service_url}/login/callback"]},
        {"client_id": "uws-cli", "token_endpoint_auth_method": "none"},
    ]
    settings = {
        "config_version": 1,
        "server": {"host": HOST, "port": port},
        "oauth": {"issuer": url, "audience": "uws-api", "clients": clients},
        "device_flow": {"polling_interval": 1},
    }
    user = {"password": PASSWORD, "email": "galileo@example.org", "groups": ["/astronomy/users"]}
    (config / "settings.yaml").write_text(yaml.safe_dump(settings))
    (config / "users.yaml").write_text(yaml.safe_dump({"config_version": 1, "users": {USER: user}}))
    program = Path(sys.executable).parent / "nanoidp"
    with (folder / "issuer.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), "--config", str(config), "--port", str(port)], cwd=folder, stdout=log, stderr=log
        )
    try:
        _await(url, process)
        print(f"Issuer    {url}  (user {USER}, password {PASSWORD})")
        known = {
            "url": url,
            "title": "the demonstration's issuer",
            "audience": "uws-api",
            "client_id": "uws",
            "client_secret": "demo",
            "cli_client_id": "uws-cli",
        }
        yield {"UWS_AUTH": json.dumps({"issuers": [known]})}
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/.well-known/openid-configuration").status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit("The issuer did not start.")


def log_in(service_url: str, *, alone: bool) -> str:
    """A token by device flow, kept for the command line; ``alone``: nobody is there to open the link, so we do."""
    from uws_service.client.login import Device, offers
    from uws_service.client.login import log_in as wait_for_login
    from uws_service.client.tokens import Keeper, config_folder

    refused = httpx2.post(f"{service_url}/crossmatch/async")
    print(f"Refused   {refused.status_code}: {refused.text.strip()}")

    def show(device: Device) -> None:
        print(
            f"\nOpen      {device.complete or device.url}\n          and log in as {USER} with {PASSWORD}\n", flush=True
        )
        if alone:
            form = {"user_code": device.code, "username": USER, "password": PASSWORD, "action": "authorize"}
            httpx2.post(urlsplit(device.url).geturl(), data=form).raise_for_status()

    login = wait_for_login(offers(service_url)[0], show)
    if not alone:
        keeper = Keeper(config_folder(os.environ))
        with keeper.locked():
            keeper.save(login)
    print(f"Logged in at {login.issuer}")
    return login.access_token
