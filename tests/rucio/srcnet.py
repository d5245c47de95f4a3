"""SRCNet's Data Management and Site Capabilities APIs in front of a real Rucio, as far as their answers are published.

Data Management decides by the caller's token, which must be for its audience; who may see which namespace is set here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from tests.rucio.network import Network
from tests.rucio.server import ACCOUNT, PASSWORD, USER


class SrcNet:
    """Both APIs.

    Parameters
    ----------
    may_see
        Says whether the bearer of an Authorization header may see a namespace.
    """

    def __init__(self, network: Network, may_see: Callable[[str, str], bool]) -> None:
        self.network = network
        self.may_see = may_see
        self.requests: list[str] = []
        self.capabilities_down = False
        self.lies: dict[str, Any] = {}
        """What the metadata of every file says, whatever Rucio says."""
        self.areas = {
            network.north.name: "00000000-0000-0000-0000-00000000000a",
            network.south.name: "00000000-0000-0000-0000-00000000000b",
        }
        apis = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                apis.requests.append(self.path)
                status, content = apis.answer(path.removeprefix("/api/v1/"), self.headers.get("Authorization", ""))
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v1"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str, authorization: str) -> tuple[int, Any]:
        """Return status and content of an answer."""
        if path == "storages":
            return (503, {}) if self.capabilities_down else (200, self._storages())
        if path == "storage-areas":
            storages = self._storages()
            return 200, [
                {**area, "associated_storage_id": entry["id"]} for entry in storages for area in entry["areas"]
            ]
        kind, _, rest = path.removeprefix("data/").partition("/")
        namespace, _, name = (unquote(part) for part in rest.partition("/"))
        if not self.may_see(authorization, namespace):
            return 403, {"detail": "You do not have permission to perform this action."}
        return self._locate(namespace, name) if kind == "locate" else self._metadata(namespace, name)

    def _storages(self) -> list[dict[str, Any]]:
        storages = (self.network.north, self.network.south)
        return [
            {
                "id": f"storage-{storage.name}",
                "host": "127.0.0.1",
                "base_path": "/",
                "supported_protocols": [{"prefix": "http", "port": storage.port}],
                "areas": [
                    {"id": self.areas[storage.name], "name": None, "type": "rse", "relative_path": "/", "tier": 0}
                ],
            }
            for storage in storages
        ]

    def _locate(self, namespace: str, name: str) -> tuple[int, Any]:
        answer = self._rucio("POST", "replicas/list", {"dids": [{"scope": namespace, "name": name}]})
        lines = [json.loads(line) for line in answer.text.splitlines() if line] if answer.status_code == 200 else []
        if not lines:
            return 404, {"detail": "No replicas found."}
        by_area: dict[str, list[str]] = {}
        for line in lines:
            for rse, urls in line["rses"].items():
                by_area.setdefault(rse, []).extend(urls)
        return 200, [
            {"identifier": rse, "associated_storage_area_id": self.areas[rse], "replicas": urls}
            for rse, urls in by_area.items()
        ]

    def _metadata(self, namespace: str, name: str) -> tuple[int, Any]:
        answer = self._rucio("GET", f"dids/{namespace}/{name}/meta?plugin=DID_COLUMN", None)
        if answer.status_code != 200:
            return 404, {"detail": "Not found."}
        names = ("bytes", "adler32", "md5", "did_type", "scope", "name")
        content = answer.json()
        return 200, {name: content.get(name) for name in names} | self.lies

    def _rucio(self, method: str, path: str, body: Any) -> httpx2.Response:
        url = self.network.server.url
        headers = {"x-rucio-account": ACCOUNT, "x-rucio-username": USER, "x-rucio-password": PASSWORD}
        token = httpx2.get(f"{url}/auth/userpass", headers=headers).headers["x-rucio-auth-token"]
        headers = {"x-rucio-auth-token": token}
        return httpx2.request(method, f"{url}/{path}", json=body, headers=headers)
