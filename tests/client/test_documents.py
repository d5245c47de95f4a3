"""UWS documents as servers really write them, read by the client."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.foreign import UWS, Foreign, Reply, job
from uws_service.client import BadDocument, JobResult, format_instant, parse_instant, parse_job, parse_jobs
from uws_service.client.documents import read_xml, resolve
from uws_service.domain.job import Job, Phase, Result
from uws_service.domain.jobinfo import JobInfo
from uws_service.protocol.uws import JobInfoView, JobUrls, job_xml

URL = "https://example.org/svc/async/42"
XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'


@pytest.mark.parametrize(
    ("open_tag", "prefix"),
    [
        (f'<uws:job xmlns:uws="{UWS}" version="1.1">', "uws:"),
        (f'<job xmlns="{UWS}" version="1.1">', ""),
        (f'<n0:job xmlns:n0="{UWS}" version="1.1">', "n0:"),
        ('<job version="1.1">', ""),
    ],
)
def test_any_prefix_will_do(open_tag: str, prefix: str) -> None:
    """U-070: the namespace counts, not the prefix.

    Old servers without a namespace are read as well.
    """
    document = f"{open_tag}<{prefix}jobId>7</{prefix}jobId><{prefix}phase> COMPLETED\n</{prefix}phase></{prefix}job>"
    parsed = parse_job(document.encode(), URL)
    assert (parsed.id, parsed.phase, parsed.version, parsed.url) == ("7", "COMPLETED", "1.1", URL)


def test_elements_of_other_namespaces_are_not_ours() -> None:
    """U-087: a phase inside jobInfo, or of another namespace, is not the job's phase."""
    content = f'<w:jobInfo><x:phase xmlns:x="urn:x">ERROR</x:phase><w:phase xmlns:w="{UWS}">ERROR</w:phase></w:jobInfo>'
    assert parse_job(job("QUEUED", content).encode(), URL).phase == "QUEUED"
    before = job("EXECUTING").replace("<w:jobId>", '<x:phase xmlns:x="urn:x">ERROR</x:phase><w:jobId>')
    assert parse_job(before.encode(), URL).phase == "EXECUTING"


def test_a_bare_job_of_uws_1_0() -> None:
    """No version means 1.0 (U-007).

    What is not there is None.
    """
    document = parse_job(job("PENDING", version="").encode(), URL)
    assert document.version == "1.0"
    assert (document.owner, document.created, document.duration, document.error) == (None, None, None, None)
    assert (document.parameters, document.results, document.logs) == ((), (), ())


def test_a_full_job() -> None:
    """U-076…U-087 from the client's side.

    Every element comes through, with types.
    """
    content = (
        "<w:runId>my run</w:runId><w:quote>2030-01-01T00:00:00.000Z</w:quote>"
        "<w:creationTime>2026-01-02T03:04:05.678Z</w:creationTime><w:startTime>2026-01-02 03:04:06</w:startTime>"
        "<w:endTime i:nil='true'>2026-01-01T00:00:00Z</w:endTime><w:executionDuration>60.0</w:executionDuration>"
        "<w:destruction>tomorrow</w:destruction>"
        "<w:parameters><w:parameter id='A'> x &lt; y </w:parameter>"
        "<w:parameter id='F' byReference='true'>http://h/f</w:parameter></w:parameters>"
        "<w:results><w:result id='one' l:href='http://h/one' size='12' mime-type='text/csv'/>"
        "<w:result id='two' size='many'/></w:results>"
        "<w:errorSummary type='transient' hasDetail='true'><w:message>No\nluck</w:message></w:errorSummary>"
    )
    document = parse_job(job("ERROR", content).encode(), URL)
    assert document.run_id == "my run" and document.duration == 60
    assert document.created == 1767323045678 and document.started == 1767323046000
    assert (document.ended, document.destruction) == (None, None)
    assert [(p.name, p.value, p.by_reference) for p in document.parameters] == [
        ("A", " x < y ", False),
        ("F", "http://h/f", True),
    ]
    first, two = document.results
    assert (first.href, first.size, first.media_type) == ("http://h/one", 12, "text/csv")
    assert (two.href, two.size) == (f"{URL}/results/two", None)
    assert document.error is not None and document.error.transient and document.error.has_detail
    assert document.error.message == "No\nluck"


def test_our_own_job_info() -> None:
    """Progress and logs come from our namespace.

    Unknown elements of it do no harm.
    """
    info = (
        '<w:results><w:result id="r"/></w:results><w:jobInfo xmlns:info="urn:uws-service:jobinfo:1"><info:info>'
        '<info:progress percent="42.0">half way</info:progress>'
        '<info:site>local</info:site><info:new deep="1"><info:er/></info:new>'
        '<info:checksum result="r" algorithm="SHA-256">AB12</info:checksum>'
        '<info:log name="stdout" l:href="logs/stdout"/><info:log name="stderr" l:href="http://h/e"/>'
        "</info:info></w:jobInfo>"
    )
    document = parse_job(job("EXECUTING", info).encode(), URL)
    assert (document.progress, document.message, document.site) == (0.42, "half way", "local")
    assert document.results[0].sha256 == "ab12"
    assert [(log.name, log.href) for log in document.logs] == [
        ("stdout", f"{URL}/logs/stdout"),
        ("stderr", "http://h/e"),
    ]


def test_our_own_writer_is_understood() -> None:
    """Service and client agree on jobInfo.

    The two agree on jobInfo.
    """
    result = Result("r", "key", "text/csv", 12, "ab" * 32)
    info = JobInfo(waiting="waiting for a free slot", ahead=3, site="local", site_reason="its data are there")
    value = Job("42", "probe", "me", Phase.QUEUED, 1000, 60, 2000, run_id="x", results=(result,), info=info)
    urls = JobUrls("https://example.org/svc/async")
    document = parse_job(job_xml(value, urls=urls, info=JobInfoView.of(value, urls)), URL)
    assert (document.id, document.owner, document.phase, document.created, document.destruction) == (
        "42",
        "me",
        "QUEUED",
        1000,
        2000,
    )
    assert (document.message, document.site) == ("waiting for a free slot (3 ahead)", "local")
    assert document.site_reason == "its data are there"
    assert document.results == (JobResult("r", f"{URL}/results/r", "text/csv", 12, "ab" * 32),)


def test_a_job_list() -> None:
    """U-050, U-061: ids and links, whichever of the two the server writes."""
    document = (
        f'<a:jobs xmlns:a="{UWS}" {XLINK} version="1.1">'
        '<a:jobref id="1" xlink:href="https://example.org/svc/async/1"><a:phase>PENDING</a:phase>'
        "<a:runId>r</a:runId><a:creationTime>2026-01-02T03:04:05Z</a:creationTime></a:jobref>"
        '<a:jobref id="2"><a:phase>ERROR</a:phase></a:jobref>'
        '<a:jobref xlink:href="3"><a:phase>HELD</a:phase></a:jobref></a:jobs>'
    )
    listing = parse_jobs(document.encode(), "https://example.org/svc/async?LAST=3")
    assert [(job.id, job.url, job.phase) for job in listing.jobs] == [
        ("1", "https://example.org/svc/async/1", "PENDING"),
        ("2", "https://example.org/svc/async/2", "ERROR"),
        ("3", "https://example.org/svc/async/3", "HELD"),
    ]
    assert listing.jobs[0].created == 1767323045000 and listing.jobs[0].run_id == "r"


@pytest.mark.parametrize(
    ("href", "absolute"),
    [
        ("https://other.org/x", "https://other.org/x"),
        ("/svc/files/1", "https://example.org/svc/files/1"),
        ("results/a", f"{URL}/results/a"),
        ("./results/a", f"{URL}/results/a"),
        ("42/results/a", f"{URL}/results/a"),
        ("//cdn.org/a", "https://cdn.org/a"),
    ],
)
def test_relative_links_are_meant_below_the_job(href: str, absolute: str) -> None:
    """U-081, C-10: what servers mean by a relative href is not what RFC 3986 makes of it."""
    assert resolve(URL, href) == absolute
    assert resolve(URL + "/", href) == absolute


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00", 0),
        ("1970-01-01 00:00:01.5", 1500),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:00:00.250-0100", 250),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00", 0),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-01T25:00:00Z", None),
        ("-1", None),
        ("", None),
        ("2026-01-01T00:00:00Zjunk", None),
    ],
)
def test_instants_of_all_kinds(text: str, milliseconds: int | None) -> None:
    """U-008 from the reader's side.

    With and without Z, T or space, any fraction.
    """
    assert parse_instant(text) == milliseconds


@given(st.integers(0, 253402300799999))
def test_instants_come_back(milliseconds: int) -> None:
    """What we send (U-031, U-055) has milliseconds and Z, and means the same instant."""
    text = format_instant(milliseconds)
    assert text.endswith("Z") and len(text) == 24
    assert parse_instant(text) == milliseconds


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE job [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + f']><job xmlns="{UWS}"><jobId>1</jobId><phase>&j;</phase></job>'
)


def test_entities_are_refused_before_they_expand() -> None:
    """A growing document is refused at once."""
    with pytest.raises(BadDocument, match="entities"):
        parse_job(BOMB.encode(), URL)


@pytest.mark.parametrize("kind", ["entity", "parameter entity", "external subset"])
def test_external_entities_are_never_fetched(kind: str, tmp_path: Path) -> None:
    """No file or URL is opened."""
    secret = tmp_path / "secret"
    secret.write_text("COMPLETED")
    with Foreign(lambda _: Reply(200, "COMPLETED")) as canary:
        doctype = {
            "entity": f'[<!ENTITY x SYSTEM "file://{secret}"><!ENTITY y SYSTEM "{canary.url}/y">]',
            "parameter entity": f'[<!ENTITY % p SYSTEM "{canary.url}/p"> %p;]',
            "external subset": f'SYSTEM "{canary.url}/dtd"',
        }[kind]
        document = f'<!DOCTYPE job {doctype}><job xmlns="{UWS}"><jobId>1</jobId><phase>{{}}</phase></job>'
        if kind == "external subset":  # declares nothing itself, so it is read, and the subset is not
            assert parse_job(document.format("QUEUED").encode(), URL).phase == "QUEUED"
            with pytest.raises(BadDocument):
                parse_job(document.format("&x;").encode(), URL)
        else:
            with pytest.raises(BadDocument, match="entities"):
                parse_job(document.format("&x;&y;").encode(), URL)
        assert canary.requests == []


@pytest.mark.parametrize(
    ("content", "media_type", "words"),
    [
        (job("COMPLETED")[:-20], "text/xml", "broken"),
        ("", "text/xml", "broken"),
        ("<html><body>Welcome</body></html>", "text/html", "is <html>, not a job"),
        ("<!DOCTYPE html><p>hi<br></p>", "text/html; charset=utf-8", "answers with text/html"),
        ('{"phase": "COMPLETED"}', "application/json", "answers with application/json"),
        (f'<jobs xmlns="{UWS}"/>', "text/xml", "is a job list, not a job"),
        ('<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3"/>', "text/xml", "VOTable"),
        (f'<job xmlns="{UWS}"><jobId>1</jobId></job>', "text/xml", "without a phase"),
        ("<a>" * 5000 + "</a>" * 5000, "text/xml", "nested too deep"),
    ],
)
def test_what_is_not_a_job_is_said_to_be_so(content: str, media_type: str, words: str) -> None:
    """The line names the URL and what came."""
    with pytest.raises(BadDocument, match=words) as error:
        parse_job(content.encode(), URL, media_type)
    assert URL in error.value.message and "\n" not in error.value.message


@given(st.one_of(st.binary(max_size=200), st.text(alphabet='<>/&;!"= aw:job?[]x', max_size=120).map(str.encode)))
def test_any_bytes_give_a_document_or_our_error(content: bytes) -> None:
    """The reader fails in no other way."""
    with contextlib.suppress(BadDocument):
        read_xml(content)


def test_encodings() -> None:
    """The XML declaration decides, as XML says."""
    document = job("EXECUTING", "<w:runId>Müller</w:runId>")
    latin = document.replace('<?xml version="1.0"?>', '<?xml version="1.0" encoding="ISO-8859-1"?>')
    assert parse_job(latin.encode("latin-1"), URL).run_id == "Müller"
    assert parse_job(document.encode("utf-8"), URL).run_id == "Müller"
