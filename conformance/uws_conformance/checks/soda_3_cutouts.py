"""SODA 1.0 §2 to §5: capability, regions and results.

The profile's ``soda`` names a data set with regions: ``ID``, ``CIRCLE`` (two that overlap it), ``OUTSIDE`` (a circle
that does not), and any of ``POS``, ``POLYGON``, ``BAND``, ``TIME``, ``POL`` with one value inside it.
"""

from __future__ import annotations

from uws_conformance import documents
from uws_conformance.bench import Bench, Job
from uws_conformance.checks.dali_vosi import capabilities, document_root
from uws_conformance.http import Reply
from uws_conformance.outcomes import Skipped, expect
from uws_conformance.registry import check

SECTION = "SODA 1.0 §3"
ERROR_LABELS = (
    "Error", "AuthenticationError", "AuthorizationError", "ServiceUnavailable", "UsageError",
    "MultiValuedParamNotSupported",
)  # fmt: skip
NO_SEVERAL_VALUES = "MultiValuedParamNotSupported"


def profile_values(bench: Bench, name: str) -> tuple[str, ...]:
    """Return the profile's values for a parameter."""
    given_values = bench.profile.soda.get(name)
    if not given_values:
        raise Skipped(f"the profile's soda has no {name}")
    return given_values


def cutout_job(bench: Bench, *pairs: tuple[str, str]) -> Job:
    """Return a finished job on the data set."""

    def make() -> Job:
        job = bench.create_job((("ID", profile_values(bench, "ID")[0]), *pairs))
        bench.post(f"{job.url}/phase", ("PHASE", "RUN"))
        job.documents["phase"] = bench.get_xml(job.url)
        bench.wait_for_phase(job, "COMPLETED", "ERROR")
        job.documents["get"] = bench.get_xml(job.url)
        return job

    return bench.share(f"cutout {pairs}", make)


def final_phase(job: Job) -> str:
    """Return the phase that the job ended in."""
    return documents.value(job.documents["get"], "phase") or ""


def error_text(bench: Bench, job: Job) -> str:
    """Return the texts of errorSummary and error."""
    summary = documents.child(job.documents["get"], "errorSummary")
    text = "" if summary is None else documents.value(summary, "message") or ""
    return text + bench.follow(bench.get(f"{job.url}/error")).text


def fetch_results(bench: Bench, job: Job) -> list[Reply]:
    """Fetch each result of a job."""
    expect(final_phase(job) == "COMPLETED", f"{job.url} is {final_phase(job)}: {error_text(bench, job)[:200]}")
    urls = [result.get(f"{{{documents.XLINK}}}href") or "" for result in bench.get_xml(f"{job.url}/results")]
    return [bench.follow(bench.get(url)) for url in urls]


@check("S-001", "MUST", "SODA 1.0 §2", "A capability of SODA is declared: SODA#async-1.0 names the job list.")
def async_capability(bench: Bench) -> str:
    urls_by_standard = {}
    for element in document_root(capabilities(bench)).findall("capability"):
        standard = (element.get("standardID") or "").lower()
        if standard.startswith("ivo://ivoa.net/std/soda#"):
            urls_by_standard[standard] = [(url.text or "").strip().rstrip("/") for url in element.iter("accessURL")]
    urls = urls_by_standard.get("ivo://ivoa.net/std/soda#async-1.0")
    expect(urls, f"SODA capabilities are {list(urls_by_standard)}")
    expect(bench.list_url in (urls or []), f"accessURLs are {urls}, the list is {bench.list_url}")
    return bench.list_url


@check("S-001", "MUST", "SODA 1.0 §2", 'Its interface has the role "std" and the version 1.0.')
def async_interface(bench: Bench) -> str:
    for element in document_root(capabilities(bench)).findall("capability"):
        if (element.get("standardID") or "").lower() == "ivo://ivoa.net/std/soda#async-1.0":
            versions = [(interface.get("role"), interface.get("version")) for interface in element.findall("interface")]
            expect(("std", "1.0") in versions, f"role and version are {versions}")
            return "std, 1.0"
    raise Skipped("SODA#async-1.0 is not declared")


def add_region_check(name: str) -> None:
    """Register the check of a region parameter."""

    @check(
        "S-002",
        "MUST",
        f"{SECTION}.2",
        f"A job with ID and {name} completes with a result.",
        name=f"with-{name.lower()}",
    )
    def completes(bench: Bench) -> str:
        replies = fetch_results(bench, cutout_job(bench, (name, profile_values(bench, name)[0])))
        expect(
            replies and all(reply.status == 200 and reply.body for reply in replies),
            ", ".join(map(str, replies)) or "no result",
        )
        return f"{len(replies)} results"


for _name in ("CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL"):
    add_region_check(_name)


@check("S-002", "MUST", f"{SECTION}.2", "A region that cannot be read makes the job ERROR.")
def unreadable_region(bench: Bench) -> str:
    job = cutout_job(bench, ("CIRCLE", "ten ten wide"))
    expect(final_phase(job) == "ERROR", f"{job.url} is {final_phase(job)}")
    return "ERROR"


@check("S-003", "MUST", f"{SECTION}.1", f"Two circles give two results, or the job fails with {NO_SEVERAL_VALUES}.")
def several_circles(bench: Bench) -> str:
    first, second = profile_values(bench, "CIRCLE")[:2]
    job = cutout_job(bench, ("CIRCLE", first), ("CIRCLE", second))
    if final_phase(job) == "ERROR":
        expect(NO_SEVERAL_VALUES in error_text(bench, job), f"the error is {error_text(bench, job)[:200]!r}")
        return NO_SEVERAL_VALUES
    count = len(fetch_results(bench, job))
    expect(count >= 2, f"{count} results")  # previews may be among them
    return f"{count} results"


@check("S-004", "MUST", "SODA 1.0 §5", "Every combination of values is a result, also one without overlap.")
def combinations(bench: Bench) -> str:
    job = cutout_job(
        bench, ("CIRCLE", profile_values(bench, "CIRCLE")[0]), ("CIRCLE", profile_values(bench, "OUTSIDE")[0])
    )
    if final_phase(job) == "ERROR" and NO_SEVERAL_VALUES in error_text(bench, job):
        raise Skipped("several values are not supported")
    count = len(fetch_results(bench, job))
    expect(count >= 2, f"{count} results of 2 circles")
    return f"{count} results"


@check(
    "S-004", "MUST", "SODA 1.0 §5", "The result of a region without overlap is text that begins with an error label."
)
def empty_result(bench: Bench) -> str:
    replies = fetch_results(bench, cutout_job(bench, ("CIRCLE", profile_values(bench, "OUTSIDE")[0])))
    expect(replies, "no result")
    expect(replies[0].media_type == "text/plain", f"Content-Type {replies[0].media_type!r}")
    expect(replies[0].text.startswith(ERROR_LABELS), f"it begins with {replies[0].text[:60]!r}")
    return replies[0].text[:60]


def send_sync(bench: Bench, circle: str, dataset: str = "") -> Reply:
    """Request a circle from sync."""
    return bench.sync((("ID", dataset or profile_values(bench, "ID")[0]), ("CIRCLE", circle)))


@check("S-005", "MUST", "SODA 1.0 §5", "sync without any pixel answers 204 without a body.")
def sync_empty(bench: Bench) -> str:
    reply = send_sync(bench, profile_values(bench, "OUTSIDE")[0])
    expect(reply.status == 204 and not reply.body, f"{reply}, {len(reply.body)} bytes")
    return str(reply)


@check("S-005", "SHOULD", "SODA 1.0 §5", "The text of a sync error begins with one of the labels of SODA.")
def sync_error_label(bench: Bench) -> str:
    reply = send_sync(bench, "ten ten wide")
    expect(reply.status >= 400, str(reply))
    expect(reply.text.startswith(ERROR_LABELS), f"it begins with {reply.text[:60]!r}")
    return reply.text[:60]


@check("S-007", "MUST", f"{SECTION}.2", "A region that reaches far beyond the data is reduced to it.")
def reduced(bench: Bench) -> str:
    lon, lat, _ = profile_values(bench, "CIRCLE")[0].split()
    replies = fetch_results(bench, cutout_job(bench, ("CIRCLE", f"{lon} {lat} 60")))
    expect(
        replies and not replies[0].text[:30].startswith(ERROR_LABELS),
        f"{replies[0].text[:60] if replies else 'no result'!r}",
    )
    return f"{len(replies[0].body)} bytes"
