"""Each rule of UWS, DALI, SODA, TAP and single sign-on that we hold ourselves to is named by a test (tests/rules.txt).

An id counts where a test names it: in its docstring, its code or a comment. The docstring of a whole module counts
for nothing, since it names more than any one test checks.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LEVELS = {"MUST", "SHOULD", "MAY", "OPT", "TRAP", "AMBIG", "FREE"}
ID = re.compile(r"\b([UDAST]-\d{3})\b")
RANGE = re.compile(r"\b([UDAST])-(\d{3})\s?(?:…|\.\.\.?|–|to)\s?(?:\1-)?(\d{3})\b")


def rules() -> dict[str, str]:
    """Rule id -> level."""
    found: dict[str, str] = {}
    for number, line in enumerate((TESTS / "rules.txt").read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([UDAST]-\d{3}) ([A-Z]+) +(\S.*)", line)
        assert match, f"tests/rules.txt:{number}: not 'id LEVEL text': {line!r}"
        identifier, level, _ = match.groups()
        assert level in LEVELS, f"tests/rules.txt:{number}: unknown level {level}"
        assert identifier not in found, f"tests/rules.txt:{number}: {identifier} is there twice"
        found[identifier] = level
    return found


def named(text: str) -> set[str]:
    """The ids in a text; "U-100…U-103" names all four."""
    ids = set(ID.findall(text))
    for letter, first, last in RANGE.findall(text):
        ids |= {f"{letter}-{number:03d}" for number in range(int(first), int(last) + 1)}
    return ids


def by_tests(source: str) -> set[str]:
    """The ids that the tests of a module name."""
    body = ast.parse(source).body
    lines = source.splitlines()
    if body and ast.get_docstring(ast.parse(source)) is not None:
        lines = lines[body[0].end_lineno :]
    return named("\n".join(lines))


def test_ranges_are_understood() -> None:
    """The reader of ids must not overlook or invent any."""
    assert named("covers U-001, D-020 and U-100…U-103") == {"U-001", "D-020", "U-100", "U-101", "U-102", "U-103"}
    assert named("U-150–152; not XU-0011") == {"U-150", "U-151", "U-152"}
    assert by_tests('"""U-001."""\nX = 1  # U-002\n') == {"U-002"}


def test_every_rule_is_named_by_a_test() -> None:
    """A rule that no test file names is a rule that nobody checks."""
    seen: set[str] = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__):
            seen |= by_tests(path.read_text(encoding="utf-8"))
    missing = [f"{identifier} ({level})" for identifier, level in rules().items() if identifier not in seen]
    assert not missing, f"{len(missing)} rules are named by no test: {', '.join(missing)}"


def test_tests_name_only_rules_that_exist() -> None:
    """A misspelt id would pass unnoticed."""
    known = rules()
    unknown = {
        f"{path.relative_to(TESTS)}: {identifier}"
        for path in sorted(TESTS.rglob("test_*.py"))
        if path != Path(__file__)
        for identifier in ID.findall(path.read_text(encoding="utf-8"))
        if identifier not in known
    }
    assert not unknown, f"no such rule: {sorted(unknown)}"
