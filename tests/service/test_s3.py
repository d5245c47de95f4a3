"""The service with its files in S3."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.s3 import BUCKET, KEY, SECRET, S3Server
from tests.server import Server
from tests.service.client import UWS, Uws, job_id
from uws_service.domain.ids import new_id

PREFIX = "end-to-end"
TABLE = b"name,ra,dec\nm31,10.6847,41.2687\nnothing,100,-89.9\n"


@pytest.fixture(scope="module")
def service(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a service whose orphans are two seconds old."""
    settings = {
        "UWS_DEPOT": s3.url_of(PREFIX),
        "UWS_REAP_INTERVAL": "0.3",
        "UWS_ORPHAN_INTERVAL": "0.5",
        "UWS_ORPHAN_AGE": "2",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }
    server = Server(tmp_path_factory.mktemp("service-s3"), settings)
    server.start()
    yield server
    server.stop()


def until(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def jobs_of(s3: S3Server, job: str = "") -> list[str]:
    """Return the keys of a job, or of all."""
    return sorted(key.removeprefix(f"{PREFIX}/") for key in s3.keys(f"{PREFIX}/jobs/{job}"))


def test_crossmatch_from_upload_to_deletion(s3: S3Server, service: Server) -> None:
    """All files are in the bucket (A-014, U-081, U-124, U-132)."""
    with Uws(service.url, "crossmatch") as uws:
        answer = uws.request(
            "POST",
            uws.jobs,
            data={"UPLOAD": "mine,param:table", "RESPONSEFORMAT": "csv"},
            files={"table": ("t.csv", TABLE, "text/csv")},
        )
        assert answer.status_code == 303, answer.text
        job = answer.headers["location"]
        name = job_id(job)
        (upload,) = jobs_of(s3, name)
        assert upload.startswith(f"jobs/{name}/uploads/")
        assert uws.get(f"{job}/parameters/table").content == TABLE
        uws.run(job)
        assert uws.wait(job) == "COMPLETED", uws.document(job)
        assert set(jobs_of(s3, name)) > {upload, f"jobs/{name}/results/result", f"jobs/{name}/logs/stdout"}
        result = uws.get(f"{job}/results/result")
        assert result.headers["content-type"].startswith("text/csv") and b"NGC0224" in result.content
        (listed,) = uws.document(job).find(UWS + "results")
        assert int(listed.get("size")) == len(result.content)
        assert listed.get("{http://www.w3.org/1999/xlink}href") == f"{job}/results/result"
        part = uws.get(f"{job}/results/result", headers={"range": "bytes=5-9"})
        assert part.status_code == 206 and part.content == result.content[5:10]
        assert b"2 rows read, 1 matched" in uws.get(f"{job}/logs/stdout").content
        assert uws.request("DELETE", job).status_code == 303
        until(lambda: jobs_of(s3, name) == [])
        assert uws.get(job).status_code == 404


def test_sync_leaves_nothing(s3: S3Server, service: Server) -> None:
    """Synchronous results come from the bucket (D-001)."""
    with Uws(service.url, "crossmatch") as uws:
        url = f"{uws.base}/sync?UPLOAD=t,param:p&RESPONSEFORMAT=csv"
        answer = uws.request("POST", url, files={"p": ("p.csv", TABLE, "text/csv")})
        assert answer.status_code == 200 and b"NGC0224" in answer.content
    until(lambda: jobs_of(s3) == [])


def test_many_objects(s3: S3Server, service: Server) -> None:
    """A job may have more objects than a page."""
    with Uws(service.url, "sleep") as uws:
        kept_job = uws.create(files={"f": ("f", b"kept")})
        deleted_job = uws.create(files={"f": ("f", b"x")})
        client = s3.client()

        def put(number: int) -> None:
            client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/jobs/{job_id(deleted_job)}/results/r{number}", Body=b"")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(1005)))
        assert len(jobs_of(s3, job_id(deleted_job))) == 1006
        assert uws.request("DELETE", deleted_job).status_code == 303
        until(lambda: jobs_of(s3, job_id(deleted_job)) == [])
        assert len(jobs_of(s3, job_id(kept_job))) == 1
        assert uws.get(f"{kept_job}/parameters/f").content == b"kept"


def test_refused_upload_leaves_nothing(s3: S3Server, service: Server) -> None:
    """A broken form leaves nothing."""
    with Uws(service.url, "sleep") as uws:
        before = set(jobs_of(s3))  # what earlier tests have left may still go
        answer = uws.request("POST", uws.jobs, data={"RUNID": "x" * 65}, files={"f": ("f", b"x" * 100_000)})
        assert answer.status_code == 400
        address = urlsplit(service.url)
        head = f'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n{"x" * 50_000}'.encode()
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(
                b"POST /sleep/async HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                b"Content-Length: 900000\r\n\r\n" + head
            )
        until(lambda: set(jobs_of(s3)) <= before)
        assert uws.listed() == []


def test_orphans(s3: S3Server, service: Server) -> None:
    """Orphans are removed, other objects stay."""
    client = s3.client()
    now = int(time.time() * 1000)
    old, young = new_id(now - 60_000), new_id(now + 600_000)
    keys = {name: f"{PREFIX}/jobs/{name}/uploads/x" for name in (old, young, "not-a-job")}
    with Uws(service.url, "sleep") as uws:
        job = uws.create(files={"f": ("f", b"kept")})
        for key in keys.values():
            client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        foreign_key = f"{PREFIX}-of-another/jobs/{old}/uploads/x"
        client.put_object(Bucket=BUCKET, Key=foreign_key, Body=b"x")
        until(lambda: jobs_of(s3, old) == [])
        time.sleep(2.5)  # the job is older than two seconds now, and a search or two have passed by it
        assert len(jobs_of(s3, job_id(job))) == 1
        assert len(jobs_of(s3, young)) == 1 and len(jobs_of(s3, "not-a-job")) == 1
        assert s3.keys(foreign_key) == [foreign_key]
        for key in (keys[young], keys["not-a-job"], foreign_key):
            client.delete_object(Bucket=BUCKET, Key=key)


def test_a_form_that_takes_long(s3: S3Server, service: Server) -> None:
    """A slow form keeps its files."""
    address = urlsplit(service.url)
    parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\n\r\n{name}\r\n' for name in "fg"]
    body = "".join([*parts, "--b--\r\n"]).encode()
    first = len(parts[0]) + len(parts[1]) // 2
    with Uws(service.url, "sleep") as uws, socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            b"POST /sleep/async HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body[:first]
        )
        time.sleep(8)  # four times the age of orphans, and sixteen searches
        connection.sendall(body[first:])
        head = connection.recv(65536).decode()
        assert " 303 " in head.splitlines()[0]
        job = next(line.split(" ")[1] for line in head.splitlines() if line.lower().startswith("location:"))
        path = urlsplit(job).path
        assert [uws.get(f"{service.url}{path}/parameters/{name}").content for name in "fg"] == [b"f", b"g"]
        uws.request("DELETE", service.url + path)
        until(lambda: jobs_of(s3, job_id(job)) == [])


def test_credentials_stay_with_the_service(service: Server) -> None:
    """No page, document or log shows them."""
    with httpx2.Client(timeout=180) as http:
        texts = [http.get(service.url + path).text for path in ("/", "/sleep", "/sleep/capabilities", "/metrics")]
    assert not any(SECRET in text for text in [*texts, service.log.read_text()])


def test_wrong_credentials(s3: S3Server, tmp_path: Path) -> None:
    """A refused service is never ready (V-020)."""
    secret = "not-the-secret"
    settings = {"UWS_DEPOT": s3.url_of("wrong"), "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": secret}
    server = Server(tmp_path, settings)
    try:
        with pytest.raises(RuntimeError, match="was not ready"):
            server.start(timeout=4)
        with httpx2.Client(timeout=180, transport=httpx2.HTTPTransport(retries=8)) as http:  # it may still be starting
            assert http.get(f"{server.url}/livez").status_code == 200
            assert http.get(f"{server.url}/readyz").status_code == 503
            answer = http.post(f"{server.url}/sleep/async", files={"f": ("f", b"x")})
            assert answer.status_code == 503 and "depot" in answer.text
            availability = http.get(f"{server.url}/sleep/availability").text
            assert "depot" in availability and "false" in availability
        assert secret not in answer.text + availability + server.log.read_text()
    finally:
        server.stop()
