"""The forms in which accounts go out, each read by somebody else's rules."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyauditor
import pytest
from lxml import etree

from tests.accounting import apel_reader
from tests.accounting.histories import METER, OUTSIDE, SEPTEMBER
from tests.store import samples
from uws_service.accounting.apel import individual
from uws_service.accounting.auditor import record_json
from uws_service.accounting.car import CAR_NS, usage_records
from uws_service.accounting.identities import Pseudonyms, plain
from uws_service.accounting.tables import csv_text, json_lines
from uws_service.domain.attempt import Attempt, AttemptState, Reason, Usage
from uws_service.domain.usage_record import UsageRecord

SCHEMA = Path(__file__).parents[2] / "schemas" / "car-written.xsd"
HOUR_MS = 3_600_000


def attempt(**fields: Any) -> Attempt:
    values: dict[str, Any] = {
        "state": AttemptState.CLOSED, "site": "north", "application": "sleep", "owner": "ada@iam.example.org",
        "group": "/ska/prototyping@iam.example.org", "created": SEPTEMBER, "submitted": SEPTEMBER + 1000,
        "started": SEPTEMBER + 2000, "ended": SEPTEMBER + 2000 + HOUR_MS, "cpu_requested": 2.5,
        "memory_requested": 4 * 2**30, "usage": Usage(3600.4, 1800.6, 3 * 2**30, 2**20, 2**21), "exit_code": 0,
    }  # fmt: skip
    return samples.attempt("0192", 2, **{**values, **fields})


def record(**fields: Any) -> UsageRecord:
    return METER.record(attempt(**fields), SEPTEMBER + 2 * HOUR_MS)


INDIVIDUAL = f"""\
APEL-individual-job-message: v0.4
Site: UKI-NORTH
SubmitHost: uws.example.org/sleep
MachineName: north
Queue: sleep
LocalJobId: 0192-2
GlobalUserName: ada@iam.example.org
FQAN: /ska/prototyping
WallDuration: 3600
CpuDuration: 1801
Processors: 3
NodeCount: 1
StartTime: {SEPTEMBER // 1000 + 2}
EndTime: {SEPTEMBER // 1000 + 3602}
InfrastructureDescription: uws-service
InfrastructureType: grid
MemoryReal: {3 * 2**20}
ServiceLevel: {{hepscore23: 12.3}}
%%
"""


def test_individual() -> None:
    """ACC-007, ACC-008, ACC-011, ACC-063: the keys in their order, and what the server makes of them.

    The wall time is elapsed seconds, however many cores there are.
    """
    assert individual([record()], OUTSIDE) == [INDIVIDUAL]
    _, (row,) = apel_reader.read(INDIVIDUAL)
    assert apel_reader.organisation(row) == ("ska", "/ska/prototyping")


def test_without_a_benchmark() -> None:
    """ACC-011, ACC-061, ACC-062: version 0.4 can't do without one, so it is version 0.3; none is guessed."""
    (message,) = individual([record(site="west")], OUTSIDE)
    header, (row,) = apel_reader.read(message)
    assert header.endswith("v0.3") and "ServiceLevel" not in row and row["InfrastructureType"] == "local"


def test_what_never_started_is_no_job() -> None:
    """ACC-070."""
    assert individual([record(started=None, reason=Reason.ABORTED.value)], OUTSIDE) == []


def test_groups_of_other_issuers() -> None:
    """A group of another issuer with the same name is not counted to the organisation."""
    (message,) = individual([record(group="/ska/prototyping@evil.example.org")], OUTSIDE)
    _, (row,) = apel_reader.read(message)
    assert apel_reader.organisation(row)[0] == "/ska/prototyping@evil.example.org"


@pytest.mark.parametrize(
    ("identities", "owner", "shown_text"),
    [
        ("full", "ada@iam.example.org", "ada@iam.example.org"),
        ("withheld", "ada@iam.example.org", "withheld"),
        ("hashed", "ada@iam.example.org", Pseudonyms(b"k" * 32).of("ada@iam.example.org")),
        ("full", "", None),
        ("hashed", "", None),
    ],
)
def test_identities(identities: Any, owner: str, shown_text: str | None) -> None:
    """ACC-017, ACC-073: as the site wants it; nobody for anonymous jobs."""
    outside = replace(OUTSIDE, identities=identities)
    (message,) = individual([record(owner=owner)], outside)
    _, (row,) = apel_reader.read(message)
    assert row.get("GlobalUserName") == shown_text
    assert owner not in "".join(individual([record(owner=owner)], outside)) or identities == "full" or not owner


def test_pseudonyms() -> None:
    """The same owner has the same one, with the same key alone; one is not hidden again."""
    names = Pseudonyms(b"a" * 32)
    assert names.of("ada") == names.of("ada") != names.of("grace") != Pseudonyms(b"b" * 32).of("grace")
    assert names.of(names.of("ada")) == names.of("ada")
    assert names.of("user-ada") != "user-ada"


@pytest.mark.parametrize("text", ["x\n%%\nSite: y", "null", "None", " a", "a ", "%%", "Ω\ud800", "a\r\nVO: root", "\0"])
def test_texts_of_others_stay_one_value(text: str) -> None:
    """ACC-001, ACC-004: nobody's name is a line, a record, or nothing."""
    (message,) = individual([record(owner=text)], OUTSIDE)
    _, (row,) = apel_reader.read(message)
    assert row["GlobalUserName"] == plain(text)
    assert len(message.splitlines()) == len(INDIVIDUAL.splitlines())


def test_car() -> None:
    """ACC-020…ACC-024: our subset's schema, attributes in the namespace, the start of the command."""
    document = usage_records([record(), record(site="west", reason=Reason.ABORTED.value, exit_code=None)], OUTSIDE)
    root = etree.fromstring(document)
    etree.XMLSchema(etree.parse(SCHEMA)).assertValid(root)

    def text(name: str) -> str:
        return root.findtext(f".//{{{CAR_NS}}}{name}") or ""

    assert (text("LocalJobId"), text("WallDuration"), text("CpuDuration")) == ("0192-2", "PT3600S", "PT1801S")
    assert (text("StartTime"), text("EndTime")) == ("2024-09-01T00:00:02Z", "2024-09-01T01:00:02Z")
    assert text("GlobalJobId") == "https://uws.example.org/base/sleep/async/0192"
    assert [element.text for element in root.iter(f"{{{CAR_NS}}}Status")] == ["completed", "aborted"]
    assert all(str(name).startswith(f"{{{CAR_NS}}}") for element in root.iter() for name in element.attrib)


def test_auditor() -> None:
    """ACC-050…ACC-056, ACC-058: python-auditor, which the service does not need, makes the same record of it."""
    document = record_json(record(), OUTSIDE)
    start = datetime.fromisoformat(document["start_time"])
    judged = pyauditor.Record(document["record_id"], start)
    meta = pyauditor.Meta()
    for name, values in document["meta"].items():
        meta = meta.insert(name, values)
    judged = judged.with_meta(meta)
    for component in document["components"]:
        part = pyauditor.Component(component["name"], component["amount"])
        for score in component["scores"]:
            part = part.with_score(pyauditor.Score(score["name"], score["value"]))
        judged = judged.with_component(part)
    judged = judged.with_stop_time(datetime.fromisoformat(document["stop_time"]))
    expected = json.loads(judged.to_json())
    assert {name: value for name, value in expected.items() if name != "runtime"} == document
    assert expected["runtime"] == 3600
    amounts = {component["name"]: component["amount"] for component in document["components"]}
    assert (amounts["Cores"], amounts["MilliCores"], amounts["TotalCPU"]) == (3, 2500, 1801)
    assert document["meta"]["voms"] == ["/ska/prototyping"] and document["meta"]["site_id"] == ["UKI-NORTH"]


def test_energy_is_absent_where_it_is_unknown() -> None:
    """N-005: no key, no cell."""
    silent = record(site="west")
    assert not {"EnergyWh", "gCO2e"} & {part["name"] for part in record_json(silent, OUTSIDE)["components"]}
    line = json.loads(json_lines([silent]))
    assert line["gco2e"] is None and line["energy_wh"] is None and json.loads(json_lines([record()]))["gco2e"] > 0


def test_cells_are_no_formulas() -> None:
    """A spreadsheet runs nothing of what a name holds."""
    assert "\n0192,2,north,sleep,'=cmd(),"[1:] in csv_text([record(owner="=cmd()")])
