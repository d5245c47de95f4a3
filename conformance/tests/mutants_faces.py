"""Mutants of the TAP and SODA services.

Importing this module adds them to ``MUTANTS``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from faces import Refused, Soda, Tap, single_value
from mutation import (
    JOB,
    MUTANTS,
    has_form_field,
    on,
    override,
    when,
    with_body,
    with_status,
    with_substitution,
    with_type,
)
from reference import Reference
from reference_documents import Answer, Job, Pairs, Request

FIRST_TAP_MUTANT = len(MUTANTS)
CAPABILITIES = ("GET", "/capabilities")

# Capabilities of TAP.
on("tap-undeclared", *CAPABILITIES, with_substitution('ivoa.net/std/TAP"', 'ivoa.net/std/other"'))
on(
    "tap-declared-twice",
    *CAPABILITIES,
    with_substitution(r"(<capability standardID=\"[^\"]*/TAP\".*?</capability>)", r"\1\1"),
)
on(
    "tap-browser-interface",
    *CAPABILITIES,
    with_substitution('vs:ParamHTTP" role="std" version', 'vr:WebBrowser" role="std" version'),
)
on("tap-no-version", *CAPABILITIES, with_substitution(' version="1.1"', ""))
on("tap-url-of-sync", *CAPABILITIES, with_substitution(r'(use="base">[^<]*)<', r"\1/sync<"))
on("tap-use-full", *CAPABILITIES, with_substitution('use="base"', 'use="full"'))
on("tap-plain-capability", *CAPABILITIES, with_substitution(' xsi:type="tr:TableAccess"', ""))
on("tap-no-language", *CAPABILITIES, with_substitution("<language>.*</language>", ""))
on("tap-no-formats", *CAPABILITIES, with_substitution("<outputFormat>.*</outputFormat>", ""))
on("tap-adql-id", *CAPABILITIES, with_substitution("std/ADQL#v2.1", "std/SQL#v92"))
on("tap-upload-by-ftp", *CAPABILITIES, with_substitution("upload-inline", "upload-ftp"))
on("tap-feature-id", *CAPABILITIES, with_substitution("features-adqlgeo", "adqlgeo"))

# Tables and examples.
on("tables-404", "GET", "/tables", with_status(404))
on("tables-wrong-root", "GET", "/tables", with_substitution("v:tableset", "v:tables"))
on("tables-qualified", "GET", "/tables", with_substitution(r"(</?)schema>", r"\1v:schema>"))
on("tables-unnamed", "GET", "/tables", with_substitution("<table><name>[^<]*</name>", "<table>"))
on("tables-columns-unnamed", "GET", "/tables", with_substitution("<column><name>[^<]*</name>", "<column>"))
on("table-404", "GET", "/tables/TAP_SCHEMA.*", with_status(404))
on("table-as-tableset", "GET", "/tables/TAP_SCHEMA.*", with_substitution("v:table", "v:tableset"))
on("table-without-columns", "GET", "/tables/TAP_SCHEMA.*", with_substitution("<column>.*</column>", ""))
on("table-of-another-name", "GET", "/tables/TAP_SCHEMA.*", with_substitution("<name>TAP_SCHEMA", "<name>OTHER"))
on("tables-detail-400", "GET", "/tables", with_status(400), query="detail")
on("unknown-table-200", "GET", "/tables/no_such.*", with_status(200))
on("examples-without-query", "GET", "/examples", with_substitution('property="query"', 'property="sql"'))
on("examples-json", "GET", "/examples", with_type("application/json"))

# Queries.
on("tap-sync-500", "POST", "/sync", with_status(500))
on("tap-sync-no-votable", "POST", "/sync", with_body("<table/>"), body="VOTABLE")
on("tap-errors-500", "POST", "/sync", with_status(500), body='value="ERROR"')
on(
    "tap-errors-200-ok",
    "POST",
    "/sync",
    lambda a: with_substitution('"ERROR"', '"OK"')(with_status(200)(a)),
    body='value="ERROR"',
)
on("tap-error-status-oops", "POST", "/sync", with_substitution('"ERROR"', '"OOPS"'), body='value="ERROR"')
on("tap-error-plain", "POST", "/sync", lambda a: with_type("text/plain")(with_body("no")(a)), body='value="ERROR"')
on("tap-error-prefixed", "POST", "/sync", with_substitution(r"(</?)(?=[A-Z])", r"\1v:"), body='value="ERROR"')
on("tap-error-without-text", "POST", "/sync", with_substitution(r">[^<]*</INFO>", "/>"), body='value="ERROR"')
MUTANTS[-2] = replace(
    MUTANTS[-2],
    rewrite=lambda request, answer: (
        with_body(re.sub(r"(</?)(?=[A-Z])", r"\1v:", answer.body).replace("xmlns=", "xmlns:v="))(answer)
        if request.path == "/sync" and 'value="ERROR"' in answer.body
        else answer
    ),
)
override("tap-any-language", language=lambda self, form: None)
when(
    "tap-duff-query-200",
    has_form_field("QUERY", "DUFF QUERY"),
    lambda answer: with_status(200)(with_substitution('"ERROR"', '"OK"')(answer)),
)
on("tap-default-type-plain", "POST", "/sync", with_type("text/plain"), body="<TABLE>")


def change_formats(**changes: Any) -> Any:
    return lambda self, form: changes.get(single_value(form, "RESPONSEFORMAT"), Tap.format(self, form))


for _name in ("csv", "tsv"):
    override(f"tap-{_name}-is-votable", format=change_formats(**{_name: "votable"}))
override("tap-format-ignored", format=lambda self, form: "votable")
override("tap-votable-is-csv", format=change_formats(votable="csv"))
override(
    "tap-FORMAT-is-csv", format=lambda self, form: "csv" if single_value(form, "FORMAT") else Tap.format(self, form)
)
override("tap-type-not-kept", format=change_formats(**{"text/xml": "votable"}))


def change_maxrec(change: Any) -> Any:
    return lambda self, form: change(self, form, single_value(form, "MAXREC"))


override("tap-maxrec-ignored", limit=lambda self, form: self.cap)
override(
    "tap-maxrec-zero-ignored",
    limit=change_maxrec(lambda self, form, n: self.cap if n == "0" else Tap.limit(self, form)),
)
override("tap-maxrec-lenient", limit=change_maxrec(lambda self, form, n: int(n) if n.isdigit() else self.cap))
override(
    "tap-maxrec-first-of-two",
    limit=lambda self, form: int(next((v for k, v in form if k.upper() == "MAXREC"), self.cap)),
)
override("tap-maxrec-one-more", limit=lambda self, form: Tap.limit(self, form) + 1)
override(
    "tap-maxrec-upper-only",
    limit=lambda self, form: Tap.limit(self, [pair for pair in form if pair[0] == "MAXREC"]),
)


def change_mark(cut: Any) -> Any:
    return lambda self, format, names, rows, was: Tap.write(self, format, names, rows, cut(rows, was))


override("tap-no-mark", write=change_mark(lambda rows, was: False))
override("tap-always-marked", write=change_mark(lambda rows, was: True))
on("tap-mark-between", "POST", "/sync", with_substitution(r"(<TABLE>)(.*)(<INFO [^>]*OVERFLOW[^>]*>)", r"\3\1\2"))
on("tap-no-status", "POST", "/sync", with_substitution('<INFO name="QUERY_STATUS" value="OK"/>', ""))
on("tap-old-votable", "POST", "/sync", with_substitution('version="1.3"', 'version="1.1"'))
on("tap-two-results", "POST", "/sync", with_substitution("</RESOURCE>", '</RESOURCE><RESOURCE type="results"/>'))
on("tap-nothing-more", "POST", "/sync", with_substitution('<INFO name="standardID"[^>]*>', ""))


def sort_columns(self: Tap, form: Pairs, files: dict[str, bytes]) -> tuple[list[str], list[list[str]]]:
    names, rows = Tap.rows(self, form, files)
    order = sorted(range(len(names)), key=lambda number: names[number])
    return [names[n] for n in order], [[row[n] for n in order] for row in rows]


override("tap-columns-sorted", rows=sort_columns)
override("tap-columns-same-name", generated=lambda self, number: "expr")
when("tap-request-400", has_form_field("REQUEST"), lambda answer: Answer(400, "REQUEST?"))
when("tap-unknown-400", has_form_field("ZZZ_UNKNOWN"), lambda answer: Answer(400, "ZZZ?"))
override("tap-upload-shouts", uploaded=lambda self, *args: (Tap.uploaded(self, *args)[0], [["1", "ONE"]]))
override("tap-upload-any-name", names_of_uploads=lambda self, form, files: None)
override(
    "tap-upload-part-missing", uploaded=lambda self, *args: (["ra"], []), names_of_uploads=lambda self, *args: None
)
override("tap-upload-one-only", upload_list=lambda self, form: [v for k, v in form if k.upper() == "UPLOAD"][:1])

# Jobs of TAP.
on("tap-result-404", "GET", f"{JOB}/results/result", with_status(404))
override(
    "tap-result-other-id",
    results=lambda self, job, root="": Reference.results(self, job, root).replace('"result"', '"table"'),
)


def refuse_empty_result(self: Tap, request: Request, job: Job, child: str, path: list[str]) -> Answer:
    answer = Tap.answer_child(self, request, job, child, path)
    return Answer(404) if child == "results" and path and "<TR>" not in answer.body else answer


override("tap-empty-result-404", answer_child=refuse_empty_result)


def ignore_parameter(name: str) -> Any:
    """Make jobs ignore a parameter."""

    def advance(self: Tap, job: Job) -> None:
        job.parameters = [pair for pair in job.parameters if pair[0] != name]
        Tap.advance(self, job)

    return advance


override("tap-jobs-without-format", advance=ignore_parameter("RESPONSEFORMAT"))
override("tap-jobs-without-maxrec", advance=ignore_parameter("MAXREC"))
when("tap-creation-judges", has_form_field("LANG", "nonsense"), lambda answer: Answer(400, "LANG?"))
on("tap-error-404", "GET", f"{JOB}/error", with_status(404))
on("tap-error-empty", "GET", f"{JOB}/error", with_body(""))
on("tap-job-error-plain", "GET", f"{JOB}/error", with_body("it failed"))
on("tap-job-error-ok", "GET", f"{JOB}/error", with_substitution('"ERROR"', '"OK"'))
on("tap-results-of-all", "GET", f"{JOB}/results/result", with_status(200))
on("tap-quote-nil", "GET", JOB, with_substitution("<uws:quote>.*</uws:quote>", '<uws:quote xsi:nil="true"/>'))
MUTANTS[FIRST_TAP_MUTANT:] = [replace(mutant, face="tap") for mutant in MUTANTS[FIRST_TAP_MUTANT:]]
FIRST_SODA_MUTANT = len(MUTANTS)

# SODA.
on("soda-undeclared", *CAPABILITIES, with_substitution("SODA#async", "SODA#sync"))
on(
    "soda-elsewhere",
    *CAPABILITIES,
    with_substitution("/async</accessURL></interface></capability></v:", "/a</accessURL></interface></capability></v:"),
)
on("soda-no-version", *CAPABILITIES, with_substitution(' version="1.0"', ""))


def refuse_parameter(name: str) -> Any:
    def answers(self: Soda, form: Pairs) -> list[Answer]:
        if any(key.upper() == name for key, _ in form):
            raise Refused(f"UsageError: no {name}")
        return Soda.answers(self, form)

    return answers


for _name in ("CIRCLE", "POLYGON", "POS", "BAND", "TIME", "POL"):
    override(f"soda-no-{_name.lower()}", answers=refuse_parameter(_name))


def cut_anything(self: Soda, circle: str) -> Answer:
    return Soda.cutout(self, "10 10 1") if "ten" in circle else Soda.cutout(self, circle)


def answer_first_only(self: Soda, form: Pairs) -> list[Answer]:
    return Soda.answers(self, form)[:1]


def fail_for_several(self: Soda, form: Pairs) -> list[Answer]:
    if sum(key.upper() == "CIRCLE" for key, _ in form) > 1:
        raise Refused("Error: no")
    return Soda.answers(self, form)


def omit_empty_answers(self: Soda, form: Pairs) -> list[Answer]:
    return [answer for answer in Soda.answers(self, form) if not answer.body.startswith("Error")]


def refuse_wide_circle(self: Soda, circle: str) -> Answer:
    return Answer(200, "Error: too wide") if circle.endswith(" 60") else Soda.cutout(self, circle)


override("soda-reads-anything", cutout=cut_anything)
override("soda-first-circle-only", answers=answer_first_only)
override("soda-several-fail", answers=fail_for_several)
override("soda-empty-left-out", answers=omit_empty_answers)
override("soda-wide-refused", cutout=refuse_wide_circle)
on("soda-empty-is-fits", "GET", f"{JOB}/results/\\w+", with_type("application/fits"), body="Error")
on("soda-empty-without-label", "GET", f"{JOB}/results/\\w+", with_body("nothing there"), body="Error")
when("soda-sync-empty-200", lambda _, answer: answer.status == 204, with_status(200))
on("soda-sync-error-html", "GET", "/sync", with_body("<html>"), body="UsageError")
MUTANTS[FIRST_SODA_MUTANT:] = [replace(mutant, face="soda") for mutant in MUTANTS[FIRST_SODA_MUTANT:]]
