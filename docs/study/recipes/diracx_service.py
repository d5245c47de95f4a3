"""DiracX from the package registry: its REST service on SQLite, an S3 store and an identity provider.

Three processes, all on the loopback address. A user logs in by the device flow, stores a sandbox, submits, looks and
kills. Nothing runs the job: this DiracX has no matcher, and the recipe shows that too.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import secrets
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from recipe import DIRACX, Daemon, Show, main, resident

from tests.server import free_port

VO, GROUP, CLIENT = "ska", "ska_user", "myDIRACClientID"
STEP_SECONDS = 120
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
JDL = 'Executable="/bin/echo";Arguments="hello";JobName="study";StdOutput="std.out";OutputSandbox={"std.out"};'
HANDS_OUT = ("match", "next", "acquire", "claim", "lease")
"""Words in the path of an operation that would give a job to a pilot."""


def configure(folder: Path, programs: Path, url: str, issuer: str, store: str) -> dict[str, str]:
    """Write DiracX's configuration and keys; return its environment variables."""

    def run(*words: Any) -> str:
        return subprocess.run(
            [str(word) for word in words], check=True, capture_output=True, text=True, timeout=STEP_SECONDS
        ).stdout

    settings = folder / "cs"
    run(programs / "python", "-m", "diracx.logic", "rotate-jwk", "--jwks-path", folder / "jwks.json")
    dirac = (programs / "dirac", "internal")
    run(*dirac, "generate-cs", settings)
    client = (f"--idp-url={issuer}", "--idp-client-id=diracx", f"--default-group={GROUP}")
    run(*dirac, "add-vo", settings, f"--vo={VO}", *client)
    run(*dirac, "add-user", settings, f"--vo={VO}", f"--group={GROUP}", "--sub=alice-sub", "--preferred-username=alice")
    databases = {}
    for line in run(programs / "python", "-m", "diracx.db", "generate-local-urls", folder).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        databases[name] = value.strip("'\"")
    keys = {"endpoint_url": store, "aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return {
        **databases,
        "DIRACX_CONFIG_BACKEND_URL": f"git+file://{settings}",
        "DIRACX_SERVICE_AUTH_TOKEN_KEYSTORE": f"file://{folder}/jwks.json",
        "DIRACX_SERVICE_AUTH_STATE_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "DIRACX_SERVICE_AUTH_TOKEN_ISSUER": url,
        "DIRACX_SERVICE_AUTH_ALLOWED_REDIRECTS": json.dumps([f"{url}/docs/oauth2-redirect"]),
        "DIRACX_SANDBOX_STORE_BUCKET_NAME": "sandboxes",
        "DIRACX_SANDBOX_STORE_AUTO_CREATE_BUCKET": "true",
        "DIRACX_SANDBOX_STORE_S3_CLIENT_KWARGS": json.dumps(keys),
        "AWS_DEFAULT_REGION": "us-east-1",  # in the keywords above it is a TypeError
    }


def answer(response: httpx2.Response) -> Any:
    """Return the document of an answer that is no error."""
    if response.status_code >= 400:
        raise RuntimeError(f"{response.request.method} {response.url}: {response.status_code} {response.text[:500]}")
    return response.json()


def log_in(client: httpx2.Client) -> dict[str, Any]:
    """Log Alice in by the device flow, and have later requests carry her token; return the token's answer."""
    scope = f"vo:{VO} group:{GROUP}"
    device = answer(client.post("/api/auth/device", params={"client_id": CLIENT, "scope": scope}))
    client.get(device["verification_uri_complete"]).raise_for_status()
    form = {"grant_type": DEVICE_GRANT, "device_code": device["device_code"], "client_id": CLIENT}
    tokens: dict[str, Any] = answer(client.post("/api/auth/token", data=form))
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return tokens


def use(client: httpx2.Client) -> None:
    """Store a sandbox, submit a job with it, look for it, and kill it."""
    data = b"payload"
    description = {
        "checksum_algorithm": "sha256",
        "checksum": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "format": "tar.zst",
    }
    sandbox = answer(client.post("/api/jobs/sandbox", json=description))
    upload = httpx2.post(sandbox["url"], data=sandbox["fields"], files={"file": ("file", data)}, trust_env=False)
    assert upload.status_code < 300, upload.text
    [job] = answer(client.post("/api/jobs/jdl", json=[f'{JDL}InputSandbox={{"{sandbox["pfn"]}"}};']))
    assert state(client, job["JobID"]) == "Received"
    kill = {str(job["JobID"]): {datetime.now(UTC).isoformat(): {"Status": "Killed", "MinorStatus": "by its owner"}}}
    answer(client.patch("/api/jobs/status", json=kill))
    assert state(client, job["JobID"]) == "Killed"


def state(client: httpx2.Client, job_id: int) -> str:
    """Return the status of a job."""
    search = {"parameters": ["Status"], "search": [{"parameter": "JobID", "operator": "eq", "value": job_id}]}
    [job] = answer(client.post("/api/jobs/search", json=search))
    return str(job["Status"])


def largest_sweep(client: httpx2.Client) -> int:
    """Return how many jobs of one parametric JDL are taken at most, by trying."""
    counts = [
        count
        for count in range(10, 41, 10)
        if client.post("/api/jobs/jdl", json=[f"{JDL}Parameters={count};"]).status_code < 400
    ]
    return max(counts)


def measure(folder: Path, show: Show) -> None:
    """Start the three processes, use them, and show the figures."""
    programs = DIRACX.build() / "bin"
    ports = [free_port() for _ in range(3)]
    url, store, issuer = (f"http://127.0.0.1:{port}" for port in ports)
    variables = configure(folder, programs, url, issuer, store)
    factory = ("--factory", "diracx.testing.routers:create_app")
    with contextlib.ExitStack() as stack:

        def start(name: str, command: list[Any], probe: str) -> Daemon:
            daemon = stack.enter_context(Daemon(folder, name, command, variables))
            daemon.answer(probe)
            return daemon

        moto = start("store", [programs / "moto_server", "-H", "127.0.0.1", "-p", ports[1]], store)
        script = Path(__file__).with_name("diracx_issuer.py")
        idp = start("issuer", [programs / "python", script, ports[2]], f"{issuer}/jwks")
        began = time.perf_counter()
        words = [programs / "uvicorn", *factory, "--host", "127.0.0.1", "--port", ports[0]]
        service = start("diracx", words, f"{url}/.well-known/openid-configuration")
        show("diracx.start", time.perf_counter() - began, "s")
        with httpx2.Client(base_url=url, timeout=60, follow_redirects=True, trust_env=False) as client:
            began = time.perf_counter()
            tokens = log_in(client)
            use(client)
            show("diracx.calls", time.perf_counter() - began, "s")
            show("diracx.token", tokens["expires_in"] / 60, "min")
            assert tokens["refresh_token"]
            paths = answer(client.get("/api/openapi.json"))["paths"]
            show("diracx.operations", sum(len(methods) for methods in paths.values()), "operations")
            show("diracx.handing_out", sum(any(w in path for w in HANDS_OUT) for path in paths), "operations")
            show("diracx.sweep", largest_sweep(client), "jobs")
        show("diracx.memory", resident(service.processes()), "MiB")
        show("diracx.memory_all", resident([*service.processes(), *moto.processes(), *idp.processes()]), "MiB")
        show("diracx.parts", len([service, moto, idp]), "processes")


if __name__ == "__main__":
    main(__doc__, measure, DIRACX)
