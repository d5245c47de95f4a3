"""Each rule of the standards has a test.

The rules are those of the validator, ``conformance/tests/rules.txt``. An id counts where a test names it: in its
docstring, its code or a comment. The docstring of a whole module counts for nothing, since it names more than any one
test checks.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
RULES_FILE = TESTS.parent / "conformance" / "tests" / "rules.txt"
LEVELS = {"MUST", "SHOULD", "MAY", "OPT", "TRAP", "AMBIG", "FREE"}
RULE_ID = re.compile(r"\b([UDASTV]-\d{3})\b")
RANGE = re.compile(r"\b([UDASTV])-(\d{3})\s?(?:…|\.\.\.?|–|to)\s?(?:\1-)?(\d{3})\b")
# Rules that the validator lists and the service does not serve.
NOT_SERVED = {
    "A-006": "challenges for OAuth and OpenID Connect are proposals, none is adopted",
    "A-016": "the login form that astroquery fills in is that of one archive, no standard",
    "V-040": "VOSI 1.2 is a working draft",
}


def rules() -> dict[str, str]:
    """Map each rule to its level."""
    levels: dict[str, str] = {}
    for number, line in enumerate(RULES_FILE.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"([UDASTV]-\d{3}) ([A-Z]+) +(\S.*)", line)
        assert match, f"rules.txt:{number}: not 'id LEVEL text': {line!r}"
        identifier, level, _ = match.groups()
        assert level in LEVELS, f"rules.txt:{number}: unknown level {level}"
        assert identifier not in levels, f"rules.txt:{number}: {identifier} is there twice"
        levels[identifier] = level
    return levels


def ids_in(text: str) -> set[str]:
    """Return the ids in a text.

    "U-100…U-103" stands for four.
    """
    ids = set(RULE_ID.findall(text))
    for letter, first, last in RANGE.findall(text):
        ids |= {f"{letter}-{number:03d}" for number in range(int(first), int(last) + 1)}
    return ids


def ids_in_tests(source: str) -> set[str]:
    """Return the ids in a module's tests."""
    body = ast.parse(source).body
    lines = source.splitlines()
    if body and ast.get_docstring(ast.parse(source)) is not None:
        lines = lines[body[0].end_lineno :]
    return ids_in("\n".join(lines))


def test_ranges_are_understood() -> None:
    """Ids are neither overlooked nor invented."""
    assert ids_in("covers U-001, D-020 and U-100…U-103") == {"U-001", "D-020", "U-100", "U-101", "U-102", "U-103"}
    assert ids_in("U-150–152; not XU-0011") == {"U-150", "U-151", "U-152"}
    assert ids_in_tests('"""U-001."""\nX = 1  # V-002\n') == {"V-002"}


def test_every_rule_is_named_by_a_test() -> None:
    """Every rule has a test."""
    named_ids: set[str] = set()
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__):
            named_ids |= ids_in_tests(path.read_text(encoding="utf-8"))
    missing = {f"{identifier} ({level})" for identifier, level in rules().items() if identifier not in named_ids}
    missing -= {entry for entry in missing if entry.partition(" ")[0] in NOT_SERVED}
    assert not missing, f"{len(missing)} rules are named by no test: {', '.join(sorted(missing))}"
    assert not named_ids & NOT_SERVED.keys(), "named by a test: take them out of NOT_SERVED"


def test_tests_name_only_rules_that_exist() -> None:
    """A misspelt id would pass unnoticed."""
    rule_ids = rules()
    unknown = {
        f"{path.relative_to(TESTS)}: {identifier}"
        for path in sorted(TESTS.rglob("test_*.py"))
        if path != Path(__file__)
        for identifier in RULE_ID.findall(path.read_text(encoding="utf-8"))
        if identifier not in rule_ids
    }
    assert not unknown, f"no such rule: {sorted(unknown)}"


def test_rules_that_are_not_served_exist() -> None:
    assert NOT_SERVED.keys() <= rules().keys()
