"""SODA 1.0 §2 to §5: the capability, the parameters of regions, and what a job makes of them.

The profile's ``soda`` names a data set with regions: ``ID``, ``CIRCLE`` (two that overlap it), ``OUTSIDE`` (a circle
that does not), and any of ``POS``, ``POLYGON``, ``BAND``, ``TIME``, ``POL`` with one value inside it.
"""

from __future__ import annotations

from uws_conformance import documents
from uws_conformance.bench import Bench, Job
from uws_conformance.checks.dali_vosi import capabilities, root
from uws_conformance.http import Reply
from uws_conformance.outcomes import Skipped, expect
from uws_conformance.registry import check

AT = "SODA 1.0 §3"
LABELS = (
    "Error", "AuthenticationError", "AuthorizationError", "ServiceUnavailable", "UsageError",
    "MultiValuedParamNotSupported",
)  # fmt: skip
SEVERAL = "MultiValuedParamNotSupported"


def values(see: Bench, name: str) -> tuple[str, ...]:
    """What the profile gives for a parameter."""
    found = see.profile.soda.get(name)
    if not found:
        raise Skipped(f"the profile's soda has no {name}")
    return found


def cut(see: Bench, *pairs: tuple[str, str]) -> Job:
    """A job on the data set, at its end."""

    def make() -> Job:
        job = see.new((("ID", values(see, "ID")[0]), *pairs))
        see.post(f"{job.url}/phase", ("PHASE", "RUN"))
        job.documents["phase"] = see.xml(job.url)
        see.until(job, "COMPLETED", "ERROR")
        job.documents["get"] = see.xml(job.url)
        return job

    return see.share(f"cutout {pairs}", make)


def phase(job: Job) -> str:
    return documents.value(job.documents["get"], "phase") or ""


def error(see: Bench, job: Job) -> str:
    """The text of a job's failure, from its summary or its error document."""
    summary = documents.child(job.documents["get"], "errorSummary")
    text = "" if summary is None else documents.value(summary, "message") or ""
    return text + see.follow(see.get(f"{job.url}/error")).text


def results(see: Bench, job: Job) -> list[Reply]:
    """Each result of a job, fetched."""
    expect(phase(job) == "COMPLETED", f"{job.url} is {phase(job)}: {error(see, job)[:200]}")
    found = [one.get(f"{{{documents.XLINK}}}href") or "" for one in see.xml(f"{job.url}/results")]
    return [see.follow(see.get(url)) for url in found]


@check("S-001", "MUST", "SODA 1.0 §2", "A capability of SODA is declared: SODA#async-1.0 names the job list.")
def async_capability(see: Bench) -> str:
    found = {}
    for one in root(capabilities(see)).findall("capability"):
        standard = (one.get("standardID") or "").lower()
        if standard.startswith("ivo://ivoa.net/std/soda#"):
            found[standard] = [(url.text or "").strip().rstrip("/") for url in one.iter("accessURL")]
    urls = found.get("ivo://ivoa.net/std/soda#async-1.0")
    expect(urls, f"SODA capabilities are {list(found)}")
    expect(see.jobs in (urls or []), f"accessURLs are {urls}, the list is {see.jobs}")
    return see.jobs


@check("S-001", "MUST", "SODA 1.0 §2", 'Its interface has the role "std" and the version 1.0.')
def async_interface(see: Bench) -> str:
    for one in root(capabilities(see)).findall("capability"):
        if (one.get("standardID") or "").lower() == "ivo://ivoa.net/std/soda#async-1.0":
            found = [(i.get("role"), i.get("version")) for i in one.findall("interface")]
            expect(("std", "1.0") in found, f"role and version are {found}")
            return "std, 1.0"
    raise Skipped("SODA#async-1.0 is not declared")


def taken(name: str) -> None:
    @check(
        "S-002", "MUST", f"{AT}.2", f"A job with ID and {name} completes with a result.", name=f"with-{name.lower()}"
    )
    def completes(see: Bench) -> str:
        found = results(see, cut(see, (name, values(see, name)[0])))
        expect(
            found and all(one.status == 200 and one.body for one in found), ", ".join(map(str, found)) or "no result"
        )
        return f"{len(found)} results"


for _name in ("CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL"):
    taken(_name)


@check("S-002", "MUST", f"{AT}.2", "A region that cannot be read makes the job ERROR.")
def unreadable_region(see: Bench) -> str:
    job = cut(see, ("CIRCLE", "ten ten wide"))
    expect(phase(job) == "ERROR", f"{job.url} is {phase(job)}")
    return "ERROR"


@check("S-003", "MUST", f"{AT}.1", f"Two circles give two results, or the job fails with {SEVERAL}.")
def several_circles(see: Bench) -> str:
    one, two = values(see, "CIRCLE")[:2]
    job = cut(see, ("CIRCLE", one), ("CIRCLE", two))
    if phase(job) == "ERROR":
        expect(SEVERAL in error(see, job), f"the error is {error(see, job)[:200]!r}")
        return SEVERAL
    found = len(results(see, job))
    expect(found >= 2, f"{found} results")  # previews may lie beside them
    return f"{found} results"


@check("S-004", "MUST", "SODA 1.0 §5", "Every combination of values is a result, also one without overlap.")
def combinations(see: Bench) -> str:
    job = cut(see, ("CIRCLE", values(see, "CIRCLE")[0]), ("CIRCLE", values(see, "OUTSIDE")[0]))
    if phase(job) == "ERROR" and SEVERAL in error(see, job):
        raise Skipped("several values are not supported")
    found = len(results(see, job))
    expect(found >= 2, f"{found} results of 2 circles")
    return f"{found} results"


@check(
    "S-004", "MUST", "SODA 1.0 §5", "The result of a region without overlap is text that begins with an error label."
)
def empty_result(see: Bench) -> str:
    found = results(see, cut(see, ("CIRCLE", values(see, "OUTSIDE")[0])))
    expect(found, "no result")
    expect(found[0].media_type == "text/plain", f"Content-Type {found[0].media_type!r}")
    expect(found[0].text.startswith(LABELS), f"it begins with {found[0].text[:60]!r}")
    return found[0].text[:60]


def ask(see: Bench, circle: str, dataset: str = "") -> Reply:
    return see.sync((("ID", dataset or values(see, "ID")[0]), ("CIRCLE", circle)))


@check("S-005", "MUST", "SODA 1.0 §5", "sync without any pixel answers 204 without a body.")
def sync_empty(see: Bench) -> str:
    reply = ask(see, values(see, "OUTSIDE")[0])
    expect(reply.status == 204 and not reply.body, f"{reply}, {len(reply.body)} bytes")
    return str(reply)


@check("S-005", "SHOULD", "SODA 1.0 §5", "The text of a sync error begins with one of the labels of SODA.")
def sync_error_label(see: Bench) -> str:
    reply = ask(see, "ten ten wide")
    expect(reply.status >= 400, str(reply))
    expect(reply.text.startswith(LABELS), f"it begins with {reply.text[:60]!r}")
    return reply.text[:60]


@check("S-007", "MUST", f"{AT}.2", "A region far beyond the data is reduced to them.")
def reduced(see: Bench) -> str:
    lon, lat, _ = values(see, "CIRCLE")[0].split()
    found = results(see, cut(see, ("CIRCLE", f"{lon} {lat} 60")))
    expect(found and not found[0].text[:30].startswith(LABELS), f"{found[0].text[:60] if found else 'no result'!r}")
    return f"{len(found[0].body)} bytes"
