"""The client against servers that answer in odd, wrong or hostile ways."""

from __future__ import annotations

import gzip
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.client.foreign import Foreign, Reply, Request, job, xml
from tests.server import free_port
from uws_service.client import BadDocument, ClientError, NetworkError, ServerError, Upload, UwsClient
from uws_service.client import http as http_module


def see(location: str, status: int = 303) -> Reply:
    return Reply(status, b"", {"Location": location})


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("{url}/uws/jobs/42", "/uws/jobs/42"),
        ("/uws/jobs/42", "/uws/jobs/42"),
        ("jobs/42", "/uws/jobs/42"),
        ("/uws/jobs/42#top", "/uws/jobs/42"),
    ],
)
@pytest.mark.parametrize("status", [303, 302, 201])
def test_location_of_a_new_job(location: str, path: str, status: int) -> None:
    """U-120, U-011: absolute or relative.

    The redirect is the answer: it is not followed.
    """
    with Foreign() as server, UwsClient(server.url) as client:
        server.answer = lambda _: see(location.format(url=server.url), status)
        assert client.create(f"{server.url}/uws/jobs", [("A", "1")]) == f"{server.url}{path}"
        assert [request.method for request in server.requests] == ["POST"]


def test_a_document_instead_of_a_redirect() -> None:
    """Some servers answer 200 with the job.

    Its URL is below the list.
    """
    with Foreign(lambda _: xml(job("PENDING", job_id="j7"))) as server, UwsClient(server.url) as client:
        assert client.create(f"{server.url}/jobs/") == f"{server.url}/jobs/j7"


@pytest.mark.parametrize("status", [307, 308, 301, 302])
def test_a_job_list_that_has_moved(status: int) -> None:
    """C-20: the body must not get lost on the way from /jobs to /jobs/."""

    def answer(request: Request) -> Reply:
        return see("/jobs/", status) if request.path == "/jobs" else see("/jobs/1")

    with Foreign(answer) as server, UwsClient(server.url) as client:
        assert client.create(f"{server.url}/jobs", [("QUERY", "é & b=c")]) == f"{server.url}/jobs/1"
        assert [(request.method, request.form) for request in server.requests] == [("POST", {"QUERY": ["é & b=c"]})] * 2


def test_no_job_list_at_all() -> None:
    """A page that takes a POST and shows HTML is no UWS service."""
    page = Reply(200, "<html>Thanks!</html>", {"Content-Type": "text/html"})
    with (
        Foreign(lambda _: page) as server,
        UwsClient(server.url) as client,
        pytest.raises(BadDocument, match="is it the URL of a job list"),
    ):
        client.create(f"{server.url}/form")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_endless_redirects_end(method: str) -> None:
    """D-051 has its limits.

    A loop is an error after ten hops.
    """
    with Foreign(lambda request: see(f"/r{len(request.path)}", 307)) as server, UwsClient(server.url) as client:
        with pytest.raises(BadDocument, match="redirects more than 10 times"):
            client.job(f"{server.url}/x") if method == "GET" else client.create(f"{server.url}/x")
        assert len(server.requests) == 11


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://h/x", "http://[bad", "javascript:1"])
def test_redirects_lead_to_http_only(target: str) -> None:
    """A server can't make us open anything else."""
    with Foreign(lambda _: see(target)) as server, UwsClient(server.url) as client, pytest.raises(ClientError):
        client.job(f"{server.url}/42")


def test_credentials_stay_with_their_origin() -> None:
    """Nothing carries them to another host."""
    with Foreign(lambda _: Reply(200, b"data")) as elsewhere_server, Foreign() as server:
        server.answer = lambda _: see(f"{elsewhere_server.url}/x", 302)
        url = server.url.replace("http://", "http://me:p%40ss@")
        with UwsClient(url, headers={"X-Token": "secret"}) as client:
            assert b"".join(client.read(f"{url}/result")) == b"data"
            assert b"".join(client.read(f"{elsewhere_server.url}/result")) == b"data"
        assert server.requests[0].headers["x-token"] == "secret"
        assert server.requests[0].headers["authorization"] == "Basic bWU6cEBzcw=="
        assert len(elsewhere_server.requests) == 2
        for request in elsewhere_server.requests:
            assert not {"x-token", "authorization", "cookie"} & request.headers.keys()


def test_https_is_not_left() -> None:
    """A redirect to http goes on with https at the same host, and is refused at another."""
    assert http_module._next("https://h.org/jobs", "http://h.org/jobs/1") == "https://h.org/jobs/1"
    with pytest.raises(ClientError, match="from https to http"):
        http_module._next("https://h.org/jobs", "http://evil.org/jobs/1")


def test_authentication_is_asked_for_in_one_line() -> None:
    """401 names the ways that the server offers, and what it said."""
    headers = {"WWW-Authenticate": 'Basic realm="x, y", Bearer', "Content-Type": "text/plain"}
    with Foreign(lambda _: Reply(401, "Log in\nfirst", headers)) as server, UwsClient(server.url) as client:
        with pytest.raises(ServerError) as error:
            client.job(f"{server.url}/42")
        assert error.value.status == 401
        assert "authenticate (Basic, Bearer); Log in first" in error.value.message


@pytest.mark.parametrize(
    ("media_type", "body", "words"),
    [
        ("text/plain", "QUERY is\nmissing", "QUERY is missing"),
        ("text/html", "<html><h1>Bad Gateway</h1>", None),
        ("application/json", '{"status": 400, "message": "no such table"}', "no such table"),
        ("application/json", '{"detail": "gone"}', "gone"),
        ("application/json", "{broken", None),
        (
            "application/x-votable+xml",
            '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
            '<INFO name="QUERY_STATUS" value="ERROR">bad ADQL</INFO></RESOURCE></VOTABLE>',
            "bad ADQL",
        ),
        ("text/xml", "<?xml version='1.0'?><VOTABLE", None),
    ],
)
def test_what_the_server_said(media_type: str, body: str, words: str | None) -> None:
    """D-045…D-050 read by a client.

    The sentence in the error document, whatever its kind; never HTML.
    """
    reply = Reply(400, body, {"Content-Type": media_type})
    with Foreign(lambda _: reply) as server, UwsClient(server.url) as client:
        with pytest.raises(ServerError) as error:
            client.create(f"{server.url}/jobs")
        expected = f"{server.url}/jobs answers 400 Bad Request"
        assert error.value.message == (f"{expected}: {words}" if words else expected)


def test_a_retry_carries_the_same_key() -> None:
    """The connection breaks after the request.

    Once more, same key, same body.
    """
    with Foreign() as server, UwsClient(server.url) as client:
        server.answer = lambda _: Reply(drop="all") if len(server.requests) == 1 else see("/jobs/1")
        assert client.create(f"{server.url}/jobs", [("A", "1")]).endswith("/jobs/1")
        first, second = server.requests
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"] != ""
        assert first.body == second.body == b"A=1"
        client.create(f"{server.url}/jobs")
        assert server.requests[2].headers["idempotency-key"] != first.headers["idempotency-key"]


def test_one_retry_only() -> None:
    """The error names the silent host."""
    with Foreign(lambda _: Reply(drop="all")) as server, UwsClient(server.url) as client:
        with pytest.raises(NetworkError, match=r"the connection to 127\.0\.0\.1:\d+ broke"):
            client.create(f"{server.url}/jobs")
        assert len(server.requests) == 2


def test_a_refusal_is_not_retried() -> None:
    """U-121: a 4xx or 5xx is an answer."""
    with Foreign(lambda _: Reply(503, b"", {"Retry-After": "7"})) as server, UwsClient(server.url) as client:
        with pytest.raises(ServerError) as error:
            client.create(f"{server.url}/jobs")
        assert error.value.retry_after == 7 and len(server.requests) == 1


def test_nobody_listens() -> None:
    """One line, no stack of wrapped errors."""
    url = f"http://127.0.0.1:{free_port()}/jobs"
    with UwsClient(url) as client, pytest.raises(NetworkError, match=r"can't connect to 127.0.0.1:\d+: Conn"):
        client.create(url)


def test_run_that_was_heard_is_not_sent_twice() -> None:
    """U-105, U-002: the answer to RUN got lost.

    The job runs, so a second RUN would be refused.
    """

    def answer(request: Request) -> Reply:
        return Reply(drop="all") if request.method == "POST" else xml(job("QUEUED"))

    with Foreign(answer) as server, UwsClient(server.url) as client:
        client.run(f"{server.url}/jobs/42")
        assert server.paths("POST") == ["/jobs/42/phase"]
        assert server.requests[0].form == {"PHASE": ["RUN"]}


def test_run_that_was_not_heard_is_sent_again() -> None:
    """The lost answer left it PENDING."""
    with Foreign() as server, UwsClient(server.url) as client:

        def answer(request: Request) -> Reply:
            if request.method == "GET":
                return xml(job("PENDING"))
            return Reply(drop="all") if len(server.requests) == 1 else see("/jobs/42")

        server.answer = answer
        client.run(f"{server.url}/jobs/42")
        assert server.paths("POST") == ["/jobs/42/phase"] * 2


def test_setting_values() -> None:
    """U-029, U-031: seconds, and an instant with milliseconds and Z."""
    with Foreign(lambda _: see("/jobs/42")) as server, UwsClient(server.url) as client:
        client.set_duration(f"{server.url}/jobs/42", 90)
        client.set_destruction(f"{server.url}/jobs/42/", 1767323045678)
        assert [(request.path, request.form) for request in server.requests] == [
            ("/jobs/42/executionduration", {"EXECUTIONDURATION": ["90"]}),
            ("/jobs/42/destruction", {"DESTRUCTION": ["2026-01-02T03:04:05.678Z"]}),
        ]


def test_delete_does_not_fetch_the_list() -> None:
    """C-22: the list behind the 303 may be long."""
    with Foreign(lambda _: see("/jobs")) as server, UwsClient(server.url) as client:
        client.delete(f"{server.url}/jobs/42")
        assert [request.method for request in server.requests] == ["DELETE"]


def test_delete_by_post() -> None:
    """U-131: where DELETE is not let through."""
    with Foreign(lambda request: Reply(405) if request.method == "DELETE" else see("/jobs")) as server:
        with UwsClient(server.url) as client:
            client.delete(f"{server.url}/jobs/42")
        assert server.requests[-1].form == {"ACTION": ["DELETE"]}


def test_delete_whose_answer_got_lost() -> None:
    """U-130: 404 at the second try says that the first one worked."""
    with Foreign() as server, UwsClient(server.url) as client:
        server.answer = lambda _: Reply(drop="all") if len(server.requests) == 1 else Reply(404)
        client.delete(f"{server.url}/jobs/42")
        server.requests.clear()
        server.answer = lambda _: Reply(404)
        with pytest.raises(ServerError):
            client.delete(f"{server.url}/jobs/42")


def test_files_go_as_multipart(tmp_path: Path) -> None:
    """U-122, U-124: bytes and names arrive unchanged, beside repeated values."""
    table = tmp_path / "my table.vot"
    table.write_bytes(bytes(range(256)) * 10)
    with Foreign(lambda _: see("/jobs/1")) as server, UwsClient(server.url) as client:
        client.create(f"{server.url}/jobs", [("A", "1"), ("A", "2")], [Upload("t1", table)], run_id="r")
        (request,) = server.requests
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts = message_from_bytes(head + request.body).get_payload()
    assert isinstance(parts, list)
    parts_by_name = [
        (part.get_param("name", header="content-disposition"), part.get_payload(decode=True)) for part in parts
    ]
    assert parts_by_name[:3] == [("A", b"1"), ("A", b"2"), ("RUNID", b"r")]
    assert parts_by_name[3] == ("t1", table.read_bytes())
    assert parts[3].get_filename() == "my table.vot" and parts[3].get_content_type() == "application/x-votable+xml"


def test_download_is_whole_or_not_there(tmp_path: Path) -> None:
    """U-081: size is checked.

    A broken connection is tried again; nothing half is left.
    """
    path = tmp_path / "result"
    with Foreign() as server, UwsClient(server.url) as client:
        server.answer = lambda _: Reply(200, b"x" * 1000, drop="body" if len(server.requests) == 1 else "")
        assert client.download(f"{server.url}/r", path, size=1000) == 1000
        assert path.read_bytes() == b"x" * 1000 and len(server.requests) == 2
        path.unlink()
        with pytest.raises(BadDocument, match="has 1000 bytes; the job's document says 999"):
            client.download(f"{server.url}/r", path, size=999)
        with pytest.raises(BadDocument, match="SHA-256"):
            client.download(f"{server.url}/r", path, sha256="0" * 64)
        server.answer = lambda _: Reply(200, b"x" * 1000, drop="body")
        with pytest.raises(NetworkError):
            client.download(f"{server.url}/r", path)
    assert list(tmp_path.iterdir()) == []


def test_compressed_and_wrongly_compressed_bodies() -> None:
    """Content-Encoding is undone.

    A lie about it is one clear error.
    """
    packed = {"Content-Type": "text/xml", "Content-Encoding": "gzip"}
    with Foreign() as server, UwsClient(server.url) as client:
        server.answer = lambda _: Reply(200, gzip.compress(job("HELD").encode()), packed)
        assert client.job(f"{server.url}/42").phase == "HELD"
        server.answer = lambda _: Reply(200, job("HELD").encode(), packed)
        with pytest.raises(NetworkError, match="can't be decompressed"):
            client.job(f"{server.url}/42")


def test_a_document_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has a limit, compressed or not."""
    monkeypatch.setattr(http_module, "MAX_BODY_BYTES", 10_000)
    bomb = Reply(200, gzip.compress(b" " * 1_000_000), {"Content-Type": "text/xml", "Content-Encoding": "gzip"})
    with (
        Foreign(lambda _: bomb) as server,
        UwsClient(server.url) as client,
        pytest.raises(BadDocument, match="more than 10000 bytes"),
    ):
        client.job(f"{server.url}/42")


def test_list_filters_for_servers_without_filters() -> None:
    """U-052…U-056: sent to the server.

    A 1.0 server ignores them, so they are applied here.
    """
    entries = "".join(
        f'<j:jobref id="{n}"><j:phase>{phase}</j:phase>'
        f"<j:creationTime>2026-01-0{n}T00:00:00Z</j:creationTime></j:jobref>"
        for n, phase in [(1, "COMPLETED"), (2, "ERROR"), (3, "COMPLETED"), (4, "COMPLETED")]
    )
    document = f'<j:jobs xmlns:j="http://www.ivoa.net/xml/UWS/v1.0"{{}}>{entries}</j:jobs>'
    with Foreign(lambda _: xml(document.format(""))) as server, UwsClient(server.url) as client:
        listing = client.jobs(f"{server.url}/jobs", phases=["completed"], after=1767312000000, last=1)
        assert [job.id for job in listing.jobs] == ["4"]
        assert server.requests[0].query == {
            "PHASE": ["COMPLETED"],
            "AFTER": ["2026-01-02T00:00:00.000Z"],
            "LAST": ["1"],
        }
        server.answer = lambda _: xml(document.format(' version="1.1"'))
        assert len(client.jobs(f"{server.url}/jobs", last=1).jobs) == 4  # a 1.1 server is believed
