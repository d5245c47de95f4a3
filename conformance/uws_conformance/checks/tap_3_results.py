"""TAP 1.1 §2.3 and §3: asynchronous jobs, results, errors."""

from __future__ import annotations

from uws_conformance import documents, votable
from uws_conformance.bench import Bench, Job
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

SECTION = "TAP 1.1 §2.3"
EMPTY_QUERY = "SELECT column_name FROM TAP_SCHEMA.columns WHERE column_name='no such column'"


def run_job(bench: Bench, key: str, form: tuple[tuple[str, str], ...], phase: str) -> Job:
    """Return a job that ended in a phase."""

    def make() -> Job:
        job = bench.create_job(form)
        bench.post(f"{job.url}/phase", ("PHASE", "RUN"))
        bench.wait_for_phase(job, phase)
        return job

    return bench.share(key, make)


@check("T-020", "MUST", SECTION, "The result of a query is {job}/results/result, directly or by redirect.")
def result_name(bench: Bench) -> str:
    reply = bench.follow(bench.get(f"{bench.completed().url}/results/result"))
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("T-020", "MUST", SECTION, 'The list of results has the id "result".')
def result_listed(bench: Bench) -> str:
    result_ids = [result.get("id") for result in bench.get_xml(f"{bench.completed().url}/results")]
    expect("result" in result_ids, f"ids are {result_ids}")
    return "result"


@check("T-020", "MUST", SECTION, "A query without rows has a result too.")
def result_without_rows(bench: Bench) -> str:
    job = run_job(bench, "job without rows", (("LANG", "ADQL"), ("QUERY", EMPTY_QUERY)), "COMPLETED")
    reply = bench.follow(bench.get(f"{job.url}/results/result"))
    expect(reply.status == 200, str(reply))
    return f"columns {', '.join(votable.read(reply.body, reply.url).fields)}"


@check("D-024", "MUST", SECTION, "RESPONSEFORMAT governs the result of a job.")
def result_format(bench: Bench) -> str:
    form = (*bench.job_form("short"), ("RESPONSEFORMAT", "text/xml"))
    reply = bench.follow(bench.get(f"{run_job(bench, 'job with a format', form, 'COMPLETED').url}/results/result"))
    expect(reply.status == 200 and reply.media_type == "text/xml", f"{reply}, Content-Type {reply.media_type!r}")
    return reply.media_type


@check("D-025", "MUST", SECTION, "MAXREC governs the result of a job.")
def result_maxrec(bench: Bench) -> str:
    form = (("LANG", "ADQL"), ("QUERY", "SELECT TOP 5 column_name FROM TAP_SCHEMA.columns"), ("MAXREC", "2"))
    reply = bench.follow(bench.get(f"{run_job(bench, 'job with MAXREC', form, 'COMPLETED').url}/results/result"))
    expect(reply.status == 200, str(reply))
    document = votable.read(reply.body, reply.url)
    expect("OVERFLOW" in document.states, f"QUERY_STATUS is {document.states}")
    return "OVERFLOW"


@check("T-013", "MUST", "TAP 1.1 §2.7", "Bad parameters do not prevent the creation of a job.")
def created_with_bad_parameters(bench: Bench) -> str:
    reply = bench.create((("LANG", "nonsense"), ("QUERY", "DUFF"), ("MAXREC", "many")))
    expect(reply.status == 303, str(reply))
    return str(reply)


@check("T-013", "MUST", "TAP 1.1 §2.7", "A job with an unknown LANG becomes ERROR when it is run.")
def bad_parameters_fail(bench: Bench) -> str:
    form = (("LANG", "nonsense"), ("QUERY", "SELECT TOP 1 column_name FROM TAP_SCHEMA.columns"))
    bench.require_shared("job with an unknown LANG", lambda: run_job(bench, "job with an unknown LANG", form, "ERROR"))
    return "ERROR"


@check("T-021", "MUST", SECTION, "A failed query has its error document at {job}/error: 200, with a text.")
def error_document(bench: Bench) -> str:
    reply = bench.follow(bench.get(f"{bench.failed().url}/error"))
    expect(reply.status == 200 and reply.body.strip(), f"{reply}, {len(reply.body)} bytes")
    return f"{reply}, {reply.media_type}"


@check("T-021", "MUST", SECTION, "A failed query has no result: 404.")
def no_result_of_failed(bench: Bench) -> str:
    reply = bench.get(f"{bench.failed().url}/results/result")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("T-021", "MUST", SECTION, "An aborted query has no result: 404.")
def no_result_of_aborted(bench: Bench) -> str:
    reply = bench.get(f"{bench.aborted().url}/results/result")
    expect(reply.status == 404, str(reply))
    return str(reply)


@check("T-022", "SHOULD", "TAP 1.1 §3.3", "The error document is a VOTable, as clients of TAP 1.0 expect.")
def error_is_votable(bench: Bench) -> str:
    reply = bench.follow(bench.get(f"{bench.failed().url}/error"))
    expect(b"VOTABLE" in reply.body[:2000], f"{reply}, {reply.media_type}")
    document = votable.read(reply.body, reply.url)
    expect("ERROR" in document.states, f"QUERY_STATUS is {document.states}")
    return document.message[:80]


@check("T-024", "SHOULD", SECTION, "The quote of a query is an instant, such as now and the execution duration.")
def quote(bench: Bench) -> str:
    quote = documents.value(bench.pending().documents["get"], "quote")
    expect(quote, "quote is nil")
    documents.instant(str(quote))
    return str(quote)
