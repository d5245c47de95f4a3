"""Tell flaky tests from broken ones, by the JUnit reports of a run and of its repetition.

``report.py again FIRST`` prints the ids of the tests that failed, one a line, for ``pytest @FILE``.
``report.py verdict FIRST AGAIN`` prints a line for each: FLAKY with the reason of the first failure if it passed alone,
FAILED with both reasons if it failed again or was not run. It ends with 1 if any is FAILED.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

UNFINISHED = ("collection failure", "internal error")
"""What pytest writes when it could not run the tests."""


def failures(report: Path) -> dict[str, str]:
    """Return test id -> reason of each failure and error; nothing if the report is missing."""
    if not report.is_file():
        return {}
    failed: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        for problem in (*case.findall("failure"), *case.findall("error")):
            lines = (problem.get("message") or "").strip().splitlines()
            if problem.get("message") in UNFINISHED:  # the text ends with what was raised
                lines = (problem.text or "").strip().splitlines()[-1:]
            failed.setdefault(identifier(case), " ".join(lines[:2])[:300] or "no reason given")
    return failed


def passed(report: Path) -> set[str]:
    """Return the ids of the tests that ran and passed."""
    if not report.is_file():
        return set()
    cases = list(ElementTree.parse(report).iter("testcase"))
    return {identifier(case) for case in cases if case.find("skipped") is None} - failures(report).keys()


def unfinished(report: Path) -> set[str]:
    """Return what kept a run from running its tests: modules that could not be collected, errors of pytest itself."""
    cases = ElementTree.parse(report).iter("testcase") if report.is_file() else ()
    return {identifier(case) for case in cases for error in case.findall("error") if error.get("message") in UNFINISHED}


def identifier(case: ElementTree.Element) -> str:
    """Return the id that pytest takes on its command line."""
    file, classname, name = case.get("file", ""), case.get("classname", ""), case.get("name", "")
    if not file:  # a module that could not be collected
        return f"{name.replace('.', '/')}.py" if name else classname
    classes = classname.removeprefix(file.removesuffix(".py").replace("/", ".")).strip(".")
    return "::".join([file, *filter(None, classes.split(".")), name])


def main(words: list[str]) -> int:
    """Run one of the two commands."""
    if len(words) == 2 and words[0] == "again":
        print("\n".join(failures(Path(words[1]))))
        return 0
    if len(words) == 3 and words[0] == "verdict":
        first, second = failures(Path(words[1])), failures(Path(words[2]))
        good = passed(Path(words[2])) - unfinished(Path(words[1]))
        for test, reason in first.items():
            print(f"{'FLAKY' if test in good else 'FAILED'} {test}: {reason}")
            if test in second:
                print(f"       and then: {second[test]}")
        return int(not first.keys() <= good)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
