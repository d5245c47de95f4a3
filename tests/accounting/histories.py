"""Histories of jobs, as sequences of what happens to their attempts, and a service's accounts of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import strategies as st

from tests.store import samples
from uws_service.accounting.identities import Outside, Pseudonyms, SiteName
from uws_service.domain.attempt import Attempt, AttemptState, Reason, Usage
from uws_service.domain.energy import Footprint, Intensity, Power
from uws_service.domain.meter import Meter, SiteMeter
from uws_service.domain.price import PriceList

SEPTEMBER = 1_725_148_800_000  # 2024-09-01T00:00:00Z
SPAN_MS = 61 * 86_400_000
"""Up to the end of October."""
FOOTPRINT = Footprint(Power(1.3, embodied_g_per_core_hour=2.0), Intensity("test", (250.0,)))
METER = Meter(
    sites={
        "north": SiteMeter("local", "hepscore23", 12.3, FOOTPRINT),
        "south": SiteMeter("kubernetes", "hepscore23", 9.7),
        "west": SiteMeter("kubernetes"),
    },
    projects={"/ska@iam.example.org": "SKA"},
    prices=(PriceList(0.02, 0.001, 1.0, 0.1, 0.05),),
    currency="EUR",
)
OUTSIDE = Outside(
    "https://uws.example.org/base",
    {"north": SiteName("UKI-NORTH", "grid"), "south": SiteName("south"), "west": SiteName("west")},
    "full",
    Pseudonyms(b"k" * 32),
    ("iam.example.org",),
    "everybody",
)
OWNERS = ["", "ada@iam.example.org", "grace@iam.example.org", "null", "a\n%%\nSite: x", "Ω ü "]
GROUPS = ["", "/ska@iam.example.org", "/ska/sub@iam.example.org", "/ska@other.example.org"]


@dataclass(frozen=True)
class End:
    """How an attempt ends; ``late`` is usage that its agent reports afterwards."""

    attempt: Attempt
    ended_twice: bool
    late: tuple[float, int] | None


Fields = tuple[str, str, float, int, int, int, int, str | None, bool, tuple[float, int] | None]


@st.composite
def ends(draw: st.DrawFn) -> Fields:
    """Return the fields that differ between attempts."""
    return (
        draw(st.sampled_from(OWNERS)),
        draw(st.sampled_from(GROUPS)),
        draw(st.sampled_from([0.1, 1.0, 2.5, 8.0])),
        draw(st.integers(0, SPAN_MS - 1)),
        draw(st.integers(0, 5 * 86_400_000)),
        draw(st.integers(1, 3)),
        draw(st.integers(0, 2)),
        draw(st.sampled_from([None, Reason.EXIT_CODE.value, Reason.ABORTED.value])),
        draw(st.booleans()),
        draw(st.none() | st.tuples(st.floats(0.1, 1e5), st.integers(1, 2**40))),
    )


def build(index: int, fields: Fields) -> list[End]:
    """Return the attempts of one job: all but the last one are lost."""
    owner, group, cores, offset, length, attempts, gpus, reason, twice, late = fields
    result = []
    for number in range(1, attempts + 1):
        ended = SEPTEMBER + offset
        is_last = number == attempts
        started = None if reason == Reason.ABORTED.value and length % 2 and is_last else ended - length
        wall = 0.0 if started is None else length / 1000
        attempt = replace(
            samples.attempt(f"job{index:04}", number),
            site=("north", "south", "west")[(index + number) % 3],
            application=("sleep", "tap")[index % 2],
            owner=owner,
            group=group,
            created=max(0, ended - length - 5000),
            submitted=max(0, ended - length - 1000),
            started=started,
            cpu_requested=cores,
            memory_requested=3 * 2**30 + index,
            gpus=gpus,
            claimed="pod",
        )
        closed = replace(
            attempt,
            wanted=False,
            state=AttemptState.CLOSED,
            ended=ended,
            reason=reason if is_last else Reason.NODE_LOST.value,
            usage=Usage(wall, 0.0 if late else wall * cores / 3, 0 if late else 2**30, 10**6 * index, 5 * 10**8),
        )
        result.append(End(closed, twice, late if started is not None else None))
    return result


histories = st.lists(ends(), min_size=1, max_size=12).map(
    lambda rows: [end for index, fields in enumerate(rows) for end in build(index, fields)]
)
