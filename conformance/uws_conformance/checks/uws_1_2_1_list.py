"""UWS 1.1 §2.1.1 and §2.2.2.1: the job list and its filters."""

from __future__ import annotations

import time
from urllib.parse import quote

from lxml import etree

from uws_conformance import documents
from uws_conformance.bench import Bench, Job
from uws_conformance.outcomes import expect
from uws_conformance.registry import check

AT = "UWS 1.1 §2.2.2.1"


def listing(see: Bench, query: str = "") -> list[etree._Element]:
    """The jobrefs of the list with a query."""
    root = see.xml(see.jobs + query)
    expect(root.tag == f"{{{documents.UWS}}}jobs", f"the root of the list is {root.tag}")
    return list(root.iterfind(f"{{{documents.UWS}}}jobref"))


def ids(see: Bench, query: str = "") -> list[str]:
    return [entry.get("id") or "" for entry in listing(see, query)]


def phases(see: Bench, query: str) -> set[str]:
    return {documents.value(entry, "phase") or "" for entry in listing(see, query)}


def name(job: Job) -> str:
    """The id in the URL."""
    return job.url.rstrip("/").rsplit("/", 1)[-1]


def three(see: Bench) -> list[Job]:
    """Three jobs, made one after another with pauses that a clock of milliseconds can tell apart."""

    def make() -> list[Job]:
        jobs = []
        for _ in range(3):
            jobs.append(see.new(see.kind("short")))
            time.sleep(0.02)
        return jobs

    return see.share("three pending jobs", make)


def created(see: Bench, job: Job) -> str:
    return see.share(f"creation time of {job.url}", lambda: documents.value(see.xml(job.url), "creationTime") or "")


@check("U-020", "MUST", AT, "GET of the job list answers 200.", "Serve the list at the URL that takes creating POSTs.")
def list_answers(see: Bench) -> str:
    reply = see.get(see.jobs)
    expect(reply.status == 200, str(reply))
    return str(reply)


@check("U-050", "MUST", AT, "The document element of the list is uws:jobs.")
def list_root(see: Bench) -> str:
    root = see.xml(see.jobs)
    expect(root.tag == f"{{{documents.UWS}}}jobs", f"the root is {root.tag}")
    return root.tag


@check("U-050", "MUST", AT, "Each jobref has an id and a phase that is one of the ten words.")
def jobref_parts(see: Bench) -> str:
    see.pending()
    entries = listing(see)
    expect(entries, "the list is empty after a job was made")
    for entry in entries:
        expect(entry.get("id"), "a jobref without id")
        expect(documents.value(entry, "phase") in documents.PHASES, f"phase {documents.value(entry, 'phase')!r}")
    return f"{len(entries)} jobs"


@check("U-051", "SHOULD", AT, "The list holds every job that the caller may see, the ones just made included.")
def list_has_new_jobs(see: Bench) -> str:
    wanted = [name(job) for job in three(see)]
    found = ids(see)
    missing = [one for one in wanted if one not in found]
    expect(not missing, f"not in the list: {', '.join(missing)}")
    return f"{len(found)} jobs"


@check("U-007", "MUST", "UWS 1.1 §2.2.1.1", 'The list has version="1.1".', "Without it clients take you for UWS 1.0.")
def list_version(see: Bench) -> str:
    version = see.xml(see.jobs).get("version")
    expect(version == "1.1", f"version is {version!r}")
    return f"version {version}"


@check("U-054", "MUST", AT, "ARCHIVED jobs are only listed when PHASE=ARCHIVED is asked for.")
def list_without_archived(see: Bench) -> str:
    for query in ("", "?LAST=1000", "?AFTER=2000-01-01T00:00:00Z"):
        expect("ARCHIVED" not in phases(see, query), f"ARCHIVED jobs in {see.jobs}{query}")
    return "none"


def by_phase(phase: str) -> None:
    @check("U-052", "SHOULD", AT, f"PHASE={phase} lists only jobs in that phase.", name=f"phase-{phase.lower()}")
    def only(see: Bench) -> str:
        see.pending(), see.aborted()
        found = phases(see, f"?PHASE={phase}")
        expect(found <= {phase}, f"PHASE={phase} also lists {', '.join(sorted(found - {phase}))}")
        return ", ".join(found) or "no job"


for _phase in documents.PHASES:
    by_phase(_phase)


@check("U-052", "SHOULD", AT, "PHASE=PENDING lists a job that is pending.")
def phase_includes_pending(see: Bench) -> str:
    expect(name(see.pending()) in ids(see, "?PHASE=PENDING"), f"{name(see.pending())} is not listed")
    return "listed"


@check("U-052", "SHOULD", AT, "PHASE=ABORTED lists a job that was aborted.")
def phase_includes_aborted(see: Bench) -> str:
    expect(name(see.aborted()) in ids(see, "?PHASE=ABORTED"), f"{name(see.aborted())} is not listed")
    return "listed"


@check("U-053", "SHOULD", AT, "PHASE twice is the union of both.")
def phase_union(see: Bench) -> str:
    wanted = {name(see.pending()), name(see.aborted())}
    found = ids(see, "?PHASE=PENDING&PHASE=ABORTED")
    expect(wanted <= set(found), f"not listed: {', '.join(wanted - set(found))}")
    return f"{len(found)} jobs"


@check("U-053", "SHOULD", AT, "PHASE twice lists no job in a third phase.")
def phase_union_only(see: Bench) -> str:
    see.pending()
    found = phases(see, "?PHASE=ABORTED&PHASE=ERROR")
    expect(found <= {"ABORTED", "ERROR"}, f"found {', '.join(sorted(found))}")
    return ", ".join(sorted(found)) or "no job"


@check("U-055", "SHOULD", AT, "AFTER leaves out jobs that were created before the instant.")
def after_excludes_older(see: Bench) -> str:
    first, second, _ = three(see)
    expect(name(first) not in ids(see, f"?AFTER={created(see, second)}"), "an older job is listed")
    return "left out"


@check(
    "U-055",
    "SHOULD",
    AT,
    "AFTER is strict: a job created at the instant itself is left out.",
    "Compare with >, not >=.",
)
def after_is_strict(see: Bench) -> str:
    job = three(see)[1]
    expect(name(job) not in ids(see, f"?AFTER={created(see, job)}"), f"AFTER={created(see, job)} lists that very job")
    return "left out"


@check("U-055", "SHOULD", AT, "AFTER lists jobs that were created later.")
def after_includes_newer(see: Bench) -> str:
    _, second, third = three(see)
    expect(name(third) in ids(see, f"?AFTER={created(see, second)}"), "a newer job is not listed")
    return "listed"


@check("U-055", "SHOULD", AT, "AFTER is understood without the Z and with microseconds.", "pyvo sends microseconds.")
def after_forms(see: Bench) -> str:
    third = name(three(see)[2])
    for text in ("2001-01-01T00:00:00", "2001-01-01T00:00:00.123456Z"):
        expect(third in ids(see, f"?AFTER={text}"), f"AFTER={text} does not list a new job")
    return "both forms"


@check("U-056", "SHOULD", AT, "LAST=n lists at most n jobs.")
def last_counts(see: Bench) -> str:
    three(see)
    found = ids(see, "?LAST=2")
    expect(len(found) == 2, f"LAST=2 lists {len(found)} jobs")
    return "2 jobs"


@check("U-056", "SHOULD", AT, "LAST=n lists the newest first.")
def last_is_ordered(see: Bench) -> str:
    three(see)
    times = [documents.value(entry, "creationTime") or "" for entry in listing(see, "?LAST=3")]
    expect(all(times), "jobrefs without creationTime")
    expect(
        [documents.instant(one) for one in times] == sorted(map(documents.instant, times), reverse=True),
        f"order {times}",
    )
    return "descending"


@check("U-056", "SHOULD", AT, "LAST=1 lists the newest job.")
def last_is_newest(see: Bench) -> str:
    job = see.new(see.kind("short"))
    found = ids(see, "?LAST=1")
    expect(found == [name(job)], f"LAST=1 lists {found}, the newest is {name(job)}")
    return found[0]


@check(
    "U-057", "AMBIG", AT, "PHASE with LAST gives the newest among the jobs of that phase.", "Filter first, then cut."
)
def phase_and_last(see: Bench) -> str:
    three(see)
    aborted = name(see.aborted())
    see.new(see.kind("short"))
    found = ids(see, "?PHASE=ABORTED&LAST=1")
    expect(len(found) == 1, f"{len(found)} jobs, {aborted} is ABORTED")
    return found[0]


@check("U-057", "SHOULD", AT, "PHASE with AFTER obeys both.")
def phase_and_after(see: Bench) -> str:
    see.pending(), see.aborted()
    expect("PENDING" not in phases(see, "?PHASE=ABORTED&AFTER=2001-01-01T00:00:00Z"), "pending jobs listed")
    expect(not ids(see, "?PHASE=ABORTED&AFTER=2999-01-01T00:00:00Z"), "jobs after the year 2999 listed")
    return "both"


@check("U-060", "MUST", "DALI 1.1 §3.1", "The filter names are case-insensitive: ?phase= works like ?PHASE=.")
def filter_name_case(see: Bench) -> str:
    see.pending()
    found = phases(see, "?phase=ABORTED")
    expect(found <= {"ABORTED"}, f"?phase=ABORTED lists {', '.join(sorted(found))}")
    return "case-insensitive"


def odd(query: str) -> None:
    @check(
        "U-059",
        "AMBIG",
        AT,
        f"The odd filter {query} is ignored or refused with 4xx, no server fault.",
        name=f"odd-{query}",
    )
    def filter(see: Bench) -> str:
        reply = see.get(f"{see.jobs}?{query}")
        expect(reply.status < 500, str(reply))
        return str(reply)


for _query in ("PHASE=nonsense", "LAST=-1", "LAST=x", "AFTER=x"):
    odd(_query)


@check("U-061", "TRAP", AT, "Each jobref has an absolute xlink:href to its job.", "pyvo and browsers follow it.")
def jobref_href(see: Bench) -> str:
    see.pending()
    for entry in listing(see, "?LAST=5"):
        href = entry.get(f"{{{documents.XLINK}}}href") or ""
        expect(href.startswith(("http://", "https://")), f"jobref {entry.get('id')} has xlink:href {href!r}")
    return "absolute"


@check("U-061", "TRAP", AT, "The jobref of a job leads to that job.")
def jobref_leads_to_job(see: Bench) -> str:
    job = see.pending()
    for entry in listing(see):
        if entry.get("id") == name(job):
            href = entry.get(f"{{{documents.XLINK}}}href") or f"{see.jobs}/{quote(name(job))}"
            found = documents.value(see.xml(href), "jobId")
            expect(found == name(job), f"{href} is job {found}")
            return href
    expect(False, f"{name(job)} is not in the list")
    return ""


@check("U-071", "SHOULD", AT, "Each jobref has a creationTime.", "Version 1.1 added it; LAST and AFTER go by it.")
def jobref_creation_time(see: Bench) -> str:
    see.pending()
    for entry in listing(see, "?LAST=5"):
        documents.instant(documents.value(entry, "creationTime") or "")
    return "present"


@check("U-076", "MUST", AT, "The list and the job document tell the same phase.")
def jobref_phase_agrees(see: Bench) -> str:
    job = see.aborted()
    for entry in listing(see, ""):
        if entry.get("id") == name(job):
            found = documents.value(entry, "phase")
            expect(found == see.phase(job), f"the list says {found}, the job {see.phase(job)}")
    return "the same"
