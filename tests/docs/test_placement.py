"""The explanation of a choice in the documentation is one that the service makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from uws_service.domain.placement import Candidate
from uws_service.placement.choice import choose
from uws_service.placement.model import DataNeed, SiteView, Way, Wish
from uws_service.placement.objections import OBJECTIONS
from uws_service.placement.patience import Prospects, decide
from uws_service.placement.ranks import RANKS
from uws_service.simulation.figures import Figures
from uws_service.simulation.files import PUBLISHED, read_scenario
from uws_service.simulation.plots import bytes_svg, waits_svg
from uws_service.simulation.report import markdown

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "placement.md"

SITES = [
    SiteView("edinburgh", 40, waiting=22, running=40, storage={"edinburgh": Way.MOUNT, "lake": Way.STAGE}),
    SiteView(
        "granada", 60, running=12, storage={"edinburgh": Way.STAGE, "lake": Way.STAGE}, bandwidth={"edinburgh": 2e9}
    ),
    SiteView("lausanne", 200, running=20, drained="new network switches", storage={"lake": Way.MOUNT}),
    SiteView("penticton", 10, memory=16 * 2**30, storage={"edinburgh": Way.STAGE, "lake": Way.STAGE}),
]
WISH = Wish("imaging", owner="ada", cpu=8, memory=64 * 2**30, data=(DataNeed("ska:cube-17", 10**12, ("edinburgh",)),))


def as_row(candidate: Candidate) -> str:
    """Return a row of the table as the page of a job has it."""
    costs = f"{candidate.seconds:.0f} s" if candidate.costs else "–"
    words = [*candidate.objections]
    words += [cost.words + (f" ({cost.seconds:.0f} s)" if cost.seconds else "") for cost in candidate.costs]
    return f"| {candidate.site} | {costs} | {'; '.join(words)} |"


def test_the_explanation_is_a_real_one() -> None:
    page = PAGE.read_text(encoding="utf-8")
    choice = choose(SITES, WISH)
    assert f"> {choice.site}: {choice.sentence}\n" in re.sub(r"(?<=\S)\n> ", " ", page), choice.sentence
    for row in map(as_row, choice.table):
        assert row in page, row


def test_every_rule_is_described() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in (*(rule.name for rule in OBJECTIONS), *(rank.name for rank in RANKS)):
        assert f"| `{name}` |" in page, name


def test_the_decision_about_a_waiting_job_is_a_real_one() -> None:
    page = PAGE.read_text(encoding="utf-8")
    outlook = Prospects.of({"edinburgh": 0.0, "granada": 500.0})
    for waited_seconds, waits in ((120, {}), (520, {}), (0, {"edinburgh": 1500.0})):
        reason = decide("granada", outlook, waited_seconds * 1000, waits).reason
        assert reason in page, reason


@pytest.mark.parametrize("load", PUBLISHED)
def test_the_figures_of_the_simulator_are_what_the_page_says(load: str) -> None:
    """The tables are those of the figures, and what is claimed of all loads holds for each."""
    folder = PAGE.parent / "simulation" / load
    stored = json.loads((folder / "figures.json").read_text(encoding="utf-8"))["figures"]
    figures = {item["policy"]: Figures(**item, cpu_seconds=0.0) for item in stored}
    assert (folder / "table.md").read_text(encoding="utf-8") == markdown(list(figures.values()))
    title = read_scenario(load).title
    assert (folder / "bytes.svg").read_text(encoding="utf-8") == bytes_svg(list(figures.values()), title)
    assert (folder / "waits.svg").read_text(encoding="utf-8") == waits_svg(list(figures.values()), title)
    assert f"simulation/{load}/table.md" in (PAGE.parent / "simulation.md").read_text(encoding="utf-8")
    ours, oracle = figures.pop("ours"), figures.pop("oracle")
    assert ours.moved_bytes <= 1.135 * oracle.moved_bytes
    assert ours.wait_p95 <= 1.255 * min(ours.wait_p95, *(item.wait_p95 for item in figures.values()))
