"""ROUND, TRUNCATE and CAST against exact decimals."""

from __future__ import annotations

import math
import random
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

from tests.adql.sky import ask
from uws_service.tap.engines.base import Engine

UNIT = Decimal(1)


def _numbers() -> list[float]:
    """Return halves, their neighbours, and random numbers."""
    source = random.Random(19)
    halves = [math.floor(2.0**power) + 0.5 for power in range(0, 54)]
    beside = [math.nextafter(half, side) for half in halves for side in (0, math.inf)]
    integers = [2.0**power + step for power in (51, 52, 53, 60) for step in (-1, 0, 1, 2, 3)]
    doubles = [source.uniform(-1, 1) * 10 ** source.randint(0, 18) for _ in range(100)]
    positive = [*halves, *beside, *integers, *doubles]
    return [*positive, *(-number for number in positive)]


def test_doubles_are_rounded_to_the_nearest_whole_number(engine: Engine) -> None:
    numbers = _numbers()
    for start in range(0, len(numbers), 40):
        part = numbers[start : start + 40]
        _, rows = ask(
            engine, "SELECT " + ", ".join(f"ROUND({n!r}), CAST({n!r} AS BIGINT), TRUNCATE({n!r})" for n in part)
        )
        for number, *actual in zip(part, *(rows[0][place::3] for place in range(3)), strict=True):
            nearest = int(Decimal(number).quantize(UNIT, ROUND_HALF_UP))
            cut = int(Decimal(number).quantize(UNIT, ROUND_DOWN))
            assert [int(value) for value in actual] == [nearest, nearest, cut], repr(number)


def test_numbers_with_so_many_digits_stay_as_they_are(engine: Engine) -> None:
    source = random.Random(53)
    for digits in range(1, 8):
        numbers = [source.randint(-(10**15), 10**15) / 10**digits for _ in range(30)]
        texts = ", ".join(f"ROUND({n!r}, {digits}), TRUNCATE({n!r}, {digits})" for n in numbers)
        _, rows = ask(engine, f"SELECT {texts}")
        assert rows[0] == [number for number in numbers for _ in range(2)], digits


def test_integers_are_rounded_as_integers(engine: Engine) -> None:
    source = random.Random(63)
    for digits in range(0, 18):
        numbers = [source.randint(2**53, 2**62) * source.choice((1, -1)) for _ in range(20)]
        texts = ", ".join(f"ROUND({n}, -{digits}), TRUNCATE({n}, -{digits})" for n in numbers)
        _, rows = ask(engine, f"SELECT {texts}")
        unit = Decimal(10**digits)
        expected = [
            int((Decimal(n) / unit).quantize(UNIT, rounding) * unit)
            for n in numbers
            for rounding in (ROUND_HALF_UP, ROUND_DOWN)
        ]
        assert rows[0] == expected, digits
