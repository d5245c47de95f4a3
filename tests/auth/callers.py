"""Callers of a service with issuers, for tests."""

from __future__ import annotations

import httpx2

from tests.server import Server


class Caller:
    """A caller with a token, or without."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self.root = server.url
        self.jobs = f"{server.url}/probe/async"
        self.token = token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx2.Client(timeout=180, headers=headers)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def create(self, **data: str) -> str:
        answer = self.http.post(self.jobs, data=data)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def wait(self, job: str) -> str:
        for _ in range(30):
            phase = self.http.get(f"{job}/phase").text
            if phase not in ("QUEUED", "EXECUTING"):
                return phase
            self.http.get(f"{job}?WAIT=8&PHASE={phase}")
        raise AssertionError("the job does not end")
