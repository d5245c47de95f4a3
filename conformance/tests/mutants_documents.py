"""Mutants with wrong resources, lists or job documents.

Importing this module adds them to ``MUTANTS``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

from mutation import JOB, LIST, on, override, when, with_body, with_header, with_status, with_substitution, with_type
from reference import Reference

# Resources that fail or have the wrong type.
for child in ("phase", "executionduration", "destruction", "quote", "owner", "results", "parameters"):
    on(f"{child}-500", "GET", f"{JOB}/{child}", with_status(500))
    on(f"{child}-json", "GET", f"{JOB}/{child}", with_type("application/json"))
    on(f"{child}-of-unknown-200", "GET", f"{LIST}/no-such-job-5b1d0c/{child}", with_status(200))
for child in ("phase", "executionduration", "destruction", "quote", "owner"):
    on(f"{child}-other-value", "GET", f"{JOB}/{child}", with_body("other"))
    on(f"{child}-deletable", "DELETE", f"{JOB}/{child}", with_status(200))
for child in ("results", "parameters"):
    on(f"{child}-deletable", "DELETE", f"{JOB}/{child}", with_status(204))
    on(f"{child}-no-ids", "GET", f"{JOB}/{child}", with_substitution(r' id="[^"]*"', ""))
    on(
        f"{child}-empty-list",
        "GET",
        f"{JOB}/{child}",
        with_substitution(r"<uws:(result|parameter) .*(/>|</uws:parameter>)", ""),
    )
    on(f"{child}-wrong-root", "GET", f"{JOB}/{child}", with_substitution(f"uws:{child}", "uws:job"))
on("unknown-job-200", "GET", f"{LIST}/no-such-job-5b1d0c", with_status(200))
on("unknown-child-200", "GET", f"{JOB}/no-such-child", with_status(200))
on("unknown-delete-303", "DELETE", f"{LIST}/no-such-job-5b1d0c", with_status(303))
on("unknown-run-303", "POST", f"{LIST}/no-such-job-5b1d0c/phase", with_status(303))
on("unknown-result-200", "GET", f"{JOB}/results/no-such-result", with_status(200))
on("unknown-resource-200", "GET", "/no-such-resource-5b1d0c", with_status(200))
on("results-post-303", "POST", f"{JOB}/results", with_status(303))
on("results-put-200", "PUT", f"{JOB}/results", with_status(200))
on("list-put-501", "PUT", LIST, with_status(501))
on("405-without-allow", "PUT", LIST, with_header("Allow", ""))
on("list-no-head", "HEAD", LIST, with_status(405))
on("job-no-head", "HEAD", JOB, with_status(405))
when("list-slash-404", lambda request, _: request.method == "GET" and request.path == "/async/", with_status(404))
when("create-slash-301", lambda request, _: request.method == "POST" and request.path == "/async/", with_status(301))
on("error-404", "GET", f"{JOB}/error", with_status(404))
on("error-empty", "GET", f"{JOB}/error", with_body(""))
on("error-always", "GET", f"{JOB}/error", with_status(200))

# The list.
on("list-500", "GET", LIST, with_status(500))
on("list-json", "GET", LIST, with_type("application/json"))
on("list-html-for-anything", "GET", LIST, with_type("text/html"))
on("list-no-version", "GET", LIST, with_substitution(r' version="1.1"', ""))
on("list-wrong-root", "GET", LIST, with_substitution("uws:jobs", "uws:list"))
on("list-no-ids", "GET", LIST, with_substitution(r' id="\w+"', ""))
on("list-unknown-phase", "GET", LIST, with_substitution(">PENDING<", ">WAITING<"))
on("list-phase-lags", "GET", LIST, with_substitution(">ABORTED<", ">EXECUTING<"))
on("list-relative-href", "GET", LIST, with_substitution(r'xlink:href="[^"]*/', 'xlink:href="'))
on("list-foreign-href", "GET", LIST, with_substitution(r'xlink:href="([^"]*)/\w+"', r'xlink:href="\1/none"'))
on("list-no-creation-time", "GET", LIST, with_substitution(r"<uws:creationTime>[^<]*</uws:creationTime>", ""))
on(
    "list-out-of-order",
    "GET",
    LIST,
    with_substitution(r"(<uws:phase>\w+</uws:phase>)(<uws:ownerId>\w+</uws:ownerId>)", r"\2\1"),
)
on(
    "list-prefix",
    "GET",
    LIST,
    lambda answer: replace(answer, body=answer.body.replace("xmlns:uws", "xmlns:u").replace("uws:", "u:")),
)
on("list-shows-archived", "GET", LIST, with_substitution(">PENDING<", ">ARCHIVED<"), query="^$|LAST|AFTER")
for odd in ("PHASE=nonsense", "LAST=-1", "LAST=x", "AFTER=x"):
    on(f"list-{odd}-500", "GET", LIST, with_status(500), query=f"^{odd}$")
override(
    "list-of-old-jobs",
    select_jobs=lambda self, request: sorted(
        [job for job in self.jobs.values() if job.owner == request.caller], key=lambda job: job.created
    )[:1],
)
override("phase-filter-ignored", filter_by_phase=lambda self, jobs, phases: jobs)
override(
    "phase-filter-first-only",
    filter_by_phase=lambda self, jobs, phases: [job for job in jobs if job.phase == phases[0]],
)
override("phase-filter-empty", filter_by_phase=lambda self, jobs, phases: [])
for word in "PENDING QUEUED EXECUTING COMPLETED ERROR ABORTED UNKNOWN HELD SUSPENDED ARCHIVED".split():
    override(
        f"phase-filter-{word.lower()}-ignored",
        filter_by_phase=lambda self, jobs, phases, word=word: (
            jobs if phases == [word] else Reference.filter_by_phase(self, jobs, phases)
        ),
    )
override("after-ignored", filter_by_after=lambda self, jobs, after: jobs)
override(
    "after-inclusive",
    filter_by_after=lambda self, jobs, after: (
        [job for job in jobs if job.created >= datetime.fromisoformat(after.replace("Z", "")).replace(tzinfo=UTC)]
        if after[0] == "2"
        else jobs
    ),
)
override("after-empty", filter_by_after=lambda self, jobs, after: [])
on("after-needs-z", "GET", LIST, with_status(400), query=r"AFTER=[^&]*\d$")
override("last-ignored", filter_by_last=lambda self, jobs, last: jobs)
override(
    "last-ascending", filter_by_last=lambda self, jobs, last: list(reversed(Reference.filter_by_last(self, jobs, last)))
)
override("last-oldest", filter_by_last=lambda self, jobs, last: jobs[-int(last) :] if last.isdigit() else jobs)
override(
    "last-before-phase",
    select_jobs=lambda self, request: [
        job
        for job in Reference.select_jobs(
            self, replace(request, query=[pair for pair in request.query if pair[0] != "PHASE"])
        )
        if not request.query_value("PHASE") or job.phase in [v for k, v in request.query if k.upper() == "PHASE"]
    ],
)
override(
    "filter-names-upper-only",
    select_jobs=lambda self, request: Reference.select_jobs(
        self, replace(request, query=[pair for pair in request.query if pair[0].isupper()])
    ),
)

# The job document.
on("job-500", "GET", JOB, with_status(500))
on("job-404", "GET", JOB, with_status(404))
on("job-json", "GET", JOB, with_type("application/json"))
on("job-no-version", "GET", JOB, with_substitution(r' version="1.1"', ""))
on("job-wrong-namespace", "GET", JOB, with_substitution("UWS/v1.0", "UWS/v1.1"))
on(
    "job-prefix",
    "GET",
    JOB,
    lambda answer: replace(answer, body=answer.body.replace("xmlns:uws", "xmlns:u").replace("uws:", "u:")),
)
on(
    "job-xlink-prefix",
    "GET",
    JOB,
    lambda answer: replace(answer, body=answer.body.replace("xmlns:xlink", "xmlns:x").replace("xlink:", "x:")),
)
on("job-id-other", "GET", JOB, with_substitution(r"<uws:jobId>", "<uws:jobId>x"))
on("job-id-escaped", "GET", JOB, with_substitution(r"<uws:jobId>", "<uws:jobId>a b"))
on("job-no-creation-time", "GET", JOB, with_substitution(r"<uws:creationTime>[^<]*</uws:creationTime>", ""))
on("job-offset-dates", "GET", JOB, with_substitution(r"Z</uws:", "+00:00</uws:"))
on("job-no-fractions", "GET", JOB, with_substitution(r"\.\d+Z</uws:", "Z</uws:"))
for element in ("quote", "creationTime", "startTime", "endTime", "destruction"):
    on(f"job-{element}-without-z", "GET", JOB, with_substitution(rf"Z</uws:{element}>", f"</uws:{element}>"))
for element in ("startTime", "endTime", "ownerId", "executionDuration", "destruction"):
    on(f"job-no-{element}", "GET", JOB, with_substitution(rf"<uws:{element}.*?(/>|</uws:{element}>)", ""))
    on(
        f"job-empty-{element}",
        "GET",
        JOB,
        with_substitution(rf"<uws:{element}.*?(/>|</uws:{element}>)", f"<uws:{element}></uws:{element}>"),
    )
on(
    "job-times-swapped",
    "GET",
    JOB,
    with_substitution(r"<uws:startTime>[^<]*<", "<uws:startTime>2001-01-01T00:00:00.000Z<"),
)
on(
    "job-end-while-running",
    "GET",
    JOB,
    with_substitution(r'<uws:endTime xsi:nil="true"/>', "<uws:endTime>2001-01-01T00:00:00.000Z</uws:endTime>"),
)
on(
    "job-start-while-pending",
    "GET",
    JOB,
    with_substitution(r'<uws:startTime xsi:nil="true"/>', "<uws:startTime>2001-01-01T00:00:00.000Z</uws:startTime>"),
    body=">PENDING<",
)
on(
    "job-never-started",
    "GET",
    JOB,
    with_substitution(r"<uws:startTime>[^<]*</uws:startTime>", '<uws:startTime xsi:nil="true"/>'),
)
on(
    "job-never-ended",
    "GET",
    JOB,
    with_substitution(r"<uws:endTime>[^<]*</uws:endTime>", '<uws:endTime xsi:nil="true"/>'),
)
on("job-duration-huge", "GET", JOB, with_substitution(r"<uws:executionDuration>", "<uws:executionDuration>99999999"))
on(
    "job-out-of-order",
    "GET",
    JOB,
    with_substitution(r"(<uws:jobId>.*</uws:ownerId>)(<uws:phase>\w+</uws:phase>)", r"\2\1"),
)
for word in ("PENDING", "EXECUTING", "COMPLETED", "ERROR", "ABORTED"):
    on(
        f"job-{word.lower()}-invalid",
        "GET",
        JOB,
        with_substitution("</uws:job>", "<uws:extra/></uws:job>"),
        body=f">{word}<",
    )
    on(f"job-{word.lower()}-unreadable", "GET", JOB, with_substitution("</uws:job>", ""), body=f">{word}<")
    on(f"job-{word.lower()}-is-500", "GET", JOB, with_status(500), body=f">{word}<")
on("job-other-parameters", "GET", JOB, with_substitution(r">short</uws:parameter>", ">long</uws:parameter>"))
on("job-other-results", "GET", JOB, with_substitution(r'id="result"', 'id="other"'))
on("parameters-changed", "GET", f"{JOB}/parameters", with_substitution(">short<", ">SHORT?<"))
override("parameters-lost", parameters=lambda self, job, root="": f"<uws:parameters{root}/>")
override(
    "results-twice",
    results=lambda self, job, root="": re.sub(r"(<uws:result .*?/>)", r"\1\1", Reference.results(self, job, root)),
)
override(
    "results-relative",
    results=lambda self, job, root="": re.sub(
        r'href="[^"]*/results', 'href="results', Reference.results(self, job, root)
    ),
)
override(
    "results-wrong-size",
    results=lambda self, job, root="": Reference.results(self, job, root).replace('size="5"', 'size="7"'),
)
override(
    "results-wrong-type",
    results=lambda self, job, root="": Reference.results(self, job, root).replace("text/plain", "image/fits"),
)
on("result-410", "GET", f"{JOB}/results/result", with_status(410))
on("no-error-summary", "GET", JOB, with_substitution("<uws:errorSummary.*</uws:errorSummary>", ""))
on("error-type-other", "GET", JOB, with_substitution('type="fatal"', 'type="deadly"'))
on("error-message-empty", "GET", JOB, with_substitution("it failed", ""))
on("cacheable", "GET", JOB, with_header("Cache-Control", "max-age=60"))
on("phase-newline", "GET", f"{JOB}/phase", lambda answer: replace(answer, body=answer.body + "\n"))
on("phase-unknown-word", "GET", f"{JOB}/phase", with_body("WAITING"))
