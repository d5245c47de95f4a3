"""UWS 1.1 §2.2.2.2 and DALI 1.1 §4: results and errors."""

from __future__ import annotations

import time

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.checks.uws_2_2_2_job import document
from uws_conformance.outcomes import Skipped, Unsupported, expect
from uws_conformance.registry import check


def listed_results(bench: Bench) -> list[etree._Element]:
    """Return the results of the completed job."""
    results = list(bench.get_xml(f"{bench.completed().url}/results"))
    if not results:
        raise Skipped("the completed job has no results")
    return results


@check("U-081", "MUST", "UWS 1.1 §2.2.2.3", "Each result has an id of its own.")
def result_ids(bench: Bench) -> str:
    result_ids = [result.get("id") for result in listed_results(bench)]
    expect(all(result_ids) and len(set(result_ids)) == len(result_ids), f"ids are {result_ids}")
    return ", ".join(map(str, result_ids))


@check(
    "C-10",
    "TRAP",
    "Clients §pyvo",
    "Each result has an absolute xlink:href.",
    "pyvo resolves a relative one against the job's URL.",
)
def result_href(bench: Bench) -> str:
    for result in listed_results(bench):
        href = result.get(f"{{{documents.XLINK}}}href") or ""
        expect("://" in href, f"xlink:href of {result.get('id')} is {href!r}")
    return "absolute"


@check("D-041", "MUST", "DALI 1.1 §4.1", "Each result can be fetched, directly or by redirect.")
def results_fetched(bench: Bench) -> str:
    for result in listed_results(bench)[:5]:
        reply = bench.get(result.get(f"{{{documents.XLINK}}}href") or "")
        expect(reply.status in (200, 302, 303, 307), str(reply))
    return "200"


@check("U-081", "MUST", "UWS 1.1 §2.2.2.3", "size of a result is its number of bytes.")
def result_size(bench: Bench) -> str:
    for result in listed_results(bench)[:5]:
        size = result.get("size")
        reply = bench.get(result.get(f"{{{documents.XLINK}}}href") or "")
        expect(
            reply.status != 200 or size is None or int(size) == len(reply.body),
            f"size {size}, got {len(reply.body)} bytes",
        )
    return "equal"


@check("U-081", "MUST", "UWS 1.1 §2.2.2.3", "mime-type of a result is its Content-Type.")
def result_type(bench: Bench) -> str:
    for result in listed_results(bench)[:5]:
        media_type = (result.get("mime-type") or "").partition(";")[0].strip().lower()
        reply = bench.get(result.get(f"{{{documents.XLINK}}}href") or "")
        expect(
            reply.status != 200 or not media_type or media_type == reply.media_type,
            f"mime-type {media_type}, Content-Type {reply.media_type}",
        )
    return "equal"


@check("D-042", "MUST", "DALI 1.1 §4.2", "An unknown result answers 404.")
def unknown_result(bench: Bench) -> str:
    reply = bench.get(f"{bench.completed().url}/results/no-such-result")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("D-042", "MUST", "DALI 1.1 §4.2", "error of a job without error answers 404.")
def no_error(bench: Bench) -> str:
    reply = bench.get(f"{bench.completed().url}/error")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-003", "MUST", "UWS 1.1 §2.2", "The document of a failed job answers 200: the job failed, not the service.")
def failed_answers(bench: Bench) -> str:
    job = bench.create_job(bench.job_form("failing"))
    bench.post(f"{job.url}/phase", ("PHASE", "RUN"))
    deadline = time.monotonic() + bench.profile.patience
    while (phase := bench.get(f"{job.url}/phase").text.strip()) != "ERROR":  # the document may fail
        if phase in documents.FINAL_PHASES or time.monotonic() > deadline:
            raise Skipped(f"no failed job to look at: {job.url} is {phase[:40]!r}")
        time.sleep(bench.profile.poll)
    reply = bench.get(job.url)
    expect(reply.status == 200, str(reply))
    return str(reply)


def error_summary_element(bench: Bench) -> etree._Element:
    """Return the errorSummary of the failed job."""
    element = documents.child(document(bench.failed()), "errorSummary")
    if element is None:
        raise Skipped("the failed job has no errorSummary")
    return element


@check("U-085", "SHOULD", "UWS 1.1 §2.2.2.5", "A failed job has an errorSummary.")
def error_summary(bench: Bench) -> str:
    expect(documents.child(document(bench.failed()), "errorSummary") is not None, "no errorSummary")
    return "present"


@check("U-084", "MUST", "UWS 1.1 §B", "errorSummary has the type transient or fatal, and hasDetail.")
def error_attributes(bench: Bench) -> str:
    element = error_summary_element(bench)
    expect(element.get("type") in ("transient", "fatal"), f"type is {element.get('type')!r}")
    expect(element.get("hasDetail") in ("true", "false", "0", "1"), f"hasDetail is {element.get('hasDetail')!r}")
    return str(element.get("type"))


@check("C-34", "TRAP", "Clients §pyvo", "errorSummary has a message.", "pyvo shows this and nothing else.")
def error_message(bench: Bench) -> str:
    text = documents.value(error_summary_element(bench), "message") or ""
    expect(text.strip(), "the message is empty")
    return text.strip()[:80]


@check("U-086", "MUST", "UWS 1.1 §2.2.2.5", 'hasDetail="true" means that error has text.')
def error_detail(bench: Bench) -> str:
    if error_summary_element(bench).get("hasDetail") not in ("true", "1"):
        raise Unsupported("hasDetail is false")
    reply = bench.get(f"{bench.failed().url}/error")
    expect(reply.status == 200 and reply.body, f"{reply}, {len(reply.body)} bytes")
    return f"{len(reply.body)} bytes"


@check("D-043", "MUST", "DALI 1.1 §4.2", "error of a failed job answers 200.")
def error_answers(bench: Bench) -> str:
    reply = bench.get(f"{bench.failed().url}/error")
    expect(reply.status == 200, str(reply))
    return str(reply)


def add_prefix_check(name: str, document: str) -> None:
    """Register the check of a namespace prefix."""

    @check(
        "C-01",
        "TRAP",
        "Clients §astroquery and pyvo",
        f"The {document} uses the prefix {name}.",
        "These clients know no namespaces.",
        name=f"prefix-{name}-{document}".replace(":", ""),
    )
    def uses_prefix(bench: Bench) -> str:
        text = (bench.completed().replies["get"] if document == "job" else bench.get(bench.list_url)).text
        expect(name in text, f"no {name} in the {document}")
        return name


add_prefix_check("uws:job", "job")
add_prefix_check("xlink:href", "job")
add_prefix_check("uws:jobref", "list")
