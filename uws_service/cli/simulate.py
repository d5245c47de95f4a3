"""The command ``simulate``: a network of sites in simulated time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uws_service.cli.common import EXIT_USAGE, JsonOption, Stop, console, note, print_json

if TYPE_CHECKING:
    from uws_service.simulation.figures import Figures
    from uws_service.simulation.scenario import Scenario


WIDTH = 110
"""Columns of the table, which does not fold."""


def simulate(
    scenario: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A YAML file with sites, data sets, groups and jobs; or many-small, few-large or bursts: loads that "
            "come with the service.",
            show_default=False,
        ),
    ],
    policies: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="NAME", help="Only this policy; repeatable.", show_default=False),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Number of jobs, in place of the file's.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Another value than the file's, such as weights.data=2 or data.0.popularity=1; repeatable.",
            show_default=False,
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--output", metavar="FOLDER", help="Write figures.json, table.md and plots there.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare policies of placing jobs on a network of sites, in simulated time."""
    from uws_service.simulation.figures import simulate as simulate_policy
    from uws_service.simulation.files import read_load, read_scenario
    from uws_service.simulation.network import Network

    changes = dict(_assigned(value) for value in values or ())
    if jobs is not None:
        changes["arrivals.jobs"] = jobs
    if policies:
        changes["policies"] = policies
    content = read_scenario(scenario, changes)
    content, load = read_load(content)
    network = Network(content, load)
    figures = []
    for policy in content.policies:
        figures.append(simulate_policy(network, policy))
        note(f"{policy}: {len(network.load)} jobs in {figures[-1].cpu_seconds:.1f} s")
    if folder is not None:
        _write(folder, content, figures)
    if as_json:
        print_json([item.as_json() for item in figures])
    else:
        _show(content, figures)


def _assigned(text: str) -> tuple[str, Any]:
    """Return field and value of an option."""
    import yaml

    field, separator, value = text.partition("=")
    try:
        if separator and field:
            return field, yaml.safe_load(value)
    except yaml.YAMLError:
        pass
    raise Stop(EXIT_USAGE, f"--set {text}: must be FIELD=VALUE, such as weights.data=2")


def _show(scenario: Scenario, figures: list[Figures]) -> None:
    from rich.table import Table

    from uws_service.simulation.report import HEADINGS, rows

    table = Table(title=scenario.title or None, box=None)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for cells in rows(figures):
        table.add_row(*cells)
    console(width=WIDTH).print(table)


def _write(folder: Path, scenario: Scenario, figures: list[Figures]) -> None:
    """Write what the documentation shows."""
    import json

    from uws_service.simulation.plots import bytes_svg, waits_svg
    from uws_service.simulation.report import markdown

    content: dict[str, Any] = {"title": scenario.title, "figures": [item.as_json() for item in figures]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("figures.json", json.dumps(content, indent=1) + "\n"),
        ("table.md", markdown(figures)),
        ("bytes.svg", bytes_svg(figures, scenario.title)),
        ("waits.svg", waits_svg(figures, scenario.title)),
    ):
        (folder / name).write_text(text, encoding="utf-8")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)
