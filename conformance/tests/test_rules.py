"""Every rule has a check, or a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping

import matrix
from uws_conformance.registry import all_checks
from uws_conformance.remedies import REMEDIES

# MUSTs whose checks only warn: the standards contradict each other, or all servers deviate.
WARNED = {
    "U-002": "most servers answer 303 to an illegal change of phase and ignore it",
    "D-012": "examples of TAP 1.1 show what DALI forbids",
}


def checks_by_rule() -> Mapping[str, list[str]]:
    """Map each rule to the ids of its checks."""
    checks: dict[str, list[str]] = {}
    for check in all_checks():
        checks.setdefault(check.rule, []).append(check.id)
    return checks


def test_every_rule_has_a_check_or_a_reason() -> None:
    checks = checks_by_rule()
    missing = [rule.id for rule in matrix.rules() if rule.id not in checks and not rule.reason]
    assert missing == []


def test_a_reason_is_only_given_where_there_is_no_check() -> None:
    checks = checks_by_rule()
    rules_with_both = [rule.id for rule in matrix.rules() if rule.id in checks and rule.reason]
    assert rules_with_both == []


def test_rules_covered_elsewhere_have_checks_there() -> None:
    checks = checks_by_rule()
    for rule in matrix.rules():
        if rule.reason.startswith("= "):
            rule_ids = rule.reason[2:].split()
            assert all(re.fullmatch(r"[A-Z]-\d{2,3}", rule_id) for rule_id in rule_ids), rule
            assert [rule_id for rule_id in rule_ids if rule_id not in checks] == [], rule


def test_every_check_belongs_to_a_rule_of_the_list() -> None:
    listed = {rule.id for rule in matrix.rules()}
    strange = [check.id for check in all_checks() if check.rule not in listed and check.rule[0] != "C"]
    assert strange == []


def test_no_must_is_weakened_and_no_may_is_made_a_must() -> None:
    """The check of a binding rule can fail."""
    level = {rule.id: rule.level for rule in matrix.rules()}
    by_rule: dict[str, set[str]] = {}
    for check in all_checks():
        by_rule.setdefault(check.rule, set()).add(check.level)
    weak = {rule for rule, levels in by_rule.items() if level.get(rule) == "MUST" and "MUST" not in levels}
    hard = [rule for rule, levels in by_rule.items() if level.get(rule) in ("MAY", "FREE") and "MUST" in levels]
    assert weak == set(WARNED)
    assert hard == []


def test_every_check_has_a_remedy() -> None:
    assert [check.id for check in all_checks() if not check.hint.endswith(".")] == []
    assert set(REMEDIES) <= {check.rule for check in all_checks()}


def test_the_page_of_rules_is_up_to_date() -> None:
    assert matrix.RULES_PAGE.read_text() == matrix.rules_page(), "run `make conformance-matrix`"
