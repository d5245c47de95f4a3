"""Parameters, uploads, DALI-sync, wrong input."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from lxml import etree

from tests.server import Server
from tests.service.client import UWS, Uws, job_id, text

FORM = {"content-type": "application/x-www-form-urlencoded"}


def parameters(uws: Uws, job: str) -> list[tuple[str, str | None]]:
    return [(p.get("id"), p.text) for p in uws.document(job).find(UWS + "parameters")]


def raw(server: Server, request: bytes) -> bytes:
    """Send raw bytes; return the response."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_values_round_trip(uws: Uws) -> None:
    """Values come back unchanged (U-078, U-036, C-30, D-022)."""
    value = " <a href='x'>&amp; é 漢字 ]]> \n second line "
    job = uws.create({"TAG": value, "unKnown": "1", "REQUEST": "doQuery"})
    assert parameters(uws, job) == [("TAG", value), ("unKnown", "1"), ("REQUEST", "doQuery")]


def test_values_that_xml_can_not_hold(uws: Uws) -> None:
    """U-080: given by reference, and readable there."""
    job = uws.create({"TAG": "a\x00b\x1bc"})
    (parameter,) = uws.document(job).find(UWS + "parameters")
    assert parameter.get("byReference") == "true"
    assert uws.get(parameter.text).text == "a\x00b\x1bc"


def test_run_id(uws: Uws) -> None:
    """RUNID has up to 64 characters (U-077, D-027)."""
    job = uws.create({"RUNID": "a b&c<é"})
    assert text(uws.document(job), "runId") == "a b&c<é"
    assert uws.post(f"{job}/parameters", {"runId": "TAPLINT-002"}).status_code == 303
    assert text(uws.document(job), "runId") == "TAPLINT-002"
    assert uws.post(uws.jobs, {"RUNID": "x" * 65}).status_code == 400


def test_adding_and_replacing(uws: Uws) -> None:
    """POST replaces or adds values (U-037, D-011, D-014, C-31)."""
    job = uws.create({"SECONDS": "5", "TAG": "one"})
    assert uws.post(f"{job}/parameters", {"seconds": "6", "TAG": "two", "parameter name": "x"}).status_code == 303
    assert parameters(uws, job) == [("TAG", "one"), ("seconds", "6"), ("TAG", "two"), ("parameter name", "x")]


def test_put(uws: Uws) -> None:
    """U-039: one value, while the job is PENDING."""
    job = uws.create({"SECONDS": "5"})
    assert uws.request("PUT", f"{job}/parameters/SECONDS", content=b"0").status_code == 303
    assert uws.get(f"{job}/parameters/seconds").text == "0"
    assert uws.request("PUT", f"{job}/parameters/OTHER", content=b"1").status_code == 404
    assert uws.request("PUT", f"{job}/parameters/SECONDS", content=b"\xff").status_code == 400


def test_no_change_after_pending(uws: Uws) -> None:
    """D-013: 403, and the value stays."""
    job = uws.create({"SECONDS": "0", "PHASE": "RUN"})
    uws.wait(job)
    assert uws.post(f"{job}/parameters", {"SECONDS": "9"}).status_code == 403
    assert uws.request("PUT", f"{job}/parameters/SECONDS", content=b"9").status_code == 403
    assert parameters(uws, job) == [("SECONDS", "0")]
    other_job = uws.create()
    assert uws.post(f"{other_job}/parameters", {"PHASE": "RUN"}).status_code == 400


def test_upload(uws: Uws) -> None:
    """Uploads are shown by reference (U-038, U-124, D-026, C-17)."""
    data = bytes(range(256)) * 100
    files = {"first": ("a.bin", data), "second": ("../../etc/passwd", b"x", "text/csv")}
    job = uws.create({"UPLOAD": "t1,param:first;t2,param:second"}, files=files)
    elements = {p.get("id"): p for p in uws.document(job).find(UWS + "parameters")}
    assert elements["UPLOAD"].text == "t1,param:first;t2,param:second"
    for name, content in (("first", data), ("second", b"x")):
        assert elements[name].get("byReference") == "true" and elements[name].text == f"{job}/parameters/{name}"
        answer = uws.get(elements[name].text)
        assert answer.content == content and answer.headers["x-content-type-options"] == "nosniff"
    uws.run(job)
    assert uws.wait(job) == "COMPLETED"


def test_upload_later(uws: Uws) -> None:
    """Files may come later (D-011)."""
    job = uws.create()
    answer = uws.post(f"{job}/parameters", {"UPLOAD": "t,param:p"}, files={"p": ("p", b"123")})
    assert answer.status_code == 303
    assert uws.get(f"{job}/parameters/p").content == b"123"


STILTS = b"<<<--------------MULTIPART-BOUNDARY------->>>"


def test_stilts_bytes(server: Server, uws: Uws) -> None:
    """Unusual multipart bodies are read (U-126, C-16)."""
    parts = [
        b'Content-Type: text/plain; charset=UTF-8\r\nContent-Disposition: form-data; name="UPLOAD"\r\n\r\nu1,param:up',
        b'Content-Disposition: form-data; name="up"; filename="up"\r\n'
        b"Content-Type: application/x-votable+xml\r\n\r\n<V/>",
    ]
    body = b"\r\n" + b"".join(b"--" + STILTS + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + STILTS + b"--\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body[:7], body[7:100], body[100:])) + b"0\r\n\r\n"
    head = (
        b"POST /probe/async HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        b'Content-Type: multipart/form-data; boundary="%s"\r\n\r\n' % (urlsplit(server.url).netloc.encode(), STILTS)
    )
    answer = raw(server, head + chunks)
    assert answer.startswith(b"HTTP/1.1 303")
    job = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"location:"))[9:].strip().decode()
    uws.made.append(job)
    assert parameters(uws, job) == [("UPLOAD", "u1,param:up"), ("up", f"{job}/parameters/up")]
    assert uws.get(f"{job}/parameters/up").content == b"<V/>"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"SECONDS": "abc"}, ["SECONDS", "abc"]),
        ({"SECONDS": "-1"}, ["SECONDS", "0"]),
        ({"SECONDS": "101"}, ["SECONDS", "100"]),
        ({"EXIT": "1.5"}, ["EXIT"]),
        ({"SECONDS": ["1", "2"]}, ["SECONDS", "2 different values", "'1'", "'2'"]),
        ({"SECONDS": ["1", "1", "2"]}, ["SECONDS", "2 different values"]),
        ({"MAXREC": ["1", "2"]}, ["MAXREC", "2 different values"]),
        ({"RESPONSEFORMAT": "application/nonsense"}, ["RESPONSEFORMAT", "nonsense"]),
        ({"UPLOAD": "t1"}, ["UPLOAD"]),
        ({"UPLOAD": "t1,param:missing"}, ["UPLOAD", "missing"]),
        ({"UPLOAD": "t1,ftp://example.org/x"}, ["ftp"]),
        ({"UPLOAD": "1bad,http://example.org/x"}, ["UPLOAD", "1bad"]),
        ({"UPLOAD": "a,http://e.org/1;b,http://e.org/2;c,http://e.org/3;d,http://e.org/4"}, ["UPLOAD", "3"]),
    ],
)
def test_wrong_values_fail_at_run(uws: Uws, body: dict[str, str], words: list[str]) -> None:
    """Wrong values become an ERROR at RUN.

    D-021, D-024, D-025, D-026, T-013, U-121.
    """
    job = uws.create(body)
    assert uws.phase(job) == "PENDING"
    uws.run(job)
    assert uws.phase(job) == "ERROR"
    message = uws.document(job).find(UWS + "errorSummary").find(UWS + "message").text
    for word in words:
        assert word in message
    assert message in str(etree.fromstring(uws.get(f"{job}/error").content).xpath("string(//*[@name='QUERY_STATUS'])"))
    sync = uws.post(f"{uws.base}/sync", body)  # D-045
    assert sync.status_code == 400 and "votable" in sync.headers["content-type"] and b'value="ERROR"' in sync.content


def test_equal_repetitions_are_one_value(uws: Uws) -> None:
    """Names are read in any case (D-020, D-021)."""
    kind = "application/octet-stream"
    body = f"SECONDS=0&seconds=0&MAXREC=5&maxrec=5&RESPONSEFORMAT={kind}&responseformat={kind}&RUNID=r&RunId=r"
    for path in (f"{uws.base}/sync", f"{uws.base}/sync?Seconds=0"):
        answer = uws.request("POST", path, content=body.encode(), headers=FORM)
        assert answer.status_code in (200, 303), answer.text
    answer = uws.request("POST", uws.jobs, content=f"{body}&PHASE=RUN&phase=RUN".encode(), headers=FORM)
    assert answer.status_code == 303, answer.text
    uws.made.append(answer.headers["location"])
    assert uws.wait(answer.headers["location"]) == "COMPLETED"
    assert uws.get(f"{uws.jobs}?LAST=1&last=1").status_code == 200
    refused = uws.get(f"{uws.jobs}?LAST=1&last=2")
    assert refused.status_code == 400 and "2 different values" in refused.text


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/x",
        "http://localhost/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/x",
        "http://0x7f000001/",
        "http://10.0.0.1/x",
        "http://[::ffff:127.0.0.1]/",
    ],
)
def test_inner_addresses_are_not_fetched(uws: Uws, url: str) -> None:
    """Jobs reach no private address."""
    job = uws.create({"UPLOAD": f"t,{url}", "PHASE": "RUN"})
    assert uws.wait(job) == "ERROR"
    message = uws.document(job).find(UWS + "errorSummary").find(UWS + "message").text
    assert "not allowed" in message or "refused" in message, message


# --- requests that are refused as they stand ------------------------------------------------------------------


def test_refused_bodies(uws: Uws) -> None:
    """Bad requests create no job (U-079, U-121)."""
    before = len(uws.listed())
    cases: list[tuple[int, dict[str, str], bytes]] = [
        (415, {"content-type": "application/json"}, b"{}"),
        (415, {"content-type": "text/xml"}, b"<job/>"),
        (400, FORM, b"TAG=%ff%fe"),
        (400, {"content-type": "multipart/form-data"}, b"--x--"),
        (
            400,
            {"content-type": "multipart/form-data; boundary=x"},
            b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n",
        ),
        (400, {"content-type": "multipart/form-data; boundary=x"}, b"nothing at all"),
        (400, FORM, b"=1"),
        (400, FORM, b"PHASE=ABORT"),
        (400, FORM, b"PHASE=RUN&phase=ABORT"),
        (400, FORM, b"DESTRUCTION=x"),
        (400, FORM, b"a%0ab=1"),
        (413, FORM, b"&".join(b"p%d=1" % n for n in range(100_000))),
        (413, FORM, b"TAG=" + b"x" * 1_100_000),
        (413, FORM, b"x" * 4_100_000),
    ]
    for status, headers, body in cases:
        answer = uws.request("POST", uws.jobs, content=body, headers=headers)
        assert answer.status_code == status, (status, headers, body[:60], answer.status_code, answer.text)
        assert answer.text.strip()
    assert len(uws.listed()) == before


def test_refused_uploads(uws: Uws, server: Server) -> None:
    """Refused uploads leave nothing in the depot."""
    depot = server.folder / "data" / "depot"

    def stored() -> set[str]:
        return {str(job) for job in depot.rglob("*") if job.is_file()}

    before, jobs = stored(), len(uws.listed())
    cases: list[tuple[int, dict[str, Any]]] = [
        (413, {"files": {"big": ("big", b"x" * 2_100_000)}}),
        (400, {"files": {"a/b": ("a", b"x")}}),
        (400, {"files": {"..": ("a", b"x")}}),
        (400, {"files": [("a", ("a", b"x")), ("A", ("a", b"x"))]}),
        (400, {"data": {"a": "1"}, "files": [("a", ("a", b"x"))]}),
        (413, {"files": [(f"f{n}", ("f", b"x")) for n in range(51)]}),
    ]
    for status, options in cases:
        answer = uws.request("POST", uws.jobs, **options)
        assert answer.status_code == status, answer.text
    assert stored() <= before and len(uws.listed()) == jobs  # files of deleted jobs go meanwhile


@pytest.mark.parametrize("name", ["../../../etc/passwd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..", "result/../x", "%00"])
def test_path_traversal(uws: Uws, name: str) -> None:
    """Names in URLs are no paths."""
    job = uws.create({"PHASE": "RUN"})
    uws.wait(job)
    for child in ("results", "parameters", "logs"):
        answer = uws.get(f"{job}/{child}/{name}")
        assert answer.status_code in (400, 404, 405) or answer.headers["content-type"].startswith("text/xml")
        assert b"root:" not in answer.content


# --- DALI-sync ------------------------------------------------------------------------------------------------


def test_sync(uws: Uws) -> None:
    """/sync gives the result itself.

    D-001, D-015, D-016, D-040, D-051, C-23; nothing is left behind.
    """
    by_get = uws.get(f"{uws.base}/sync?OUTPUT=100&runid=x")
    by_post = uws.post(f"{uws.base}/sync", {"output": "100"})
    assert by_get.status_code == by_post.status_code == 200
    assert by_get.content == by_post.content and len(by_get.content) == 100
    assert by_get.headers["content-type"] == "application/octet-stream"


def test_sync_errors(uws: Uws) -> None:
    """/sync reports failures (D-045, D-048)."""
    failed = uws.get(f"{uws.base}/sync?EXIT=3")
    assert failed.status_code == 422 and b'value="ERROR"' in failed.content and b"3" in failed.content
    slow = uws.get(f"{uws.base}/sync?SECONDS=50")
    assert slow.status_code == 503 and b"/async" in slow.content


@pytest.mark.parametrize(("query", "kind"), [("", "x-votable"), ("&RESPONSEFORMAT=text/csv", "text/csv")])
def test_responseformat(server: Server, query: str, kind: str) -> None:
    """RESPONSEFORMAT chooses the type (D-024, D-020)."""
    table = b"name,ra,dec\nm31,10.6847,41.2687\n"
    with Uws(server.url, "crossmatch") as uws:
        url = f"{uws.base}/sync?UPLOAD=t,param:p{query}"
        answer = uws.request("POST", url, files={"p": ("p.csv", table, "text/csv")})
        assert answer.status_code == 200, answer.text
        assert kind in answer.headers["content-type"]
        assert b"NGC" in answer.content


def test_maxrec_zero(server: Server) -> None:
    """MAXREC=0 gives columns alone (D-025, D-047)."""
    table = b"name,ra,dec\nm31,10.6847,41.2687\n"
    with Uws(server.url, "crossmatch") as uws:
        answer = uws.request(
            "POST", f"{uws.base}/sync", data={"UPLOAD": "t,param:p", "MaxRec": "0"}, files={"p": ("p.csv", table)}
        )
        assert answer.status_code == 200 and b"OVERFLOW" in answer.content and b"<TR>" not in answer.content
        for bad in ("-1", "abc", "1.5"):
            answer = uws.request(
                "POST", f"{uws.base}/sync", data={"UPLOAD": "t,param:p", "MAXREC": bad}, files={"p": ("p", table)}
            )
            assert answer.status_code == 400 and b"MAXREC" in answer.content


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "identity, gzip"])
def test_codings_of_a_body(uws: Uws, coding: str) -> None:
    """RFC 9110 §8.4: bytes in a coding are not the value, so they are refused wherever there is a body."""
    content = gzip.compress(b"SECONDS=0")
    headers = {"content-encoding": coding, "content-type": "application/x-www-form-urlencoded"}
    job = uws.create({"SECONDS": "1"})
    count = len(uws.listed())
    for method, url in (
        ("POST", uws.jobs),
        ("POST", f"{uws.base}/sync"),
        ("POST", f"{job}/parameters"),
        ("PUT", f"{job}/parameters/SECONDS"),
    ):
        answer = uws.request(method, url, content=content, headers=headers)
        assert answer.status_code == 415 and coding in answer.text, (method, url, answer.text)
    assert len(uws.listed()) == count and uws.get(f"{job}/parameters/SECONDS").text == "1"
    assert uws.post(uws.jobs, headers={"content-encoding": "identity"}).status_code == 303


# --- what describes the service -------------------------------------------------------------------------------


def test_examples(uws: Uws) -> None:
    """D-017: XHTML with RDFa."""
    answer = uws.get(f"{uws.base}/examples")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/xhtml+xml")
    document: Any = etree.fromstring(answer.content)
    (top,) = document.xpath("//*[@vocab]")
    assert top.get("vocab") == "http://www.ivoa.net/rdf/examples#"
    (example,) = top.xpath(".//*[@typeof='example']")
    assert example.get("resource") == "#" + example.get("id")
    assert example.xpath("string(.//*[@property='name'])") == "Three seconds"
    keys = example.xpath(".//*[@property='key']/text()")
    assert keys == ["SECONDS"]


def test_capabilities_and_availability(uws: Uws) -> None:
    """VOSI resources are siblings.

    D-002, D-003, U-170, V-002, V-010…V-013, V-020.
    """
    answer = uws.get(f"{uws.base}/capabilities")
    assert answer.headers["last-modified"]
    document = etree.fromstring(answer.content)
    urls = {job.get("standardID"): job.findtext(".//accessURL") for job in document}
    assert urls["ivo://ivoa.net/std/UWS#rest-1.1"] == uws.jobs
    assert urls["ivo://ivoa.net/std/VOSI#availability"] == f"{uws.base}/availability"
    assert all(url.startswith(uws.base + "/") for url in urls.values() if url)
    available = etree.fromstring(uws.get(f"{uws.base}/availability").content)
    assert available.findtext("{*}available") == "true"


# --- a client that retries ------------------------------------------------------------------------------------


@pytest.fixture
def key(request: pytest.FixtureRequest, server: Server) -> Iterator[dict[str, str]]:
    yield {"idempotency-key": f"{request.node.name}-{server.port}"}


def test_idempotency(uws: Uws, key: dict[str, str]) -> None:
    """A repeated key gives the same job.

    Another request with that key is refused; keys are the owner's.
    """
    body = {"SECONDS": "1", "TAG": "x"}
    job = uws.create(body, headers=key)
    assert uws.create(body, headers=key) == job
    assert uws.post(uws.jobs, {"SECONDS": "2"}, headers=key).status_code == 422
    with Uws(uws.root, user="carol") as carol:
        assert carol.create(body, headers=key) != job
    assert uws.post(uws.jobs, body, headers={"idempotency-key": "x" * 300}).status_code == 400


def test_idempotency_with_files(uws: Uws, key: dict[str, str]) -> None:
    """A repeated request stores no files."""
    job = uws.create({}, files={"f": ("f", b"1")}, headers=key)
    assert uws.create({}, files={"f": ("f", b"1")}, headers=key) == job
    assert uws.post(uws.jobs, {}, files={"f": ("f", b"2")}, headers=key).status_code == 422
    assert uws.get(f"{job}/parameters/f").content == b"1"
    assert json.loads(uws.get(job, headers={"accept": "application/json"}).content)["jobId"] == job_id(job)


def test_what_a_page_s_form_left_empty(uws: Uws) -> None:
    """A browser's empty fields are no values."""
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    form = {"TAG": "", "SECONDS": "2", "OUTPUT": "", "EXECUTIONDURATION": "", "RUNID": ""}
    job = uws.create(form, headers=browser)
    assert parameters(uws, job) == [("SECONDS", "2")]
    assert text(uws.document(job), "runId") is None
    assert parameters(uws, uws.create({"TAG": "", "SECONDS": "2"})) == [("TAG", None), ("SECONDS", "2")]


def test_values_that_come_little_by_little(uws: Uws) -> None:
    """The values of a job have a bound."""
    job = uws.create({"TAG": "x"})
    for number in range(5):
        words = {f"Z{number}-{part}": "x" * 1_000_000 for part in range(3)}
        assert uws.post(f"{job}/parameters", words).status_code == 303
    options = uws.post(f"{job}/parameters", {"Z": "x" * 1_000_000, "Y": "x" * 1_000_000})
    assert options.status_code == 413 and "bytes together" in options.text
    assert uws.http.put(f"{job}/parameters/TAG", content=b"y" * 1_000_000).status_code == 303
    assert uws.http.put(f"{job}/parameters/Z0-0", content=b"y" * 1_048_576).status_code == 303
    assert uws.post(f"{job}/parameters", {"Z": "x" * 1_000_000}).status_code == 413
