"""Mutants of the TAP and SODA services.

Importing this module adds them to ``MUTANTS``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from faces import Refused, Soda, Tap, single_value
from mutation import JOB, MUTANTS, method, on, posts, says, status, swap, typed, when
from reference import Reference
from reference_documents import Answer, Job, Pairs, Request

FIRST = len(MUTANTS)
CAPABILITIES = ("GET", "/capabilities")

# Capabilities of TAP.
on("tap-undeclared", *CAPABILITIES, swap('ivoa.net/std/TAP"', 'ivoa.net/std/other"'))
on("tap-declared-twice", *CAPABILITIES, swap(r"(<capability standardID=\"[^\"]*/TAP\".*?</capability>)", r"\1\1"))
on(
    "tap-browser-interface",
    *CAPABILITIES,
    swap('vs:ParamHTTP" role="std" version', 'vr:WebBrowser" role="std" version'),
)
on("tap-no-version", *CAPABILITIES, swap(' version="1.1"', ""))
on("tap-url-of-sync", *CAPABILITIES, swap(r'(use="base">[^<]*)<', r"\1/sync<"))
on("tap-use-full", *CAPABILITIES, swap('use="base"', 'use="full"'))
on("tap-plain-capability", *CAPABILITIES, swap(' xsi:type="tr:TableAccess"', ""))
on("tap-no-language", *CAPABILITIES, swap("<language>.*</language>", ""))
on("tap-no-formats", *CAPABILITIES, swap("<outputFormat>.*</outputFormat>", ""))
on("tap-adql-id", *CAPABILITIES, swap("std/ADQL#v2.1", "std/SQL#v92"))
on("tap-upload-by-ftp", *CAPABILITIES, swap("upload-inline", "upload-ftp"))
on("tap-feature-id", *CAPABILITIES, swap("features-adqlgeo", "adqlgeo"))

# Tables and examples.
on("tables-404", "GET", "/tables", status(404))
on("tables-wrong-root", "GET", "/tables", swap("v:tableset", "v:tables"))
on("tables-qualified", "GET", "/tables", swap(r"(</?)schema>", r"\1v:schema>"))
on("tables-unnamed", "GET", "/tables", swap("<table><name>[^<]*</name>", "<table>"))
on("tables-columns-unnamed", "GET", "/tables", swap("<column><name>[^<]*</name>", "<column>"))
on("table-404", "GET", "/tables/TAP_SCHEMA.*", status(404))
on("table-as-tableset", "GET", "/tables/TAP_SCHEMA.*", swap("v:table", "v:tableset"))
on("table-without-columns", "GET", "/tables/TAP_SCHEMA.*", swap("<column>.*</column>", ""))
on("table-of-another-name", "GET", "/tables/TAP_SCHEMA.*", swap("<name>TAP_SCHEMA", "<name>OTHER"))
on("tables-detail-400", "GET", "/tables", status(400), query="detail")
on("unknown-table-200", "GET", "/tables/no_such.*", status(200))
on("examples-without-query", "GET", "/examples", swap('property="query"', 'property="sql"'))
on("examples-json", "GET", "/examples", typed("application/json"))

# Queries.
on("tap-sync-500", "POST", "/sync", status(500))
on("tap-sync-no-votable", "POST", "/sync", says("<table/>"), body="VOTABLE")
on("tap-errors-500", "POST", "/sync", status(500), body='value="ERROR"')
on("tap-errors-200-ok", "POST", "/sync", lambda a: swap('"ERROR"', '"OK"')(status(200)(a)), body='value="ERROR"')
on("tap-error-status-oops", "POST", "/sync", swap('"ERROR"', '"OOPS"'), body='value="ERROR"')
on("tap-error-plain", "POST", "/sync", lambda a: typed("text/plain")(says("no")(a)), body='value="ERROR"')
on("tap-error-prefixed", "POST", "/sync", swap(r"(</?)(?=[A-Z])", r"\1v:"), body='value="ERROR"')
on("tap-error-without-text", "POST", "/sync", swap(r">[^<]*</INFO>", "/>"), body='value="ERROR"')
MUTANTS[-2] = replace(
    MUTANTS[-2],
    rewrite=lambda request, answer: (
        says(re.sub(r"(</?)(?=[A-Z])", r"\1v:", answer.body).replace("xmlns=", "xmlns:v="))(answer)
        if request.path == "/sync" and 'value="ERROR"' in answer.body
        else answer
    ),
)
method("tap-any-language", language=lambda self, form: None)
when(
    "tap-duff-query-200",
    posts("QUERY", "DUFF QUERY"),
    lambda answer: status(200)(swap('"ERROR"', '"OK"')(answer)),
)
on("tap-default-type-plain", "POST", "/sync", typed("text/plain"), body="<TABLE>")


def formats(**changes: Any) -> Any:
    return lambda self, form: changes.get(single_value(form, "RESPONSEFORMAT"), Tap.format(self, form))


for _name in ("csv", "tsv"):
    method(f"tap-{_name}-is-votable", format=formats(**{_name: "votable"}))
method("tap-format-ignored", format=lambda self, form: "votable")
method("tap-votable-is-csv", format=formats(votable="csv"))
method("tap-FORMAT-is-csv", format=lambda self, form: "csv" if single_value(form, "FORMAT") else Tap.format(self, form))
method("tap-type-not-kept", format=formats(**{"text/xml": "votable"}))


def counts(change: Any) -> Any:
    return lambda self, form: change(self, form, single_value(form, "MAXREC"))


method("tap-maxrec-ignored", limit=lambda self, form: self.cap)
method("tap-maxrec-zero-ignored", limit=counts(lambda self, form, n: self.cap if n == "0" else Tap.limit(self, form)))
method("tap-maxrec-lenient", limit=counts(lambda self, form, n: int(n) if n.isdigit() else self.cap))
method(
    "tap-maxrec-first-of-two",
    limit=lambda self, form: int(next((v for k, v in form if k.upper() == "MAXREC"), self.cap)),
)
method("tap-maxrec-one-more", limit=lambda self, form: Tap.limit(self, form) + 1)
method(
    "tap-maxrec-upper-only",
    limit=lambda self, form: Tap.limit(self, [pair for pair in form if pair[0] == "MAXREC"]),
)


def marks(cut: Any) -> Any:
    return lambda self, format, names, rows, was: Tap.write(self, format, names, rows, cut(rows, was))


method("tap-no-mark", write=marks(lambda rows, was: False))
method("tap-always-marked", write=marks(lambda rows, was: True))
on("tap-mark-between", "POST", "/sync", swap(r"(<TABLE>)(.*)(<INFO [^>]*OVERFLOW[^>]*>)", r"\3\1\2"))
on("tap-no-status", "POST", "/sync", swap('<INFO name="QUERY_STATUS" value="OK"/>', ""))
on("tap-old-votable", "POST", "/sync", swap('version="1.3"', 'version="1.1"'))
on("tap-two-results", "POST", "/sync", swap("</RESOURCE>", '</RESOURCE><RESOURCE type="results"/>'))
on("tap-nothing-more", "POST", "/sync", swap('<INFO name="standardID"[^>]*>', ""))


def sorted_columns(self: Tap, form: Pairs, files: dict[str, bytes]) -> tuple[list[str], list[list[str]]]:
    names, rows = Tap.rows(self, form, files)
    order = sorted(range(len(names)), key=lambda number: names[number])
    return [names[n] for n in order], [[row[n] for n in order] for row in rows]


method("tap-columns-sorted", rows=sorted_columns)
method("tap-columns-same-name", generated=lambda self, number: "expr")
when("tap-request-400", posts("REQUEST"), lambda answer: Answer(400, "REQUEST?"))
when("tap-unknown-400", posts("ZZZ_UNKNOWN"), lambda answer: Answer(400, "ZZZ?"))
method("tap-upload-shouts", uploaded=lambda self, *args: (Tap.uploaded(self, *args)[0], [["1", "ONE"]]))
method("tap-upload-any-name", names_of_uploads=lambda self, form, files: None)
method("tap-upload-part-missing", uploaded=lambda self, *args: (["ra"], []), names_of_uploads=lambda self, *args: None)
method("tap-upload-one-only", upload_list=lambda self, form: [v for k, v in form if k.upper() == "UPLOAD"][:1])

# Jobs of TAP.
on("tap-result-404", "GET", f"{JOB}/results/result", status(404))
method(
    "tap-result-other-id",
    results=lambda self, job, root="": Reference.results(self, job, root).replace('"result"', '"table"'),
)


def no_empty_result(self: Tap, request: Request, job: Job, child: str, path: list[str]) -> Answer:
    answer = Tap.answer_child(self, request, job, child, path)
    return Answer(404) if child == "results" and path and "<TR>" not in answer.body else answer


method("tap-empty-result-404", answer_child=no_empty_result)


def without(name: str) -> Any:
    """Make jobs ignore a parameter."""

    def advance(self: Tap, job: Job) -> None:
        job.parameters = [pair for pair in job.parameters if pair[0] != name]
        Tap.advance(self, job)

    return advance


method("tap-jobs-without-format", advance=without("RESPONSEFORMAT"))
method("tap-jobs-without-maxrec", advance=without("MAXREC"))
when("tap-creation-judges", posts("LANG", "nonsense"), lambda answer: Answer(400, "LANG?"))
on("tap-error-404", "GET", f"{JOB}/error", status(404))
on("tap-error-empty", "GET", f"{JOB}/error", says(""))
on("tap-job-error-plain", "GET", f"{JOB}/error", says("it failed"))
on("tap-job-error-ok", "GET", f"{JOB}/error", swap('"ERROR"', '"OK"'))
on("tap-results-of-all", "GET", f"{JOB}/results/result", status(200))
on("tap-quote-nil", "GET", JOB, swap("<uws:quote>.*</uws:quote>", '<uws:quote xsi:nil="true"/>'))
MUTANTS[FIRST:] = [replace(mutant, face="tap") for mutant in MUTANTS[FIRST:]]
SECOND = len(MUTANTS)

# SODA.
on("soda-undeclared", *CAPABILITIES, swap("SODA#async", "SODA#sync"))
on(
    "soda-elsewhere",
    *CAPABILITIES,
    swap("/async</accessURL></interface></capability></v:", "/a</accessURL></interface></capability></v:"),
)
on("soda-no-version", *CAPABILITIES, swap(' version="1.0"', ""))


def refuses(name: str) -> Any:
    def answers(self: Soda, form: Pairs) -> list[Answer]:
        if any(key.upper() == name for key, _ in form):
            raise Refused(f"UsageError: no {name}")
        return Soda.answers(self, form)

    return answers


for _name in ("CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL"):
    method(f"soda-no-{_name.lower()}", answers=refuses(_name))


def reads_all(self: Soda, circle: str) -> Answer:
    return Soda.cutout(self, "10 10 1") if "ten" in circle else Soda.cutout(self, circle)


def first_only(self: Soda, form: Pairs) -> list[Answer]:
    return Soda.answers(self, form)[:1]


def several_fail(self: Soda, form: Pairs) -> list[Answer]:
    if sum(key.upper() == "CIRCLE" for key, _ in form) > 1:
        raise Refused("Error: no")
    return Soda.answers(self, form)


def leaves_out_empty(self: Soda, form: Pairs) -> list[Answer]:
    return [answer for answer in Soda.answers(self, form) if not answer.body.startswith("Error")]


def refuses_wide(self: Soda, circle: str) -> Answer:
    return Answer(200, "Error: too wide") if circle.endswith(" 60") else Soda.cutout(self, circle)


method("soda-reads-anything", cutout=reads_all)
method("soda-first-circle-only", answers=first_only)
method("soda-several-fail", answers=several_fail)
method("soda-empty-left-out", answers=leaves_out_empty)
method("soda-wide-refused", cutout=refuses_wide)
on("soda-empty-is-fits", "GET", f"{JOB}/results/\\w+", typed("application/fits"), body="Error")
on("soda-empty-without-label", "GET", f"{JOB}/results/\\w+", says("nothing there"), body="Error")
when("soda-sync-empty-200", lambda _, answer: answer.status == 204, status(200))
on("soda-sync-error-html", "GET", "/sync", says("<html>"), body="UsageError")
MUTANTS[SECOND:] = [replace(mutant, face="soda") for mutant in MUTANTS[SECOND:]]
