"""UWS 1.1 §2.2 and §2.2.1: status codes, media types and the resource tree."""

from __future__ import annotations

from urllib.parse import urlsplit

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.http import Reply
from uws_conformance.outcomes import Unsupported, expect
from uws_conformance.registry import check

XML = ("text/xml", "application/xml")
ATOMS = "phase executionduration destruction quote owner".split()
JAVA = "text/html, image/gif, image/jpeg, */*; q=0.2"


def missing(what: str, tail: str) -> None:
    @check("U-001", "MUST", "UWS 1.1 §2.2", f"{what} answers 404.", "Not 403, not 200, never 500.", name=f"404-{what}")
    def unknown(see: Bench) -> str:
        reply = see.get(f"{see.jobs}/no-such-job-5b1d0c{tail}")
        expect(reply.status == 404, str(reply))
        return str(reply)


missing("An unknown job", "")
for _child in ("phase", "results", "parameters", *ATOMS[1:]):
    missing(f"The {_child} of an unknown job", f"/{_child}")


@check("U-001", "MUST", "UWS 1.1 §2.2", "An unknown child of a job answers 404.")
def unknown_child(see: Bench) -> str:
    reply = see.get(f"{see.pending().url}/no-such-child")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-001", "MUST", "UWS 1.1 §2.2", "DELETE of an unknown job answers 404.")
def delete_unknown(see: Bench) -> str:
    reply = see.client.send("DELETE", f"{see.jobs}/no-such-job-5b1d0c")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-001", "MUST", "UWS 1.1 §2.2", "POST to the phase of an unknown job answers 404.")
def run_unknown(see: Bench) -> str:
    reply = see.post(f"{see.jobs}/no-such-job-5b1d0c/phase", ("PHASE", "RUN"))
    expect(reply.status == 404, str(reply))
    return str(reply)


def container(rule: str, child: str) -> None:
    label = child or "job"

    @check(rule, "MUST", "UWS 1.1 §2.2.1", f"GET of {label} answers 200 with XML.", name=f"{label}-answers")
    def answers(see: Bench) -> str:
        reply = see.get(f"{see.pending().url}/{child}".rstrip("/"))
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
    def typed(see: Bench) -> str:
        reply = see.get(f"{see.pending().url}/{child}".rstrip("/"))
        expect(reply.media_type in XML, f"{reply}, Content-Type {reply.media_type!r}")
        return reply.media_type


container("U-022", "")
container("U-034", "results")
container("U-036", "parameters")

RULES = {"phase": "U-025", "executionduration": "U-028", "destruction": "U-030", "quote": "U-033", "owner": "U-040"}


def atom(child: str) -> None:
    level = "SHOULD" if child == "quote" else "MUST"

    @check(RULES[child], level, "UWS 1.1 §2.2.1", f"GET of {child} answers 200.", name=f"{child}-answers")
    def answers(see: Bench) -> str:
        reply = see.get(f"{see.pending().url}/{child}")
        expect(reply.status == 200, str(reply))
        return str(reply)

    @check("U-004", "MUST", "UWS 1.1 §2.2.2", f"The media type of {child} is text/plain.", name=f"{child}-type")
    def typed(see: Bench) -> str:
        reply = see.get(f"{see.pending().url}/{child}")
        expect(reply.media_type == "text/plain", f"{reply}, Content-Type {reply.media_type!r}")
        return reply.media_type

    @check("U-076", "MUST", "UWS 1.1 §2.2.2.2", f"{child} says the same as the job document.", name=f"{child}-agrees")
    def agrees(see: Bench) -> str:
        job = see.pending()
        element = {"executionduration": "executionDuration", "owner": "ownerId"}.get(child, child)
        alone, inside = see.get(f"{job.url}/{child}").text, documents.value(see.xml(job.url), element) or ""
        expect(alone.strip() == inside.strip(), f"{child} is {alone!r}, {element} is {inside!r}")
        return repr(alone)


for _child in ATOMS:
    atom(_child)


@check("U-025", "MUST", "UWS 1.1 §2.2.1", "The body of phase is one of the ten words.")
def phase_word(see: Bench) -> str:
    text = see.get(f"{see.pending().url}/phase").text
    expect(text.strip() in documents.PHASES, f"phase is {text!r}")
    return text


@check("C-15", "TRAP", "Clients §TOPCAT, taplint", "The body of phase is the bare word: no newline, no quotes.")
def phase_bare(see: Bench) -> str:
    text = see.get(f"{see.pending().url}/phase").text
    expect(text in documents.PHASES, f"phase is {text!r}")
    return text


@check("U-028", "MUST", "UWS 1.1 §2.2.1", "The body of executionduration is an integer of seconds.")
def duration_integer(see: Bench) -> str:
    text = see.get(f"{see.pending().url}/executionduration").text
    expect(text.strip().isdigit(), f"executionduration is {text!r}")
    return text


def instant_body(child: str) -> None:
    @check(
        "U-008",
        "MUST",
        "UWS 1.1 §2.2.1",
        f"The body of {child} is empty or ISO 8601 with T and Z.",
        name=f"{child}-instant",
    )
    def body(see: Bench) -> str:
        text = see.get(f"{see.pending().url}/{child}").text.strip()
        if text:
            documents.instant(text)
        return text or "empty"


instant_body("destruction")
instant_body("quote")


def accepts(target: str, accept: str, rule: str, label: str) -> None:
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
    def negotiated(see: Bench) -> str:
        url = see.jobs if target == "list" else see.pending().url
        reply = see.client.send("GET", url, headers={"Accept": accept})
        expect(reply.media_type in XML, f"Accept: {accept} gives {reply.status} {reply.media_type!r}")
        return reply.media_type


for _target in ("list", "job"):
    accepts(_target, "application/xml,text/plain", "U-005", "Accept XML")
    accepts(_target, "*/*", "U-005", "Accept anything")
    accepts(_target, JAVA, "C-32", "Java's Accept")


def no_deleting(child: str) -> None:
    label = child or "the job list"

    @check(
        "U-041",
        "MUST",
        "UWS 1.1 §2.2.3.2",
        f"DELETE of {label} is refused.",
        "Only jobs are deleted: 405.",
        name=f"delete-{label}",
    )
    def refused(see: Bench) -> str:
        url = f"{see.pending().url}/{child}" if child else see.jobs
        reply = see.client.send("DELETE", url)
        expect(400 <= reply.status < 500, str(reply))
        expect(see.get(see.pending().url).status == 200, f"after {reply} the job is gone")
        return str(reply)


for _child in ("results", "parameters", *ATOMS):
    no_deleting(_child)


@check("U-043", "MUST", "UWS 1.1 §2.1.10", "Clients cannot add results: POST to results is refused.")
def post_results(see: Bench) -> str:
    reply = see.post(f"{see.pending().url}/results", ("result", "x"))
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-043", "MUST", "UWS 1.1 §2.1.10", "Clients cannot replace results: PUT to results is refused.")
def put_results(see: Bench) -> str:
    reply = see.client.send("PUT", f"{see.pending().url}/results", content=b"x")
    expect(400 <= reply.status < 500, str(reply))
    return str(reply)


@check("U-042", "SHOULD", "UWS 1.1 §2.2", "Another verb on the job list answers 405.")
def put_list(see: Bench) -> str:
    reply = see.client.send("PUT", see.jobs, content=b"x")
    expect(reply.status == 405, str(reply))
    return str(reply)


@check("U-042", "SHOULD", "UWS 1.1 §2.2", "405 names the verbs that are allowed.", "RFC 9110 demands an Allow header.")
def allow_header(see: Bench) -> str:
    reply = see.client.send("PUT", see.jobs, content=b"x")
    expect(reply.status != 405 or reply.headers.get("allow"), f"{reply} without Allow")
    return reply.headers.get("allow", "no 405")


def head(target: str) -> None:
    @check("U-042", "SHOULD", "UWS 1.1 §2.2", f"HEAD works for the {target}.", name=f"head-{target}")
    def works(see: Bench) -> str:
        reply = see.client.send("HEAD", see.jobs if target == "list" else see.pending().url)
        expect(reply.status == 200, str(reply))
        return str(reply)


head("list")
head("job")


@check(
    "U-044", "TRAP", "UWS 1.1 §2.2.1", "The job list answers with a trailing slash too.", "Serve both forms directly."
)
def list_slash(see: Bench) -> str:
    reply = see.get(f"{see.jobs}/")
    expect(reply.status in (200, 307, 308), str(reply))
    return str(reply)


@check(
    "U-044", "TRAP", "UWS 1.1 §2.2.1", "POST with a trailing slash creates a job as well.", "301 and 302 lose the body."
)
def create_slash(see: Bench) -> str:
    reply = see.create(see.kind("short"), query="/")
    expect(reply.status in (303, 307, 308), str(reply))
    return str(reply)


def same_place(reply: Reply, url: str) -> None:
    """303 to a URL, whatever query it has."""
    expect(reply.status == 303, f"{reply}, 303 is required")
    expect(reply.location, f"{reply} without Location")
    found = reply.location.partition("?")[0].rstrip("/")
    expect(urlsplit(found).path == urlsplit(url).path, f"{reply}, Location {reply.location}, required {url}")


def changes(child: str, form: tuple[str, str]) -> None:
    @check("U-010", "MUST", "UWS 1.1 §2.2.3", f"POST to {child} answers 303 to the job.", name=f"post-{child}")
    def redirected(see: Bench) -> str:
        job = see.edited()
        reply = see.post(f"{job.url}/{child}", form)
        if reply.status == 403:
            raise Unsupported(f"{reply}: the server forbids to change it")
        same_place(reply, job.url)
        return f"{reply}, Location {reply.location}"


changes("executionduration", ("EXECUTIONDURATION", "30"))
changes("destruction", ("DESTRUCTION", "2999-01-01T00:00:00Z"))


@check("U-027", "MUST", "UWS 1.1 §2.2.3.6", "POST of PHASE=ABORT answers 303 to the job.")
def abort_redirects(see: Bench) -> str:
    job = see.aborted()
    same_place(job.replies["abort"], job.url)
    return str(job.replies["abort"])


@check("U-026", "MUST", "UWS 1.1 §2.2.3.5", "POST of PHASE=RUN answers 303 to the job.")
def run_redirects(see: Bench) -> str:
    job = see.completed()
    same_place(job.replies["run"], job.url)
    return str(job.replies["run"])


@check(
    "U-011",
    "TRAP",
    "UWS 1.1 §2.2.3",
    "Location of a creation is absolute and on the host that was asked.",
    "TOPCAT cannot read a relative one.",
)
def location_absolute(see: Bench) -> str:
    raw = see.pending().created.headers.get("location", "")
    expect(urlsplit(raw)[:2] == urlsplit(see.jobs)[:2], f"Location is {raw!r}, asked was {see.jobs}")
    return raw


@check("C-27", "TRAP", "Clients §caches", "The job document may not be cached.", "Send Cache-Control: no-store.")
def not_cached(see: Bench) -> str:
    found = see.pending().replies["get"].headers.get("cache-control", "")
    expect("no-store" in found or "no-cache" in found, f"Cache-Control is {found!r}")
    return found
