"""UWS 1.1 §2.2 and §2.2.1: the resource tree."""

from __future__ import annotations

from urllib.parse import urlsplit

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.http import Reply
from uws_conformance.outcomes import Unsupported, expect
from uws_conformance.registry import check

XML_TYPES = ("text/xml", "application/xml")
VALUE_CHILDREN = "phase executionduration destruction quote owner".split()
JAVA_ACCEPT = "text/html, image/gif, image/jpeg, */*; q=0.2"


def add_not_found_check(subject: str, path: str) -> None:
    """Register the check of an unknown job's resource."""

    @check(
        "U-001",
        "MUST",
        "UWS 1.1 §2.2",
        f"{subject} answers 404.",
        "Not 403, not 200, never 500.",
        name=f"404-{subject}",
    )
    def is_not_found(bench: Bench) -> str:
        reply = bench.get(f"{bench.list_url}/no-such-job-5b1d0c{path}")
        expect(reply.status == 404, str(reply))
        return str(reply)


add_not_found_check("An unknown job", "")
for _child in ("phase", "results", "parameters", *VALUE_CHILDREN[1:]):
    add_not_found_check(f"The {_child} of an unknown job", f"/{_child}")


@check("U-001", "MUST", "UWS 1.1 §2.2", "An unknown child of a job answers 404.")
def unknown_child(bench: Bench) -> str:
    reply = bench.get(f"{bench.pending().url}/no-such-child")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-001", "MUST", "UWS 1.1 §2.2", "DELETE of an unknown job answers 404.")
def delete_unknown(bench: Bench) -> str:
    reply = bench.client.send("DELETE", f"{bench.list_url}/no-such-job-5b1d0c")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-001", "MUST", "UWS 1.1 §2.2", "POST to the phase of an unknown job answers 404.")
def run_unknown(bench: Bench) -> str:
    reply = bench.post(f"{bench.list_url}/no-such-job-5b1d0c/phase", ("PHASE", "RUN"))
    expect(reply.status == 404, str(reply))
    return str(reply)


def add_container_checks(rule: str, child: str) -> None:
    """Register the checks of an XML resource."""
    label = child or "job"

    @check(rule, "MUST", "UWS 1.1 §2.2.1", f"GET of {label} answers 200 with XML.", name=f"{label}-answers")
    def answers(bench: Bench) -> str:
        reply = bench.get(f"{bench.pending().url}/{child}".rstrip("/"))
        expect(reply.status == 200, str(reply))
        documents.parse(reply.body, reply.url)
        return str(reply)

    @check(
        "U-004",
        "MUST",
        "UWS 1.1 §2.2.2",
        f"The media type of {label} is text/xml or application/xml.",
        name=f"{label}-type",
    )
    def has_xml_type(bench: Bench) -> str:
        reply = bench.get(f"{bench.pending().url}/{child}".rstrip("/"))
        expect(reply.media_type in XML_TYPES, f"{reply}, Content-Type {reply.media_type!r}")
        return reply.media_type


add_container_checks("U-022", "")
add_container_checks("U-034", "results")
add_container_checks("U-036", "parameters")

RULES = {"phase": "U-025", "executionduration": "U-028", "destruction": "U-030", "quote": "U-033", "owner": "U-040"}


def add_value_checks(child: str) -> None:
    """Register the checks of a text resource."""
    level = "SHOULD" if child == "quote" else "MUST"

    @check(RULES[child], level, "UWS 1.1 §2.2.1", f"GET of {child} answers 200.", name=f"{child}-answers")
    def answers(bench: Bench) -> str:
        reply = bench.get(f"{bench.pending().url}/{child}")
        expect(reply.status == 200, str(reply))
        return str(reply)

    @check("U-004", "MUST", "UWS 1.1 §2.2.2", f"The media type of {child} is text/plain.", name=f"{child}-type")
    def has_text_type(bench: Bench) -> str:
        reply = bench.get(f"{bench.pending().url}/{child}")
        expect(reply.media_type == "text/plain", f"{reply}, Content-Type {reply.media_type!r}")
        return reply.media_type

    @check("U-076", "MUST", "UWS 1.1 §2.2.2.2", f"{child} agrees with the job document.", name=f"{child}-agrees")
    def agrees(bench: Bench) -> str:
        job = bench.pending()
        element = {"executionduration": "executionDuration", "owner": "ownerId"}.get(child, child)
        own_value, document_value = (
            bench.get(f"{job.url}/{child}").text,
            documents.value(bench.get_xml(job.url), element) or "",
        )
        expect(
            own_value.strip() == document_value.strip(), f"{child} is {own_value!r}, {element} is {document_value!r}"
        )
        return repr(own_value)


for _child in VALUE_CHILDREN:
    add_value_checks(_child)


@check("U-025", "MUST", "UWS 1.1 §2.2.1", "The body of phase is one of the ten words.")
def phase_word(bench: Bench) -> str:
    text = bench.get(f"{bench.pending().url}/phase").text
    expect(text.strip() in documents.PHASES, f"phase is {text!r}")
    return text


@check("C-15", "TRAP", "Clients §TOPCAT, taplint", "The body of phase is the bare word: no newline, no quotes.")
def phase_bare(bench: Bench) -> str:
    text = bench.get(f"{bench.pending().url}/phase").text
    expect(text in documents.PHASES, f"phase is {text!r}")
    return text


@check("U-028", "MUST", "UWS 1.1 §2.2.1", "The body of executionduration is an integer of seconds.")
def duration_integer(bench: Bench) -> str:
    text = bench.get(f"{bench.pending().url}/executionduration").text
    expect(text.strip().isdigit(), f"executionduration is {text!r}")
    return text


def add_instant_check(child: str) -> None:
    """Register the check of an instant."""

    @check(
        "U-008",
        "MUST",
        "UWS 1.1 §2.2.1",
        f"The body of {child} is empty or ISO 8601 with T and Z.",
        name=f"{child}-instant",
    )
    def has_instant(bench: Bench) -> str:
        text = bench.get(f"{bench.pending().url}/{child}").text.strip()
        if text:
            documents.instant(text)
        return text or "empty"


add_instant_check("destruction")
add_instant_check("quote")


def add_accept_check(target: str, accept: str, rule: str, label: str) -> None:
    """Register the check of an Accept header."""
    section = "Clients §STILTS and TOPCAT on Java 17" if rule == "C-32" else "UWS 1.1 §2.2.2"
    level = "TRAP" if rule == "C-32" else "MUST"

    @check(
        rule,
        level,
        section,
        f"The {target} is XML for {label}.",
        "XML is the default.",
        name=f"{target}-accept-{label}",
    )
    def is_xml(bench: Bench) -> str:
        url = bench.list_url if target == "list" else bench.pending().url
        reply = bench.client.send("GET", url, headers={"Accept": accept})
        expect(reply.media_type in XML_TYPES, f"Accept: {accept} gives {reply.status} {reply.media_type!r}")
        return reply.media_type


for _target in ("list", "job"):
    add_accept_check(_target, "application/xml,text/plain", "U-005", "Accept XML")
    add_accept_check(_target, "*/*", "U-005", "Accept anything")
    add_accept_check(_target, JAVA_ACCEPT, "C-32", "Java's Accept")


def add_delete_refused_check(child: str) -> None:
    """Register the check that DELETE is refused."""
    label = child or "the job list"

    @check(
        "U-041",
        "MUST",
        "UWS 1.1 §2.2.3.2",
        f"DELETE of {label} is refused.",
        "Only jobs are deleted: 405.",
        name=f"delete-{label}",
    )
    def refused(bench: Bench) -> str:
        url = f"{bench.pending().url}/{child}" if child else bench.list_url
        reply = bench.client.send("DELETE", url)
        expect(400 <= reply.status < 500, str(reply))
        expect(bench.get(bench.pending().url).status == 200, f"after {reply} the job is gone")
        return str(reply)


for _child in ("results", "parameters", *VALUE_CHILDREN):
    add_delete_refused_check(_child)


@check("U-043", "MUST", "UWS 1.1 §2.1.10", "Clients cannot add results: POST to results is refused.")
def post_results(bench: Bench) -> str:
    reply = bench.post(f"{bench.pending().url}/results", ("result", "x"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-043", "MUST", "UWS 1.1 §2.1.10", "Clients cannot replace results: PUT to results is refused.")
def put_results(bench: Bench) -> str:
    reply = bench.client.send("PUT", f"{bench.pending().url}/results", content=b"x")
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-042", "SHOULD", "UWS 1.1 §2.2", "Another verb on the job list answers 405.")
def put_list(bench: Bench) -> str:
    reply = bench.client.send("PUT", bench.list_url, content=b"x")
    expect(reply.status == 405, str(reply))
    return str(reply)


@check("U-042", "SHOULD", "UWS 1.1 §2.2", "405 names the verbs that are allowed.", "RFC 9110 demands an Allow header.")
def allow_header(bench: Bench) -> str:
    reply = bench.client.send("PUT", bench.list_url, content=b"x")
    expect(reply.status != 405 or reply.headers.get("allow"), f"{reply} without Allow")
    return reply.headers.get("allow", "no 405")


def add_head_check(target: str) -> None:
    """Register the check of HEAD."""

    @check("U-042", "SHOULD", "UWS 1.1 §2.2", f"HEAD works for the {target}.", name=f"head-{target}")
    def works(bench: Bench) -> str:
        reply = bench.client.send("HEAD", bench.list_url if target == "list" else bench.pending().url)
        expect(reply.status == 200, str(reply))
        return str(reply)


add_head_check("list")
add_head_check("job")


@check(
    "U-044", "TRAP", "UWS 1.1 §2.2.1", "The job list answers with a trailing slash too.", "Serve both forms directly."
)
def list_slash(bench: Bench) -> str:
    reply = bench.get(f"{bench.list_url}/")
    expect(reply.status in (200, 307, 308), str(reply))
    return str(reply)


@check(
    "U-044", "TRAP", "UWS 1.1 §2.2.1", "POST with a trailing slash creates a job as well.", "301 and 302 lose the body."
)
def create_slash(bench: Bench) -> str:
    reply = bench.create(bench.job_form("short"), query="/")
    expect(reply.status in (303, 307, 308), str(reply))
    return str(reply)


def expect_redirect(reply: Reply, url: str) -> None:
    """Expect 303 to a URL, with any query."""
    expect(reply.status == 303, f"{reply}, 303 is required")
    expect(reply.location, f"{reply} without Location")
    location = reply.location.partition("?")[0].rstrip("/")
    expect(urlsplit(location).path == urlsplit(url).path, f"{reply}, Location {reply.location}, required {url}")


def add_redirect_check(child: str, form: tuple[str, str]) -> None:
    """Register the check of the reply to a change."""

    @check("U-010", "MUST", "UWS 1.1 §2.2.3", f"POST to {child} answers 303 to the job.", name=f"post-{child}")
    def redirected(bench: Bench) -> str:
        job = bench.editable()
        reply = bench.post(f"{job.url}/{child}", form)
        if reply.status == 403:
            raise Unsupported(f"{reply}: the server forbids to change it")
        expect_redirect(reply, job.url)
        return f"{reply}, Location {reply.location}"


add_redirect_check("executionduration", ("EXECUTIONDURATION", "30"))
add_redirect_check("destruction", ("DESTRUCTION", "2999-01-01T00:00:00Z"))


@check("U-027", "MUST", "UWS 1.1 §2.2.3.6", "POST of PHASE=ABORT answers 303 to the job.")
def abort_redirects(bench: Bench) -> str:
    job = bench.aborted()
    expect_redirect(job.replies["abort"], job.url)
    return str(job.replies["abort"])


@check("U-026", "MUST", "UWS 1.1 §2.2.3.5", "POST of PHASE=RUN answers 303 to the job.")
def run_redirects(bench: Bench) -> str:
    job = bench.completed()
    expect_redirect(job.replies["run"], job.url)
    return str(job.replies["run"])


@check(
    "U-011",
    "TRAP",
    "UWS 1.1 §2.2.3",
    "Location of a creation is absolute and on the host that was asked.",
    "TOPCAT cannot read a relative one.",
)
def location_absolute(bench: Bench) -> str:
    raw = bench.pending().created.headers.get("location", "")
    expect(urlsplit(raw)[:2] == urlsplit(bench.list_url)[:2], f"Location is {raw!r}, asked was {bench.list_url}")
    return raw


@check("C-27", "TRAP", "Clients §caches", "The job document may not be cached.", "Send Cache-Control: no-store.")
def not_cached(bench: Bench) -> str:
    cache_control = bench.pending().replies["get"].headers.get("cache-control", "")
    expect("no-store" in cache_control or "no-cache" in cache_control, f"Cache-Control is {cache_control!r}")
    return cache_control
