"""Reports: JSON, JUnit XML, HTML, badge and comparison."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from lxml import etree

from uws_conformance.http import Exchange
from uws_conformance.outcomes import Outcome, Result
from uws_conformance.runner import Report

COLOURS = {"pass": "#1a7f37", "fail": "#cf222e", "warn": "#9a6700", "skip": "#57606a", "unsupported": "#0969da"}
LINKS = {
    "UWS 1.1": "https://www.ivoa.net/documents/UWS/20161024/",
    "DALI 1.1": "https://www.ivoa.net/documents/DALI/20170517/",
    "VOSI 1.1": "https://www.ivoa.net/documents/VOSI/20170524/",
    "TAP 1.1": "https://www.ivoa.net/documents/TAP/20190927/",
    "SODA 1.0": "https://www.ivoa.net/documents/SODA/20170517/",
    "SSO 2.0": "https://www.ivoa.net/documents/SSO/20170524/",
}
NOT_IN_XML = {code: None for code in range(32) if code not in (9, 10, 13)}


def as_json(report: Report) -> str:
    """Return the results as a JSON list."""
    rows = [
        {
            "id": result.id,
            "rule": result.rule,
            "level": result.level,
            "section": f"{result.standard} §{result.section}",
            "outcome": result.outcome,
            "seen": result.observation,
            "requires": result.requires,
            "mend": result.hint,
            "seconds": round(result.seconds, 3),
        }
        for result in report.results
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def as_junit(report: Report) -> str:
    """Return the results as JUnit XML.

    A broken MUST is a failure; warnings, skips and refused features are skipped.
    """
    suite = etree.Element(
        "testsuite",
        name="uws-conformance",
        tests=str(len(report.results)),
        failures=str(report.count(Outcome.FAIL)),
        skipped=str(len(report.results) - report.count(Outcome.FAIL) - report.count(Outcome.PASS)),
    )
    for result in report.results:
        name = f"{result.standard} {result.section}"
        case = etree.SubElement(suite, "testcase", classname=name, name=result.id, time=f"{result.seconds:.3f}")
        observation = result.observation.translate(NOT_IN_XML)
        if result.outcome is Outcome.FAIL:
            etree.SubElement(case, "failure", type=result.level, message=observation).text = result.requires
        elif result.outcome is not Outcome.PASS:
            etree.SubElement(case, "skipped", message=f"{result.outcome}: {observation}")
    return etree.tostring(suite, pretty_print=True, xml_declaration=True, encoding="UTF-8").decode()


def scores(results: Iterable[Result]) -> dict[str, tuple[int, int]]:
    """Count passed and judged checks for each standard."""
    counts: dict[str, tuple[int, int]] = {}
    for result in results:
        passed, judged = counts.get(result.standard, (0, 0))
        if result.outcome in (Outcome.PASS, Outcome.FAIL, Outcome.WARN):
            passed, judged = passed + (result.outcome is Outcome.PASS), judged + 1
        counts[result.standard] = passed, judged
    return counts


STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem;color:#1f2328;background:#fff}
table{border-collapse:collapse;width:100%;table-layout:fixed}td,th{border-bottom:1px solid #d0d7de;
padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}th:nth-child(1){width:7.5rem}
th:nth-child(2){width:13rem}th:nth-child(5){width:6rem}pre{background:#f6f8fa;padding:.6rem;overflow:auto;
max-height:24rem;white-space:pre-wrap;overflow-wrap:anywhere}b.o{color:#fff;border-radius:3px;padding:0 .4rem}
small{color:#57606a}table.score{width:auto}table.score th{width:auto}meter{width:16rem}summary{cursor:pointer}
h2{margin-top:2rem}
"""


def as_html(report: Report) -> str:
    """Return the results as a self-contained page.

    It has no scripts and loads nothing; broken rules come first.
    """
    score = "".join(
        f"<tr><td>{standard(name)}</td><td>{passed} of {judged}</td>"
        f'<td><meter max="{judged or 1}" value="{passed}" aria-label="{escape(name)}"></meter></td></tr>'
        for name, (passed, judged) in scores(report.results).items()
    )
    broken = [result for result in report.results if result.outcome in (Outcome.FAIL, Outcome.WARN)]
    broken.sort(key=lambda result: result.outcome is Outcome.WARN)
    parts = [f"<h2>To mend</h2>{checks(broken)}" if broken else "<h2>Nothing to mend</h2>"]
    for outcome, title in (
        (Outcome.SKIP, "Not checked"),
        (Outcome.UNSUPPORTED, "Rightly refused"),
        (Outcome.PASS, "As required"),
    ):
        matching = [result for result in report.results if result.outcome is outcome]
        parts.append(f"<details><summary><b>{title}: {len(matching)}</b></summary>{checks(matching)}</details>")
    exchanges = "".join(transcript(number, exchange) for number, exchange in enumerate(report.exchanges))
    stopped = f"<p><b>Ended early:</b> {escape(report.stop_reason)}</p>" if report.stop_reason else ""
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>UWS conformance of {escape(report.url)}</title>
<meta name="viewport" content="width=device-width"><style>{STYLE}</style>
<h1>UWS conformance</h1><p>{escape(report.url)} · profile {escape(report.profile)} · {summary(report)}</p>{stopped}
<table class="score">{score}</table>{"".join(parts)}
<h2>Requests and answers</h2>{exchanges}</html>
"""


def transcript(number: int, exchange: Exchange) -> str:
    """Return a request and its reply as HTML."""
    request = f"{escape(headers(exchange.request_headers))}\n\n{escape(exchange.request_body)}"
    reply = f"{escape(headers(exchange.reply_headers))}\n\n{escape(exchange.reply_body)}"
    return (
        f"<details><summary>{number}. {escape(exchange.method)} {escape(exchange.url)} → {exchange.status} "
        f'({exchange.seconds * 1000:.0f} ms)</summary><pre id="x{number}">{request}</pre><pre>{reply}</pre></details>'
    )


def standard(name: str) -> str:
    """Return a standard, linked to its text."""
    return f'<a href="{LINKS[name]}">{escape(name)}</a>' if name in LINKS else escape(name)


def checks(results: Iterable[Result]) -> str:
    """Return a table of checks."""
    head = "<tr><th>outcome</th><th>check</th><th>required</th><th>seen</th><th>requests</th></tr>"
    return f"<table>{head}{''.join(map(row, results))}</table>"


def headers(values: Mapping[str, str]) -> str:
    """Return headers, one in a line."""
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def row(result: Result) -> str:
    """Return the table row of a check."""
    remedy = "" if result.outcome is Outcome.PASS else f"<br><small>{escape(result.hint)}</small>"
    exchanges = " ".join(f'<a href="#x{number}">{number}</a>' for number in result.exchanges[:20])
    return (
        f'<tr><td><b class="o" style="background:{COLOURS[result.outcome]}">{result.outcome}</b></td>'
        f"<td>{escape(result.id)}<br><small>{result.level} · {standard(result.standard)} "
        f"§{escape(result.section)}</small></td><td>{escape(result.requires)}{remedy}</td>"
        f"<td>{escape(result.observation)}</td><td>{exchanges}</td></tr>"
    )


def summary(report: Report) -> str:
    """Return the counts in a line."""
    return ", ".join(f"{report.count(outcome)} {outcome}" for outcome in Outcome)


def badge(report: Report) -> str:
    """Return an SVG with the score."""
    pairs = scores(report.results).values()
    passed, judged = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    colour = COLOURS["fail" if report.count(Outcome.FAIL) else "warn" if passed < judged else "pass"]
    text = f"{passed}/{judged}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="160" height="20" role="img" '
        f'aria-label="UWS conformance {text}"><rect width="160" height="20" rx="3" fill="#555"/>'
        f'<rect x="100" width="60" height="20" rx="3" fill="{colour}"/><g fill="#fff" font-family="sans-serif" '
        'font-size="11" text-anchor="middle"><text x="50" y="14">UWS 1.1</text>'
        f'<text x="130" y="14">{text}</text></g></svg>\n'
    )


def compare(report: Report, old: Path) -> list[str]:
    """Return the differences to an older JSON report."""
    old_outcomes = {str(entry["id"]): str(entry["outcome"]) for entry in json.loads(old.read_text())}
    new_outcomes = {result.id: str(result.outcome) for result in report.results}
    return [
        f"{key}: {old_outcomes.get(key, '(new)')} → {new_outcomes.get(key, '(gone)')}"
        for key in sorted(old_outcomes | new_outcomes)
        if old_outcomes.get(key) != new_outcomes.get(key)
    ]
