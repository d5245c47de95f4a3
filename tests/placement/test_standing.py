"""What members of a group are told of its share."""

from __future__ import annotations

import pytest

from uws_service.placement.shares import FairShares, GroupShare, Ledger, Use
from uws_service.placement.standing import Position, parts, position, standing_words

NOW = 10**12
SHARES = FairShares(groups={"a": GroupShare(share=60), "b": GroupShare(share=30), "*": GroupShare(share=10)})


def ledger(**uses: float) -> Ledger:
    return Ledger({group: Use(amount, NOW) for group, amount in uses.items()})


@pytest.mark.parametrize(
    ("part", "share", "where"),
    [
        (0.53, 0.6, Position.BELOW),
        (0.55, 0.6, Position.AT),
        (0.65, 0.6, Position.AT),
        (0.67, 0.6, Position.ABOVE),
        (0.0, 0.1, Position.BELOW),
    ],
)
def test_position(part: float, share: float, where: Position) -> None:
    assert position(part, share) is where


def test_parts_are_relative_to_groups_that_count() -> None:
    """A group that has used nothing and wants nothing leaves its share to the others."""
    table = parts(ledger(a=300.0, b=100.0), SHARES, (), NOW)
    assert table["a"] == pytest.approx((0.75, 2 / 3))
    assert table["b"] == pytest.approx((0.25, 1 / 3))
    assert parts(ledger(a=300.0), SHARES, ("c",), NOW)["c"] == pytest.approx((0.0, 1 / 7))
    assert parts(ledger(a=0.5), SHARES, ("c",), NOW).keys() == {"c"}, "a use that has decayed counts no more"


def test_words() -> None:
    uses = ledger(a=300.0, b=100.0)
    assert standing_words("a", uses, SHARES, NOW) == (
        "the group a is above its share, so jobs of groups below theirs come first: 75 % of what is used of late, "
        "for a share of 67 %"
    )
    assert "below its share" in standing_words("b", uses, SHARES, NOW)
    assert standing_words("", uses, SHARES, NOW).startswith("who is in no group is below its share")
    assert standing_words("a", ledger(a=5.0), SHARES, NOW) == "", "there is nobody to share with"
    assert "b" not in standing_words("a", uses, SHARES, NOW).split(), "no other group is named"
