"""A cluster by its slurmrestd: HTTP and a JWT."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
from joserfc import jwt
from joserfc.jwk import OctKey

from uws_service.domain.errors import ConfigurationError
from uws_service.sites.executor import NotNow
from uws_service.sites.slurm.client import refusal
from uws_service.sites.slurm.jobs import Document, number, states_of
from uws_service.sites.slurm.settings import SlurmSite

TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
TOKEN_SECONDS = 600
NOT_THERE = 2017
"""``ESLURM_INVALID_JOB_ID``."""
ENDED_ALREADY = 2021
"""``ESLURM_ALREADY_DONE``."""


class SlurmProblem(Exception):
    """slurmrestd's answer is an error.

    The text says which.
    """

    def __init__(self, status: int, numbers: Sequence[int], words: str) -> None:
        super().__init__(words)
        self.status, self.numbers, self.words = status, frozenset(numbers), words


class RestClient:
    """Slurm's REST API.

    Parameters
    ----------
    site
        Where it is, and which token is shown.
    """

    def __init__(self, site: SlurmSite) -> None:
        self.site = site
        verify: Any = str(site.ca) if site.ca is not None else True
        self._http = httpx2.AsyncClient(base_url=site.url or "", timeout=TIMEOUT, verify=verify, trust_env=False)

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    def _headers(self) -> dict[str, str]:
        """Return who asks.

        Files are read anew each time, since others renew them.
        """
        return {"X-SLURM-USER-NAME": self.site.user, "X-SLURM-USER-TOKEN": self._token()}

    def _token(self) -> str:
        path = self.site.token or self.site.jwt_key
        assert path is not None
        try:
            if self.site.token is not None:
                return self.site.token.read_text(encoding="ascii").strip().removeprefix("SLURM_JWT=")
            key = OctKey.import_key(path.read_bytes())
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or "it is no token"
            raise NotNow(f"site {self.site.name}: {path}: {cause}", sent=False) from None
        now = int(time.time())
        return jwt.encode({"alg": "HS256"}, {"iat": now, "exp": now + TOKEN_SECONDS, "sun": self.site.user}, key)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return an answer's JSON.

        Raises
        ------
        SlurmProblem
            Slurm says no.
        NotNow
            It can't be asked.
        """
        family, _, rest = path.partition("/")
        url = f"/{family}/{self.site.api}/{rest}"
        try:
            answer = await self._http.request(method, url, headers=self._headers(), json=body)
        except httpx2.HTTPError as error:
            sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise NotNow(f"site {self.site.name}: slurmrestd: {error!r}", sent=sent) from None
        if answer.status_code in (401, 403, 511):
            raise NotNow(f"site {self.site.name}: slurmrestd does not take the token of {self.site.user}", sent=False)
        try:
            value = answer.json()
            errors = value.get("errors") or []
        except (ValueError, AttributeError):
            raise NotNow(f"site {self.site.name}: slurmrestd answered {answer.status_code} without JSON") from None
        if errors or answer.status_code >= 400:
            words = "; ".join(str(error.get("error") or error.get("description")) for error in errors)
            numbers = [number(error.get("error_number")) for error in errors]
            raise SlurmProblem(answer.status_code, numbers, words or f"status {answer.status_code}")
        return dict(value)

    async def _ask_now(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            return await self._ask(method, path, body)
        except SlurmProblem as problem:
            raise NotNow(f"site {self.site.name}: {problem.words}") from None

    async def ping(self) -> str:
        """Return the cluster's name and release.

        A ping alone would take any token.
        """
        answer = await self._ask_now("GET", "slurm/ping/")
        if not any(entry.get("responding", entry.get("pinged") == "UP") for entry in answer.get("pings", ())):
            raise NotNow(f"site {self.site.name}: slurmctld does not answer", sent=False)
        meta = (await self._ask_now("GET", "slurm/jobs/state/")).get("meta", {}).get("slurm", {})
        return f"cluster {meta.get('cluster', '?')}, Slurm {meta.get('release', '?')}"

    async def submit(self, description: Mapping[str, Any], script: str) -> int:
        """Create a job and return its id."""
        try:
            answer = await self._ask("POST", "slurm/job/submit", {"script": script, "job": description})
        except SlurmProblem as problem:
            raise refusal(self.site.name, problem.words) from None
        job_id = number(answer.get("job_id"))
        if not job_id:
            raise NotNow(f"site {self.site.name}: slurmrestd gave no job id")
        return job_id

    async def states(self) -> Mapping[int, frozenset[str]]:
        """Return the states of all jobs of the cluster."""
        answer = await self._ask_now("GET", "slurm/jobs/state/")
        entries = [(str(entry.get("job_id")), states_of(entry, "state")) for entry in answer.get("jobs", ())]
        return {int(job_id): states for job_id, states in entries if job_id.isdigit()}

    async def job(self, job_id: int) -> Document | None:
        """Return a job; None if there is none."""
        try:
            answer = await self._ask("GET", f"slurm/job/{job_id}")
        except SlurmProblem as problem:
            if problem.status == 404 or NOT_THERE in problem.numbers:
                return None
            raise NotNow(f"site {self.site.name}: {problem.words}") from None
        return next(iter(answer.get("jobs", ())), None)

    async def jobs(self) -> Sequence[Document]:
        """Return all jobs of the cluster."""
        return list((await self._ask_now("GET", "slurm/jobs/")).get("jobs", ()))

    async def release(self, job_id: int) -> None:
        """Let a held job run."""
        await self._ask_now("POST", f"slurm/job/{job_id}", {"hold": False})

    async def cancel(self, job_id: int) -> None:
        """Ask a job to end."""
        try:
            await self._ask("DELETE", f"slurm/job/{job_id}")
        except SlurmProblem as problem:
            if problem.status != 404 and not problem.numbers & {NOT_THERE, ENDED_ALREADY}:
                raise NotNow(f"site {self.site.name}: {problem.words}") from None

    async def history(self, job_id: int) -> Sequence[Document]:
        """Return the accounting's records of an id."""
        try:
            answer = await self._ask("GET", f"slurmdb/job/{job_id}")
        except SlurmProblem:
            return []
        return list(answer.get("jobs", ()))


def check_files(site: SlurmSite) -> None:
    """Check that the token or the key is there.

    Raises
    ------
    ConfigurationError
        It is not, or can't be read.
    """
    path = site.token or site.jwt_key
    try:
        if path is not None:
            path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"site {site.name}: {path}: {error.strerror or error}") from None
