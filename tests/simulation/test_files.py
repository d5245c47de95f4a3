"""Scenarios and traces from files, and what is written of figures."""

from __future__ import annotations

import asyncio
import csv
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.simulation.networks import SMALL
from uws_service import cli
from uws_service.domain.attempt import Attempt, AttemptState, Usage
from uws_service.domain.errors import ConfigurationError
from uws_service.domain.events import EventKind
from uws_service.domain.ids import new_id
from uws_service.domain.job import Job, Phase
from uws_service.simulation.files import PUBLISHED, read_load, read_scenario
from uws_service.simulation.jobs import Load
from uws_service.store import Store

ROOT = Path(__file__).parents[2]


def written(folder: Path, **changes: object) -> str:
    """Write a scenario, and return its path."""
    path = folder / "network.yaml"
    content = {**SMALL, **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return str(path)


def as_records(load: Load) -> list[dict[str, str]]:
    return [
        {
            "arrival": repr(load.arrival[job]),
            "seconds": repr(load.seconds[job]),
            "group": load.groups[load.owners[load.owner[job]]],
            "owner": f"owner{load.owner[job]}",
            "data": " ".join(load.sets[number].identifier for number in load.needs[load.need[job]]),
        }
        for job in range(len(load))
    ]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_trace_is_the_jobs_that_it_lists(tmp_path: Path, form: str) -> None:
    _, drawn = read_load(read_scenario(written(tmp_path)))
    records = as_records(drawn)
    trace = tmp_path / f"trace.{form}"
    if form == "csv":
        with trace.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(reversed(records))
    else:
        trace.write_text("".join(json.dumps(record) + "\n" for record in reversed(records)))
    _, read = read_load(read_scenario(written(tmp_path, kinds=None, arrivals=None, trace=trace.name)))
    assert as_records(read) == renumbered(records)
    assert read.sets == drawn.sets


def renumbered(records: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return records with owners numbered as they come, from the first arrival on."""
    numbers: dict[tuple[str, str], int] = {}
    return [
        {
            **record,
            "arrival": repr(float(record["arrival"]) - float(records[0]["arrival"])),
            "owner": f"owner{numbers.setdefault((record['group'], record['owner']), len(numbers))}",
        }
        for record in records
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"seconds": 1}', "trace.jsonl:1: arrival is missing"),
        ('{"arrival": 1, "seconds": -1}', "trace.jsonl:1: seconds='-1' must be a number of seconds"),
        ('{"arrival": "soon", "seconds": 1}', "arrival='soon' must be a number of seconds"),
        ('{"arrival": NaN, "seconds": 1}', "arrival='nan' must be a number of seconds"),
        ('{"created": "today", "wall": 1}', "created='today' is no instant"),
        ('{"created": "2026-11-01T00:00:00Z", "wall": "long"}', "seconds='long' must be a number of seconds"),
        ('{"created": "2026-11-01T00:00:00Z", "number": 2, "wall": 1}', "there are no jobs"),
        ('{"arrival": 1, "seconds": 1, "group": "x"}', "group: there is no 'x'; there are: g1, g2"),
        ('{"arrival": 1, "seconds": 1, "data": "cube:99"}', "data: there is no data set 'cube:99'"),
        ("[1]", "must be a JSON object"),
        ("{", "trace.jsonl:1: "),
        ("", "there are no jobs"),
    ],
)
def test_what_is_wrong_with_a_trace_is_told(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "trace.jsonl").write_text(line + "\n")
    scenario = read_scenario(written(tmp_path, kinds=None, arrivals=None, trace="trace.jsonl"))
    with pytest.raises(ConfigurationError) as error:
        read_load(scenario)
    assert message in error.value.message


def test_the_service_s_own_history_is_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What `usage --records` prints of real attempts; groups are those of the trace."""
    data = tmp_path / "data"
    data.mkdir()
    asyncio.run(with_history(f"sqlite:///{data}/uws.db"))
    for form in ("csv", "json"):
        assert cli.run(["usage", "--records", f"--{form}", "--data", str(data)]) == 0
        (tmp_path / f"trace.{form}").write_text(capsys.readouterr().out)
        scenario, load = read_load(
            read_scenario(written(tmp_path, kinds=None, arrivals=None, groups=None, trace=f"trace.{form}"))
        )
        assert [group.name for group in scenario.groups] == ["", "lines"]
        assert (list(load.arrival), list(load.seconds)) == ([0.0, 60.0], [30.0, 31.0])
        assert [load.groups[load.owners[owner]] for owner in load.owner] == ["", "lines"]


async def with_history(url: str) -> None:
    """Make a database with two jobs that ran, the first one twice, and one that never ran."""
    store = await Store.open(url, create=True)
    begin = 1_795_000_000_000
    for number, group in enumerate(("", "lines", "lines")):
        at = begin + 60_000 * number
        job = Job(new_id(at), "sleep", None, Phase.QUEUED, at, 60, None)
        usage = Usage(wall=30.0 + number if number < 2 else 0.0)
        attempts = [
            Attempt(job.id, attempt, "local", "sleep", "", group, created=at, usage=usage)
            for attempt in range(1, 3 if number == 0 else 2)
        ]
        await store.create(job, actor="test", attempt=attempts[0])
        job = await store.get(job.id) or job
        ends = [replace(attempt, state=AttemptState.CLOSED, ended=at + 40_000) for attempt in attempts]
        await store.save(job, replace(job, phase=Phase.COMPLETED), kind=EventKind.PHASE, actor="test", attempts=ends)
    await store.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sites": []}, "sites: "),
        ({"sites": [{"name": "a", "slots": 1}] * 2}, "sites: 'a' is there twice"),
        ({"sites": [{"name": "a", "slots": 0}]}, "sites.0.slots: "),
        ({"arrivals": None}, "there are no jobs: give `kinds` and `arrivals`, or a `trace`"),
        ({"trace": "x.csv"}, "jobs come from `arrivals` or from a `trace`, not from both"),
        ({"links": [{"source": "moon", "target": "a", "bandwidth": 1}]}, "links: source: there is no 'moon'"),
        ({"bandwidth": "fast"}, "bandwidth: must be a number of bytes"),
        ({"policies": ["best"]}, "policies.0: "),
        ({"speed": 1}, "speed: "),
    ],
)
def test_what_is_wrong_with_a_scenario_is_told(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_scenario(written(tmp_path, **changes))
    assert message in error.value.message


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    for name, message in (("no.yaml", "there is no such file, nor a published load"), ("", "Is a directory")):
        with pytest.raises(ConfigurationError, match=message):
            read_scenario(str(tmp_path / name))
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match=r"bad\.yaml:\d"):
        read_scenario(str(tmp_path / "bad.yaml"))
    (tmp_path / "bad.yaml").write_text("- 1")
    with pytest.raises(ConfigurationError, match="must be a mapping"):
        read_scenario(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_loads_are_a_network_of_20_sites(name: str) -> None:
    scenario = read_scenario(name)
    assert len(scenario.sites) == 20 and scenario.title


def test_the_command_writes_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON, the table and plots that any browser reads."""
    out = tmp_path / "out"
    assert cli.run(["simulate", written(tmp_path), "--jobs", "100", "--output", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((out / "figures.json").read_text())["figures"]
    assert [item["policy"] for item in printed] == ["least-loaded", "random", "data-only", "ours", "oracle"]
    assert stored == printed and {item["jobs"] for item in stored} == {100}
    for plot in ("bytes.svg", "waits.svg"):
        text = "".join(ElementTree.parse(out / plot).getroot().itertext())
        assert all(item["policy"] in text for item in stored)
    assert "| ours |" in (out / "table.md").read_text()


def test_values_can_be_set(tmp_path: Path) -> None:
    """Deep inside, in lists, and where the file has nothing."""
    changes = {"arrivals.jobs": 7, "data.0.popularity": 2, "weights.data": 3, "seed": 9}
    scenario = read_scenario(written(tmp_path), changes)
    assert scenario.arrivals is not None and scenario.arrivals.jobs == 7
    assert (scenario.data[0].popularity, scenario.weights.data, scenario.seed) == (2, 3, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--policy", "best"], "policies.0"),
        (["--set", "seed"], "--set seed: must be FIELD=VALUE"),
        (["--set", "data.9.popularity=1"], "there is no data.9.popularity that could be set"),
        (["--set", "weights.speed=1"], "weights.speed"),
        (["--set", "seed=["], "must be FIELD=VALUE"),
    ],
)
def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert cli.run(["simulate", written(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err
