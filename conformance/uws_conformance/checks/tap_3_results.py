"""TAP 1.1 §2.3 and §3: the asynchronous jobs, their result and their error document."""

from __future__ import annotations

from uws_conformance import documents, votable
from uws_conformance.bench import Bench, Job
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

AT = "TAP 1.1 §2.3"
EMPTY = "SELECT column_name FROM TAP_SCHEMA.columns WHERE column_name='no such column'"


def ended(see: Bench, key: str, form: tuple[tuple[str, str], ...], phase: str) -> Job:
    """A job with these parameters, in its last phase."""

    def make() -> Job:
        job = see.new(form)
        see.post(f"{job.url}/phase", ("PHASE", "RUN"))
        see.until(job, phase)
        return job

    return see.share(key, make)


@check("T-020", "MUST", AT, "The result of a query is {job}/results/result, directly or by redirect.")
def result_name(see: Bench) -> str:
    reply = see.follow(see.get(f"{see.completed().url}/results/result"))
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("T-020", "MUST", AT, 'The list of results has the id "result".')
def result_listed(see: Bench) -> str:
    found = [one.get("id") for one in see.xml(f"{see.completed().url}/results")]
    expect("result" in found, f"ids are {found}")
    return "result"


@check("T-020", "MUST", AT, "A query without rows has a result too.")
def result_without_rows(see: Bench) -> str:
    job = ended(see, "job without rows", (("LANG", "ADQL"), ("QUERY", EMPTY)), "COMPLETED")
    reply = see.follow(see.get(f"{job.url}/results/result"))
    expect(reply.status == 200, str(reply))
    return f"columns {', '.join(votable.read(reply.body, reply.url).fields)}"


@check("D-024", "MUST", AT, "RESPONSEFORMAT governs the result of a job.")
def result_format(see: Bench) -> str:
    form = (*see.kind("short"), ("RESPONSEFORMAT", "text/xml"))
    reply = see.follow(see.get(f"{ended(see, 'job with a format', form, 'COMPLETED').url}/results/result"))
    expect(reply.status == 200 and reply.media_type == "text/xml", f"{reply}, Content-Type {reply.media_type!r}")
    return reply.media_type


@check("D-025", "MUST", AT, "MAXREC governs the result of a job.")
def result_maxrec(see: Bench) -> str:
    form = (("LANG", "ADQL"), ("QUERY", "SELECT TOP 5 column_name FROM TAP_SCHEMA.columns"), ("MAXREC", "2"))
    reply = see.follow(see.get(f"{ended(see, 'job with MAXREC', form, 'COMPLETED').url}/results/result"))
    expect(reply.status == 200, str(reply))
    found = votable.read(reply.body, reply.url)
    expect("OVERFLOW" in found.states, f"QUERY_STATUS is {found.states}")
    return "OVERFLOW"


@check("T-013", "MUST", "TAP 1.1 §2.7", "Bad parameters are no obstacle to the creation of a job.")
def created_with_bad_parameters(see: Bench) -> str:
    reply = see.create((("LANG", "nonsense"), ("QUERY", "DUFF"), ("MAXREC", "many")))
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("T-013", "MUST", "TAP 1.1 §2.7", "A job with an unknown LANG becomes ERROR when it is run.")
def bad_parameters_fail(see: Bench) -> str:
    form = (("LANG", "nonsense"), ("QUERY", "SELECT TOP 1 column_name FROM TAP_SCHEMA.columns"))
    see.prove("job with an unknown LANG", lambda: ended(see, "job with an unknown LANG", form, "ERROR"))
    return "ERROR"


@check("T-021", "MUST", AT, "A failed query has its error document at {job}/error: 200, with a text.")
def error_document(see: Bench) -> str:
    reply = see.follow(see.get(f"{see.failed().url}/error"))
    expect(reply.status == 200 and reply.body.strip(), f"{reply}, {len(reply.body)} bytes")
    return f"{reply}, {reply.media_type}"


@check("T-021", "MUST", AT, "A failed query has no result: 404.")
def no_result_of_failed(see: Bench) -> str:
    reply = see.get(f"{see.failed().url}/results/result")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("T-021", "MUST", AT, "An aborted query has no result: 404.")
def no_result_of_aborted(see: Bench) -> str:
    reply = see.get(f"{see.aborted().url}/results/result")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("T-022", "SHOULD", "TAP 1.1 §3.3", "The error document is a VOTable, as clients of TAP 1.0 expect.")
def error_is_votable(see: Bench) -> str:
    reply = see.follow(see.get(f"{see.failed().url}/error"))
    expect(b"VOTABLE" in reply.body[:2000], f"{reply}, {reply.media_type}")
    found = votable.read(reply.body, reply.url)
    expect("ERROR" in found.states, f"QUERY_STATUS is {found.states}")
    return found.message[:80]


@check("T-024", "SHOULD", AT, "The quote of a query is an instant, such as now and the execution duration.")
def quote(see: Bench) -> str:
    found = documents.value(see.pending().documents["get"], "quote")
    expect(found, "quote is nil")
    documents.instant(str(found))
    return str(found)
