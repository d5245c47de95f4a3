"""UWS 1.1 §2.2.2.2 and DALI 1.1 §4: results and errors, in the job document and at their own URLs."""

from __future__ import annotations

import time

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench
from uws_conformance.checks.uws_2_2_2_job import document
from uws_conformance.outcomes import Skipped, Unsupported, expect
from uws_conformance.registry import check


def reference(see: Bench) -> list[etree._Element]:
    found = list(see.xml(f"{see.completed().url}/results"))
    if not found:
        raise Skipped("the completed job has no results")
    return found


@check("U-081", "MUST", "UWS 1.1 §2.2.2.3", "Each result has an id of its own.")
def result_ids(see: Bench) -> str:
    found = [one.get("id") for one in reference(see)]
    expect(all(found) and len(set(found)) == len(found), f"ids are {found}")
    return ", ".join(map(str, found))


@check(
    "C-10",
    "TRAP",
    "Clients §pyvo",
    "Each result has an absolute xlink:href.",
    "pyvo resolves a relative one against the job's URL.",
)
def result_href(see: Bench) -> str:
    for one in reference(see):
        href = one.get(f"{{{documents.XLINK}}}href") or ""
        expect("://" in href, f"xlink:href of {one.get('id')} is {href!r}")
    return "absolute"


@check("D-041", "MUST", "DALI 1.1 §4.1", "Each result can be fetched, directly or by redirect.")
def results_fetched(see: Bench) -> str:
    for one in reference(see)[:5]:
        reply = see.get(one.get(f"{{{documents.XLINK}}}href") or "")
        expect(reply.status in (200, 302, 303, 307), str(reply))
    return "200"


@check("U-081", "MUST", "UWS 1.1 §2.2.2.3", "size of a result is its number of bytes.")
def result_size(see: Bench) -> str:
    for one in reference(see)[:5]:
        size = one.get("size")
        reply = see.get(one.get(f"{{{documents.XLINK}}}href") or "")
        expect(
            reply.status != 200 or size is None or int(size) == len(reply.body),
            f"size {size}, got {len(reply.body)} bytes",
        )
    return "equal"


@check("U-081", "MUST", "UWS 1.1 §2.2.2.3", "mime-type of a result is its Content-Type.")
def result_type(see: Bench) -> str:
    for one in reference(see)[:5]:
        told = (one.get("mime-type") or "").partition(";")[0].strip().lower()
        reply = see.get(one.get(f"{{{documents.XLINK}}}href") or "")
        expect(
            reply.status != 200 or not told or told == reply.media_type,
            f"mime-type {told}, Content-Type {reply.media_type}",
        )
    return "equal"


@check("D-042", "MUST", "DALI 1.1 §4.2", "An unknown result answers 404.")
def unknown_result(see: Bench) -> str:
    reply = see.get(f"{see.completed().url}/results/no-such-result")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("D-042", "MUST", "DALI 1.1 §4.2", "error of a job without error answers 404.")
def no_error(see: Bench) -> str:
    reply = see.get(f"{see.completed().url}/error")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("U-003", "MUST", "UWS 1.1 §2.2", "The document of a failed job answers 200: the job failed, not the service.")
def failed_answers(see: Bench) -> str:
    job = see.new(see.kind("failing"))
    see.post(f"{job.url}/phase", ("PHASE", "RUN"))
    deadline = time.monotonic() + see.profile.patience
    while (phase := see.get(f"{job.url}/phase").text.strip()) != "ERROR":  # the document may not answer
        if phase in documents.FINAL or time.monotonic() > deadline:
            raise Skipped(f"no failed job to look at: {job.url} is {phase[:40]!r}")
        time.sleep(see.profile.poll)
    reply = see.get(job.url)
    expect(reply.status == 200, str(reply))
    return str(reply)


def summary(see: Bench) -> etree._Element:
    found = documents.child(document(see.failed()), "errorSummary")
    if found is None:
        raise Skipped("the failed job has no errorSummary")
    return found


@check("U-085", "SHOULD", "UWS 1.1 §2.2.2.5", "A failed job has an errorSummary.")
def error_summary(see: Bench) -> str:
    expect(documents.child(document(see.failed()), "errorSummary") is not None, "no errorSummary")
    return "present"


@check("U-084", "MUST", "UWS 1.1 §B", "errorSummary has the type transient or fatal, and hasDetail.")
def error_attributes(see: Bench) -> str:
    found = summary(see)
    expect(found.get("type") in ("transient", "fatal"), f"type is {found.get('type')!r}")
    expect(found.get("hasDetail") in ("true", "false", "0", "1"), f"hasDetail is {found.get('hasDetail')!r}")
    return str(found.get("type"))


@check("C-34", "TRAP", "Clients §pyvo", "errorSummary has a message.", "pyvo shows this and nothing else.")
def error_message(see: Bench) -> str:
    text = documents.value(summary(see), "message") or ""
    expect(text.strip(), "the message is empty")
    return text.strip()[:80]


@check("U-086", "MUST", "UWS 1.1 §2.2.2.5", 'hasDetail="true" means that error has text.')
def error_detail(see: Bench) -> str:
    if summary(see).get("hasDetail") not in ("true", "1"):
        raise Unsupported("hasDetail is false")
    reply = see.get(f"{see.failed().url}/error")
    expect(reply.status == 200 and reply.body, f"{reply}, {len(reply.body)} bytes")
    return f"{len(reply.body)} bytes"


@check("D-043", "MUST", "DALI 1.1 §4.2", "error of a failed job answers 200.")
def error_answers(see: Bench) -> str:
    reply = see.get(f"{see.failed().url}/error")
    expect(reply.status == 200, str(reply))
    return str(reply)


def prefix(word: str, where: str) -> None:
    @check(
        "C-01",
        "TRAP",
        "Clients §astroquery and pyvo",
        f"The {where} uses the prefix {word}.",
        "These clients know no namespaces.",
        name=f"prefix-{word}-{where}".replace(":", ""),
    )
    def used(see: Bench) -> str:
        text = (see.completed().replies["get"] if where == "job" else see.get(see.jobs)).text
        expect(word in text, f"no {word} in the {where}")
        return word


prefix("uws:job", "job")
prefix("xlink:href", "job")
prefix("uws:jobref", "list")
