"""The TAP service over HTTP (TAP 1.1, T-001…T-030)."""

from __future__ import annotations

import gzip
import io
import json
import threading
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from astropy.io import fits
from astropy.io.votable import parse_single_table
from lxml import etree

from tests import official
from tests.server import Server
from tests.tiers import require

CONE = "1 = CONTAINS(POINT(ra, dec), CIRCLE(10.685, 41.269, 0.5))"


def ask(server: Server, query: str, *, files: Any = None, method: str = "POST", **parameters: Any) -> requests.Response:
    data = {"LANG": "ADQL", "QUERY": query, **parameters}
    if method == "GET":
        return requests.get(f"{server.url}/tap/sync", params=data, timeout=180)
    return requests.post(f"{server.url}/tap/sync", data=data, files=files, timeout=180)


def rows(server: Server, query: str, **parameters: Any) -> list[list[str]]:
    answer = ask(server, query, RESPONSEFORMAT="csv", **parameters)
    assert answer.status_code == 200, answer.text
    return [line.split(",") for line in answer.text.splitlines()][1:]


def refused(answer: requests.Response, status: int = 400) -> str:
    """Return the text of an error document (D-046, D-050, T-022)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/x-votable+xml"
    info = ElementTree.fromstring(answer.content).find("{*}RESOURCE[@type='results']/{*}INFO[@name='QUERY_STATUS']")
    assert info is not None and info.get("value") == "ERROR" and info.text
    return info.text


def statuses(document: bytes) -> list[str | None]:
    return [
        info.get("value") for info in etree.fromstring(document).iter("{*}INFO") if info.get("name") == "QUERY_STATUS"
    ]


def test_a_cone(server: Server) -> None:
    """GET and POST give the same table (T-001, D-015, T-023)."""
    query = f"SELECT name, ra, dec FROM openngc.objects WHERE {CONE} ORDER BY name"
    posted, fetched = ask(server, query), ask(server, query, method="GET")
    assert posted.status_code == fetched.status_code == 200
    assert posted.content == fetched.content and posted.headers["content-type"] == "application/x-votable+xml"
    table = parse_single_table(io.BytesIO(posted.content), verify="exception")
    assert list(table.array["name"]) == ["NGC0221", "NGC0224"]
    assert [(field.unit and str(field.unit), field.ucd) for field in table.fields] == [
        (None, "meta.id;meta.main"), ("deg", "pos.eq.ra;meta.main"), ("deg", "pos.eq.dec;meta.main"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "media_type", "head"),
    [
        ("votable", "application/x-votable+xml", b"<?xml"),
        ("text/xml", "text/xml", b"<?xml"),
        (
            "application/x-votable+xml;serialization=binary2",
            "application/x-votable+xml;serialization=binary2",
            b"<?xml",
        ),
        ("votable/b2", "application/x-votable+xml;serialization=binary2", b"<?xml"),
        ("csv", "text/csv;header=present", b"name\r\n"),
        ("text/csv", "text/csv", b"name\r\n"),
        ("tsv", "text/tab-separated-values", b"name\n"),
        ("fits", "application/fits", b"SIMPLE  ="),
        ("parquet", "application/vnd.apache.parquet", b"PAR1"),
    ],
)
def test_formats(server: Server, form: str, media_type: str, head: bytes) -> None:
    """Short names, media types and FORMAT work (T-011, D-024)."""
    for name in ("RESPONSEFORMAT", "format"):
        answer = ask(server, "SELECT TOP 2 name FROM openngc.objects", **{name: form})
        assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
        assert answer.content.startswith(head)
    if "b2" in form or "binary2" in form:
        assert b"<BINARY2>" in answer.content


def test_limits_of_rows(server: Server) -> None:
    """Overflows are marked exactly (T-012, D-025)."""
    for top, maxrec, count, overflow in ((5, 10, 5, False), (10, 5, 5, True), (5, 5, 5, False), (5, 0, 0, True)):
        answer = ask(server, f"SELECT TOP {top} name FROM openngc.objects", MAXREC=maxrec)
        assert len(parse_single_table(io.BytesIO(answer.content)).array) == count
        assert statuses(answer.content) == (["OK", "OVERFLOW"] if overflow else ["OK"])
    assert "whole number" in refused(ask(server, "SELECT 1 AS a", MAXREC=-1))


def test_nothing_found(server: Server) -> None:
    """T-020: a table without rows is a result."""
    answer = ask(server, "SELECT name FROM openngc.objects WHERE ra < 0")
    assert len(parse_single_table(io.BytesIO(answer.content)).array) == 0 and statuses(answer.content) == ["OK"]


def test_a_misspelt_parameter_is_noted(server: Server) -> None:
    """Formats have no place for it, so it is in a header."""
    answer = ask(server, "SELECT 1 AS a", MAXRECC="1", REQUEST="doQuery", RESPONSEFORMAT="csv")
    assert answer.headers["x-uws-note"] == "MAXRECC is no parameter here; did you mean MAXREC?"
    assert "x-uws-note" not in ask(server, "SELECT 1 AS a", REQUEST="doQuery", VERSION="1.1").headers


def test_errors(server: Server) -> None:
    """Errors say what is wrong and where (D-045, T-010)."""
    assert "Line 1, column 8" in refused(ask(server, "SELECT nme FROM openngc.objects"))
    assert "Did you mean name" in refused(ask(server, "SELECT nme FROM openngc.objects"))
    assert "openngc" in refused(ask(server, "SELECT * FROM opengc.objects"))
    assert "LANG='nonsense'" in refused(ask(server, "SELECT 1 AS a", LANG="nonsense"))
    assert "QUERY is required" in refused(requests.post(f"{server.url}/tap/sync", data={"LANG": "ADQL"}, timeout=180))
    assert "RESPONSEFORMAT" in refused(ask(server, "SELECT 1 AS a", RESPONSEFORMAT="nonsense"))
    assert "division by zero" in refused(ask(server, "SELECT 1/(ra-ra) AS x FROM openngc.objects"))
    assert "2 different values" in refused(ask(server, "SELECT 1 AS a", MAXREC=[1, 2]))
    for stacked in ("SELECT 1 AS a; DROP TABLE openngc.objects", "DROP TABLE openngc.objects", "COPY x TO '/tmp/x'"):
        assert "Line 1" in refused(ask(server, stacked))
    for outside in ("SELECT * FROM read_csv('/etc/passwd')", "SELECT * FROM '/etc/passwd'", "SELECT getenv('HOME')"):
        assert "passwd:" not in refused(ask(server, outside))
    assert len(rows(server, "SELECT TOP 1 name FROM openngc.objects")) == 1


def test_ignored_and_tolerated(server: Server) -> None:
    """Unknown parameters and other cases pass (D-020, D-022, D-023, T-015)."""
    answer = requests.post(
        f"{server.url}/tap/sync",
        data={"lang": "ADQL-2.0", "Query": "SELECT TOP 1 name FROM openngc.objects", "request": "doQuery", "ZZZ": "1"},
        timeout=30,
    )
    assert answer.status_code == 200
    assert rows(server, "SELECT TOP 1 name FROM openngc.objects", LANG="ADQL-2.1", RUNID="x")


def test_tap_schema(server: Server) -> None:
    """TAP_SCHEMA describes itself (TAP 1.1 §4)."""
    tables = {row[0] for row in rows(server, "SELECT table_name FROM TAP_SCHEMA.tables")}
    standard_tables = {f"TAP_SCHEMA.{name}" for name in ("schemas", "tables", "columns", "keys", "key_columns")}
    assert tables == standard_tables | {"openngc.objects", "openngc.identifiers"}
    columns = rows(server, "SELECT table_name, column_name FROM TAP_SCHEMA.columns WHERE table_name LIKE 'TAP%'")
    assert ["TAP_SCHEMA.columns", '"""size"""'] in columns  # quoted in CSV and in TAP_SCHEMA
    for flag in ("indexed", "principal", "std"):
        assert {row[0] for row in rows(server, f"SELECT DISTINCT {flag} FROM TAP_SCHEMA.columns")} <= {"0", "1"}
    keys = "SELECT k.from_table, c.from_column FROM TAP_SCHEMA.keys k JOIN TAP_SCHEMA.key_columns c USING (key_id)"
    assert ["openngc.identifiers", "name"] in rows(server, keys)


def test_uploads(server: Server, table: Path, web: str) -> None:
    """Uploads inline, by URL, several at once (T-014, D-026)."""
    query = (
        "SELECT mine.name, o.name FROM TAP_UPLOAD.mine AS mine JOIN openngc.objects AS o"
        " ON 1 = CONTAINS(POINT(o.ra, o.dec), CIRCLE(mine.ra, mine.dec, 0.02)) ORDER BY 1"
    )
    depot = server.folder / "data" / "depot" / "jobs"
    files_before = {path for path in depot.rglob("*") if path.is_file()}
    for way in ("inline", "http"):
        parameters = {
            "UPLOAD": "mine,param:f" if way == "inline" else f"mine,{web}/{table.name}",
            "RESPONSEFORMAT": "csv",
        }
        answer = ask(server, query, files={"f": table.read_bytes()} if way == "inline" else None, **parameters)
        assert answer.status_code == 200, answer.text
        assert answer.text.splitlines()[1:] == ["m31,NGC0224", "m33,NGC0598"]
    query_on_two = "SELECT COUNT(*) AS n FROM TAP_UPLOAD.a, TAP_UPLOAD.b"
    files = {"f": table.read_bytes(), "g": table.read_bytes()}
    answer = ask(server, query_on_two, UPLOAD="a,param:f;b,param:g", RESPONSEFORMAT="csv", files=files)
    assert answer.text.splitlines() == ["n", "9"]
    assert {path for path in depot.rglob("*") if path.is_file()} <= files_before
    assert not list((server.folder / "data" / "work" / "queries").rglob("upload-*"))


def test_what_an_upload_loses_is_told(server: Server) -> None:
    """The VOTable has a note, and so has a job."""
    content = b"id,plate\n1,007\n2,12\n"
    answer = ask(server, "SELECT * FROM TAP_UPLOAD.t", UPLOAD="t,param:f", files={"f": content})
    assert 'name="UPLOAD_NOTE"' in answer.text and "its numbers have leading zeros" in answer.text
    url = job(server, "SELECT * FROM TAP_UPLOAD.t", UPLOAD="t,param:f", files={"f": content})
    assert finished(url) == "COMPLETED"
    assert "its numbers have leading zeros" in requests.get(url, timeout=30).text


def test_notes_of_formats_without_a_place_for_them(server: Server) -> None:
    """A header has the notes whatever the format; FITS has them in its header too."""
    content = "id,plâte%\n1,007\n2,12\n".encode()
    for form in ("csv", "tsv", "fits", "parquet", "votable"):
        answer = ask(
            server, "SELECT * FROM TAP_UPLOAD.t", UPLOAD="t,param:f", RESPONSEFORMAT=form, files={"f": content}
        )
        assert answer.status_code == 200, answer.text
        note = answer.headers["x-uws-note"]
        assert note == "UPLOAD t: the column 'pl%C3%A2te%25' is read as text: its numbers have leading zeros"
        if form == "fits":
            with fits.open(io.BytesIO(answer.content)) as hdus:
                hdus.verify("exception")
                assert "leading zeros" in " ".join(hdus[1].header["COMMENT"])
    assert "x-uws-note" not in ask(server, "SELECT 1 AS a", RESPONSEFORMAT="csv").headers


def test_texts_beyond_ascii_in_an_upload(server: Server) -> None:
    """They become unicodeChar, which other programs can read."""
    query, files = "SELECT name FROM TAP_UPLOAD.t", {"f": "name\nRené\n".encode()}
    answer = ask(server, query, UPLOAD="t,param:f", RESPONSEFORMAT="votable/b2", files=files)
    assert '<FIELD name="name" datatype="unicodeChar"' in answer.text
    assert list(parse_single_table(io.BytesIO(answer.content)).to_table()["name"]) == ["René"]


def test_compressed_uploads(server: Server, tmp_path: Path, web: str) -> None:
    """By the form and by URL."""
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"id\n1\n2\n"))
    query, content = "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", (tmp_path / "t.csv.gz").read_bytes()
    inline = ask(server, query, UPLOAD="t,param:f", RESPONSEFORMAT="csv", files={"f": content})
    by_url = ask(server, query, UPLOAD=f"t,{web}/t.csv.gz", RESPONSEFORMAT="csv")
    assert inline.text.split() == by_url.text.split() == ["n", "2"]


BAD_UPLOADS = {
    "empty": (b"", "empty"),
    "no table": (b"<VOTABLE><RESOURCE/></VOTABLE>", "no table"),
    "not xml": (b"<VOTABLE><RESOURCE>", "not well-formed"),
    "elsewhere": (
        b'<VOTABLE><RESOURCE><TABLE nrows="5"><FIELD name="a" datatype="int"/><DATA><BINARY>'
        b'<STREAM href="file:///etc/passwd"/></BINARY></DATA></TABLE></RESOURCE></VOTABLE>',
        "another place",
    ),
    "entity": (
        b'<!DOCTYPE VOTABLE [<!ENTITY x SYSTEM "file:///etc/passwd">]><VOTABLE><RESOURCE><TABLE>'
        b'<FIELD name="a" datatype="char" arraysize="*"/><DATA><TABLEDATA><TR><TD>&x;</TD></TR></TABLEDATA></DATA>'
        b"</TABLE></RESOURCE></VOTABLE>",
        "declares the entity 'x'",
    ),
    "wrong value": (
        b'<VOTABLE><RESOURCE><TABLE><FIELD name="a" datatype="int"/><DATA><TABLEDATA><TR><TD>x</TD></TR></TABLEDATA>'
        b"</DATA></TABLE></RESOURCE></VOTABLE>",
        "no int",
    ),
    "cut short": (
        b'<VOTABLE><RESOURCE><TABLE><FIELD name="a" datatype="int"/><DATA><BINARY><STREAM encoding="base64">AAA='
        b"</STREAM></BINARY></DATA></TABLE></RESOURCE></VOTABLE>",
        "in the middle of row 1",
    ),
    "binary": (b"\x00\x01\x02" * 50, "none of"),
}


@pytest.mark.parametrize("name", BAD_UPLOADS)
def test_bad_uploads(server: Server, name: str) -> None:
    """The message names the table."""
    content, message = BAD_UPLOADS[name]
    answer = ask(server, "SELECT * FROM TAP_UPLOAD.t", UPLOAD="t,param:f", files={"f": content})
    assert message in refused(answer) and "UPLOAD t" in refused(answer)
    assert rows(server, "SELECT COUNT(*) AS n FROM openngc.objects")


def test_a_claim_of_a_billion_rows(server: Server) -> None:
    """What a document claims costs nothing."""
    content = (
        b'<VOTABLE><RESOURCE><TABLE nrows="1000000000"><FIELD name="a" datatype="int"/><DATA><TABLEDATA>'
        b"<TR><TD>7</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    )
    answer = ask(server, "SELECT a FROM TAP_UPLOAD.t", UPLOAD="t,param:f", RESPONSEFORMAT="csv", files={"f": content})
    assert answer.text.split() == ["a", "7"]


def test_a_file_that_is_much_more_inside(server: Server) -> None:
    """A decompression bomb costs no more than a query."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 60_000, pa.int32()), pa.array(["x" * 30_000]))
    file = io.BytesIO()
    pq.write_table(pa.table({f"a{number}": texts for number in range(20)}), file, compression="zstd")
    assert len(file.getvalue()) < 10_000
    query = "SELECT COUNT(a0) AS n FROM TAP_UPLOAD.t WHERE a19 <> 'y'"
    message = refused(ask(server, query, UPLOAD="t,param:f", files={"f": file.getvalue()}))
    assert "more memory than there is" in message
    assert rows(server, "SELECT COUNT(*) AS n FROM openngc.objects")


def test_inner_addresses_are_not_fetched(server: Server) -> None:
    """The agent's guard holds for synchronous queries too."""
    port = server.url.rpartition(":")[2]
    for url in (f"http://127.0.0.1:{port}/metrics", "http://169.254.169.254/latest", "http://[::1]/"):
        answer = ask(server, "SELECT * FROM TAP_UPLOAD.t", UPLOAD=f"t,{url}")
        assert "inner network" in refused(answer)
    assert "scheme" in refused(ask(server, "SELECT * FROM TAP_UPLOAD.t", UPLOAD="t,file:///etc/passwd"))


def finished(url: str) -> str:
    """Wait for a job's end; return its phase."""
    phase = requests.get(f"{url}/phase", timeout=180).text
    while phase in ("QUEUED", "EXECUTING"):
        requests.get(url, params={"WAIT": 20}, timeout=180)
        phase = requests.get(f"{url}/phase", timeout=180).text
    return phase


def job(server: Server, query: str, *, files: Any = None, **parameters: Any) -> str:
    data = {"LANG": "ADQL", "QUERY": query, "PHASE": "RUN", **parameters}
    answer = requests.post(f"{server.url}/tap/async", data=data, files=files, timeout=180, allow_redirects=False)
    assert answer.status_code == 303
    return answer.headers["location"]


def test_a_job(server: Server, table: Path) -> None:
    """The result is called result (T-020); uploads work too."""
    query = f"SELECT o.name, ra, dec FROM openngc.objects AS o WHERE {CONE} ORDER BY name"
    url = job(server, query, RESPONSEFORMAT="votable/b2")
    pending = job(server, query, PHASE=None)
    assert requests.get(f"{pending}/quote", timeout=180).text  # T-024
    assert finished(url) == "COMPLETED", requests.get(f"{url}/error", timeout=180).text
    answer = requests.get(f"{url}/results/result", timeout=180)
    assert answer.headers["content-type"] == "application/x-votable+xml;serialization=binary2"
    assert list(parse_single_table(io.BytesIO(answer.content)).array["name"]) == ["NGC0221", "NGC0224"]
    preview = json.loads(requests.get(f"{url}/results/preview", timeout=180).content)
    assert preview["count"] == 2 and len(preview["positions"]) == 2 and preview["rows"][0][0] == "NGC0221"
    upload = {"f": table.read_bytes()}
    url = job(server, "SELECT * FROM TAP_UPLOAD.mine", UPLOAD="mine,param:f", RESPONSEFORMAT="csv", files=upload)
    assert finished(url) == "COMPLETED", requests.get(f"{url}/error", timeout=180).text
    assert requests.get(f"{url}/results/result", timeout=180).text.splitlines()[1] == "m31,10.6847,41.2687"


def test_a_job_fails(server: Server) -> None:
    """Bad parameters and queries end in ERROR (T-013, T-021, T-022).

    No result is left.
    """
    created = requests.post(f"{server.url}/tap/async", data={"LANG": "nonsense"}, timeout=180, allow_redirects=False)
    assert created.status_code == 303
    for url in (created.headers["location"], job(server, "SELECT nme FROM openngc.objects")):
        requests.post(f"{url}/phase", data={"PHASE": "RUN"}, timeout=180)
        assert finished(url) == "ERROR"
        error = requests.get(f"{url}/error", timeout=180)
        assert error.status_code == 200 and statuses(error.content) == ["ERROR"]
        assert requests.get(f"{url}/results/result", timeout=180).status_code == 404
    assert "column 8" in error.text and "Did you mean name" in error.text


def test_a_slow_query_is_stopped(server: Server, tmp_path: Path) -> None:
    """It ends at its limit; others are answered."""
    descriptor = tmp_path / "quick.yaml"
    descriptor.write_text(
        "name: quick\ntitle: T\ndescription: D\nprotocol: tap\ncatalogue: {sample: true}\nlimits: {sync_duration: 2s}\n"
    )
    service = Server(
        tmp_path / "service", {"UWS_APPLICATIONS": f'["{descriptor}"]', "UWS_BUILTIN_APPLICATIONS": "false"}
    )
    service.start()
    try:
        slow = "SELECT COUNT(*) AS n FROM openngc.objects a, openngc.objects b, openngc.objects c WHERE a.ra+b.ra<c.ra"
        url = f"{service.url}/quick/sync"
        responses: list[requests.Response] = []
        thread = threading.Thread(
            target=lambda: responses.append(requests.post(url, data={"LANG": "ADQL", "QUERY": slow}, timeout=180))
        )
        thread.start()
        quick = requests.post(
            url, data={"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM openngc.objects"}, timeout=60
        )
        thread.join()
        assert quick.status_code == 200 and "2 seconds" in refused(responses[0])
    finally:
        service.stop()


def test_documents_are_valid(server: Server, tmp_path: Path) -> None:
    """STILTS validates the documents (V-010, V-012, V-030, V-031, T-003)."""
    import subprocess

    require("stilts")
    for path in ("capabilities", "tables", "tables?detail=min", "tables/openngc.objects", "tables/TAP_SCHEMA.columns"):
        answer = requests.get(f"{server.url}/tap/{path}", timeout=180)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/xml")
        file = tmp_path / "document.xml"
        file.write_bytes(answer.content)
        completed = subprocess.run(
            ["stilts", "xsdvalidate", "uselocals=true", f"doc={file}"], capture_output=True, text=True, timeout=600
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
    assert official.available()
    assert requests.get(f"{server.url}/tap/tables/openngc.nothing", timeout=180).status_code == 404
    assert requests.get(f"{server.url}/sleep/tables", timeout=180).status_code == 404


def test_capabilities_tell_the_truth(server: Server) -> None:
    """T-002…T-004: what is announced works."""
    root = etree.fromstring(requests.get(f"{server.url}/tap/capabilities", timeout=180).content)
    tap = root.find("capability[@standardID='ivo://ivoa.net/std/TAP']")
    assert tap is not None and tap.findtext("interface/accessURL") == f"{server.url}/tap"
    assert tap.find("interface").get("version") == "1.1" and tap.find("interface/accessURL").get("use") == "base"
    for output in tap.iter("outputFormat"):
        for name in (output.findtext("mime"), output.findtext("alias")):
            assert ask(server, "SELECT TOP 1 name FROM openngc.objects", RESPONSEFORMAT=name).status_code == 200, name
    hard = int(tap.findtext("outputLimit/hard", ""))
    assert ask(server, "SELECT TOP 1 name FROM openngc.objects", MAXREC=hard + 1).status_code == 200
    forms = {element.text for element in tap.iter("form")}
    assert {"CONTAINS", "ILIKE", "WITH", "OFFSET", "IN_UNIT"} <= forms


def test_examples_work(server: Server, table: Path) -> None:
    """T-030: each example's query is answered."""
    root = etree.fromstring(requests.get(f"{server.url}/tap/examples", timeout=180).content)
    queries = [element for element in root.iter() if element.get("property") == "query"]
    assert len(queries) == len([element for element in root.iter() if element.get("typeof") == "example"]) >= 4
    for element in queries:
        query = str(element.xpath("string()"))
        if "TAP_UPLOAD" in query:
            files = {"f": table.read_bytes()}
            assert ask(server, query, UPLOAD="mine,param:f", files=files).status_code == 200
        else:
            assert rows(server, query)
