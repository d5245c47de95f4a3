"""UWS 1.1 §2.1.1 and §2.2.2.1: the job list."""

from __future__ import annotations

import time
from urllib.parse import quote

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench, Job
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

SECTION = "UWS 1.1 §2.2.2.1"


def jobrefs(bench: Bench, query: str = "") -> list[etree._Element]:
    """Return the jobrefs of the list."""
    root = bench.get_xml(bench.list_url + query)
    expect(root.tag == f"{{{documents.UWS}}}jobs", f"the root of the list is {root.tag}")
    return list(root.iterfind(f"{{{documents.UWS}}}jobref"))


def listed_ids(bench: Bench, query: str = "") -> list[str]:
    """Return the ids of the listed jobs."""
    return [entry.get("id") or "" for entry in jobrefs(bench, query)]


def listed_phases(bench: Bench, query: str) -> set[str]:
    """Return the phases of the listed jobs."""
    return {documents.value(entry, "phase") or "" for entry in jobrefs(bench, query)}


def job_id(job: Job) -> str:
    """Return the id at the end of the URL."""
    return job.url.rstrip("/").rsplit("/", 1)[-1]


def three_jobs(bench: Bench) -> list[Job]:
    """Return three jobs in the order of their creation.

    The pauses between them are long enough for a clock of milliseconds.
    """

    def make() -> list[Job]:
        jobs = []
        for _ in range(3):
            jobs.append(bench.create_job(bench.job_form("short")))
            time.sleep(0.02)
        return jobs

    return bench.share("three pending jobs", make)


def creation_time(bench: Bench, job: Job) -> str:
    """Return the job's creationTime."""
    return bench.share(
        f"creation time of {job.url}", lambda: documents.value(bench.get_xml(job.url), "creationTime") or ""
    )


@check(
    "U-020", "MUST", SECTION, "GET of the job list answers 200.", "Serve the list at the URL that takes creating POSTs."
)
def list_answers(bench: Bench) -> str:
    reply = bench.get(bench.list_url)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("U-050", "MUST", SECTION, "The document element of the list is uws:jobs.")
def list_root(bench: Bench) -> str:
    root = bench.get_xml(bench.list_url)
    expect(root.tag == f"{{{documents.UWS}}}jobs", f"the root is {root.tag}")
    return root.tag


@check("U-050", "MUST", SECTION, "Each jobref has an id and a phase that is one of the ten words.")
def jobref_parts(bench: Bench) -> str:
    bench.pending()
    entries = jobrefs(bench)
    expect(entries, "the list is empty after a job was made")
    for entry in entries:
        expect(entry.get("id"), "a jobref without id")
        expect(documents.value(entry, "phase") in documents.PHASES, f"phase {documents.value(entry, 'phase')!r}")
    return f"{len(entries)} jobs"


@check("U-051", "SHOULD", SECTION, "The list has every job that the caller may see, new ones included.")
def list_has_new_jobs(bench: Bench) -> str:
    expected_ids = [job_id(job) for job in three_jobs(bench)]
    job_ids = listed_ids(bench)
    missing = [expected_id for expected_id in expected_ids if expected_id not in job_ids]
    expect(not missing, f"not in the list: {', '.join(missing)}")
    return f"{len(job_ids)} jobs"


@check(
    "U-007",
    "MUST",
    "UWS 1.1 §2.2.1.1",
    'The list has version="1.1".',
    "Without it clients treat the server as UWS 1.0.",
)
def list_version(bench: Bench) -> str:
    version = bench.get_xml(bench.list_url).get("version")
    expect(version == "1.1", f"version is {version!r}")
    return f"version {version}"


@check("U-054", "MUST", SECTION, "ARCHIVED jobs are listed only with PHASE=ARCHIVED.")
def list_without_archived(bench: Bench) -> str:
    for query in ("", "?LAST=1000", "?AFTER=2000-01-01T00:00:00Z"):
        expect("ARCHIVED" not in listed_phases(bench, query), f"ARCHIVED jobs in {bench.list_url}{query}")
    return "none"


def add_phase_filter_check(phase: str) -> None:
    """Register the check of a phase filter."""

    @check("U-052", "SHOULD", SECTION, f"PHASE={phase} lists only jobs in that phase.", name=f"phase-{phase.lower()}")
    def lists_only_phase(bench: Bench) -> str:
        bench.pending(), bench.aborted()
        job_phases = listed_phases(bench, f"?PHASE={phase}")
        expect(job_phases <= {phase}, f"PHASE={phase} also lists {', '.join(sorted(job_phases - {phase}))}")
        return ", ".join(job_phases) or "no job"


for _phase in documents.PHASES:
    add_phase_filter_check(_phase)


@check("U-052", "SHOULD", SECTION, "PHASE=PENDING lists a job that is pending.")
def phase_includes_pending(bench: Bench) -> str:
    expect(job_id(bench.pending()) in listed_ids(bench, "?PHASE=PENDING"), f"{job_id(bench.pending())} is not listed")
    return "listed"


@check("U-052", "SHOULD", SECTION, "PHASE=ABORTED lists a job that was aborted.")
def phase_includes_aborted(bench: Bench) -> str:
    expect(job_id(bench.aborted()) in listed_ids(bench, "?PHASE=ABORTED"), f"{job_id(bench.aborted())} is not listed")
    return "listed"


@check("U-053", "SHOULD", SECTION, "PHASE twice is the union of both.")
def phase_union(bench: Bench) -> str:
    expected_ids = {job_id(bench.pending()), job_id(bench.aborted())}
    job_ids = listed_ids(bench, "?PHASE=PENDING&PHASE=ABORTED")
    expect(expected_ids <= set(job_ids), f"not listed: {', '.join(expected_ids - set(job_ids))}")
    return f"{len(job_ids)} jobs"


@check("U-053", "SHOULD", SECTION, "PHASE twice lists no job in a third phase.")
def phase_union_only(bench: Bench) -> str:
    bench.pending()
    job_phases = listed_phases(bench, "?PHASE=ABORTED&PHASE=ERROR")
    expect(job_phases <= {"ABORTED", "ERROR"}, f"found {', '.join(sorted(job_phases))}")
    return ", ".join(sorted(job_phases)) or "no job"


@check("U-055", "SHOULD", SECTION, "AFTER leaves out jobs that were created before the instant.")
def after_excludes_older(bench: Bench) -> str:
    first, second, _ = three_jobs(bench)
    expect(job_id(first) not in listed_ids(bench, f"?AFTER={creation_time(bench, second)}"), "an older job is listed")
    return "left out"


@check(
    "U-055",
    "SHOULD",
    SECTION,
    "AFTER is strict: a job created at the instant itself is left out.",
    "Compare with >, not >=.",
)
def after_is_strict(bench: Bench) -> str:
    job = three_jobs(bench)[1]
    expect(
        job_id(job) not in listed_ids(bench, f"?AFTER={creation_time(bench, job)}"),
        f"AFTER={creation_time(bench, job)} lists that very job",
    )
    return "left out"


@check("U-055", "SHOULD", SECTION, "AFTER lists jobs that were created later.")
def after_includes_newer(bench: Bench) -> str:
    _, second, third = three_jobs(bench)
    expect(job_id(third) in listed_ids(bench, f"?AFTER={creation_time(bench, second)}"), "a newer job is not listed")
    return "listed"


@check(
    "U-055", "SHOULD", SECTION, "AFTER is understood without the Z and with microseconds.", "pyvo sends microseconds."
)
def after_forms(bench: Bench) -> str:
    third = job_id(three_jobs(bench)[2])
    for text in ("2001-01-01T00:00:00", "2001-01-01T00:00:00.123456Z"):
        expect(third in listed_ids(bench, f"?AFTER={text}"), f"AFTER={text} does not list a new job")
    return "both forms"


@check("U-056", "SHOULD", SECTION, "LAST=n lists at most n jobs.")
def last_counts(bench: Bench) -> str:
    three_jobs(bench)
    job_ids = listed_ids(bench, "?LAST=2")
    expect(len(job_ids) == 2, f"LAST=2 lists {len(job_ids)} jobs")
    return "2 jobs"


@check("U-056", "SHOULD", SECTION, "LAST=n lists the newest first.")
def last_is_ordered(bench: Bench) -> str:
    three_jobs(bench)
    times = [documents.value(entry, "creationTime") or "" for entry in jobrefs(bench, "?LAST=3")]
    expect(all(times), "jobrefs without creationTime")
    expect(
        [documents.instant(time) for time in times] == sorted(map(documents.instant, times), reverse=True),
        f"order {times}",
    )
    return "descending"


@check("U-056", "SHOULD", SECTION, "LAST=1 lists the newest job.")
def last_is_newest(bench: Bench) -> str:
    job = bench.create_job(bench.job_form("short"))
    job_ids = listed_ids(bench, "?LAST=1")
    expect(job_ids == [job_id(job)], f"LAST=1 lists {job_ids}, the newest is {job_id(job)}")
    return job_ids[0]


@check(
    "U-057",
    "AMBIG",
    SECTION,
    "PHASE with LAST gives the newest among the jobs of that phase.",
    "Filter first, then cut.",
)
def phase_and_last(bench: Bench) -> str:
    three_jobs(bench)
    aborted_id = job_id(bench.aborted())
    bench.create_job(bench.job_form("short"))
    job_ids = listed_ids(bench, "?PHASE=ABORTED&LAST=1")
    expect(len(job_ids) == 1, f"{len(job_ids)} jobs, {aborted_id} is ABORTED")
    return job_ids[0]


@check("U-057", "SHOULD", SECTION, "PHASE with AFTER obeys both.")
def phase_and_after(bench: Bench) -> str:
    bench.pending(), bench.aborted()
    expect("PENDING" not in listed_phases(bench, "?PHASE=ABORTED&AFTER=2001-01-01T00:00:00Z"), "pending jobs listed")
    expect(not listed_ids(bench, "?PHASE=ABORTED&AFTER=2999-01-01T00:00:00Z"), "jobs after the year 2999 listed")
    return "both"


@check("U-060", "MUST", "DALI 1.1 §3.1", "The filter names are case-insensitive: ?phase= works like ?PHASE=.")
def filter_name_case(bench: Bench) -> str:
    bench.pending()
    job_phases = listed_phases(bench, "?phase=ABORTED")
    expect(job_phases <= {"ABORTED"}, f"?phase=ABORTED lists {', '.join(sorted(job_phases))}")
    return "case-insensitive"


def add_malformed_filter_check(query: str) -> None:
    """Register the check of a malformed filter."""

    @check(
        "U-059",
        "AMBIG",
        SECTION,
        f"The odd filter {query} is ignored or refused with 4xx, no server fault.",
        name=f"odd-{query}",
    )
    def answers_without_fault(bench: Bench) -> str:
        reply = bench.get(f"{bench.list_url}?{query}")
        expect(reply.status < 500, str(reply))
        return str(reply)


for _query in ("PHASE=nonsense", "LAST=-1", "LAST=x", "AFTER=x"):
    add_malformed_filter_check(_query)


@check("U-061", "TRAP", SECTION, "Each jobref has an absolute xlink:href to its job.", "pyvo and browsers follow it.")
def jobref_href(bench: Bench) -> str:
    bench.pending()
    for entry in jobrefs(bench, "?LAST=5"):
        href = entry.get(f"{{{documents.XLINK}}}href") or ""
        expect(href.startswith(("http://", "https://")), f"jobref {entry.get('id')} has xlink:href {href!r}")
    return "absolute"


@check("U-061", "TRAP", SECTION, "The jobref of a job leads to that job.")
def jobref_leads_to_job(bench: Bench) -> str:
    job = bench.pending()
    for entry in jobrefs(bench):
        if entry.get("id") == job_id(job):
            href = entry.get(f"{{{documents.XLINK}}}href") or f"{bench.list_url}/{quote(job_id(job))}"
            linked_id = documents.value(bench.get_xml(href), "jobId")
            expect(linked_id == job_id(job), f"{href} is job {linked_id}")
            return href
    expect(False, f"{job_id(job)} is not in the list")
    return ""


@check("U-071", "SHOULD", SECTION, "Each jobref has a creationTime.", "Version 1.1 added it; LAST and AFTER go by it.")
def jobref_creation_time(bench: Bench) -> str:
    bench.pending()
    for entry in jobrefs(bench, "?LAST=5"):
        documents.instant(documents.value(entry, "creationTime") or "")
    return "present"


@check("U-076", "MUST", SECTION, "The list and the job document have the same phase.")
def jobref_phase_agrees(bench: Bench) -> str:
    job = bench.aborted()
    for entry in jobrefs(bench, ""):
        if entry.get("id") == job_id(job):
            listed_phase = documents.value(entry, "phase")
            expect(listed_phase == bench.phase(job), f"the list says {listed_phase}, the job {bench.phase(job)}")
    return "the same"
