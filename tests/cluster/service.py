"""A real service that runs its jobs at test sites, and a client for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.rig import images
from tests.rig.site import Site
from tests.server import Server
from tests.service.client import Uws

NAMESPACE = "jobs"
APPLICATIONS = Path(__file__).parent / "applications"


def settings_of(site: Site, namespace: str = NAMESPACE, **settings: Any) -> dict[str, Any]:
    """Return a test site as the service's settings name it; ``PORT`` is the service's."""
    return {
        "name": site.name,
        "kind": "kubernetes",
        "kubeconfig": str(site.kubeconfig),
        "namespace": namespace,
        "agent_url": f"http://{site.host_address}:PORT",
        "agent_image": images.AGENT,
        "image": images.SERVICE,
        "image_pull_policy": "Never",
        "slots": 20,
        "image_patience": 3,
        "schedule_patience": 4,
        "unknown_after": 3,
        "grace": 5,
        "stage_out": 60,
        **settings,
    }


class ClusterServer(Server):
    """A service with sites that are clusters.

    It listens where their pods reach it.

    Parameters
    ----------
    sites
        The sites' settings, as `settings_of` makes them.
    settings
        Settings of the whole service.
    """

    def __init__(self, folder: Path, sites: list[dict[str, Any]], host: str, **settings: Any) -> None:
        config = {
            "applications": [str(APPLICATIONS)],
            "sites": sites,
            "fetch": {"allow_private": True},
            **settings,
        }
        super().__init__(folder, {"UWS_IDENTITY_HEADER": "X-Auth-Request-User", "UWS_TRUSTED_PROXIES": '["0.0.0.0/0"]'},
                         host=host, config=json.dumps(config))  # fmt: skip

    def client(self, application: str = "shell", user: str | None = None) -> Client:
        """Return a client of one application."""
        return Client(self.url, application, user)


class Client(Uws):
    """A client for tests of jobs in pods."""

    def script(self, text: str, **parameters: str) -> str:
        """Start a script; return the job's URL."""
        return self.create({"SCRIPT": text, "PHASE": "RUN", **parameters})

    def json(self, job: str) -> Any:
        """Return the job as JSON."""
        return self.http.get(job, headers={"Accept": "application/json"}).json()

    def ended(self, job: str, timeout: float = 120) -> Any:
        """Return a job's JSON once it ended."""
        self.wait(job, timeout=timeout)
        return self.json(job)

    def log(self, job: str) -> str:
        """Return what its command printed."""
        return str(self.http.get(f"{job}/logs/stdout").text)


def job_id(url: str) -> str:
    """Return the id in a job's URL."""
    return url.rstrip("/").rpartition("/")[2]


def until(check: Callable[[], Any], purpose: str, seconds: float = 60) -> Any:
    """Return the first true answer of a check.

    Fails when the time is over.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = check()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds} s for {purpose}")


def is_gone(site: Site, url: str) -> bool:
    """Return whether a cluster has nothing of a job any more."""
    return not objects(site, "jobs,pods", url)


def objects(site: Site, kind: str, url: str, namespace: str = NAMESPACE) -> list[Mapping[str, Any]]:
    """Return the objects of one job."""
    items: list[Mapping[str, Any]] = site.get(kind, "-n", namespace, "-l", f"uws-service/job={job_id(url)}")["items"]
    return items
