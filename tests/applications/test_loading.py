"""Descriptors: what is taken, and messages of each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from uws_service.applications import Application, Bound, descriptor_reference, load_applications
from uws_service.applications.files import BUILTIN, load_application
from uws_service.domain.errors import ConfigurationError
from uws_service.web.faces.registry import STANDARDS

BASE = """\
name: thing
title: A thing
description: Does things.
command: [run, "--n={N}", "{FLAG}"]
parameters:
  - name: N
    datatype: int
  - name: FLAG
results:
  - {id: result, path: out.csv, media_type: text/csv}
"""


def written(folder: Path, text: str, name: str = "thing.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def load(folder: Path, text: str) -> Application:
    return load_application(written(folder, text), STANDARDS)


def problems(folder: Path, text: str) -> list[str]:
    """Return what is reported, without the file's name."""
    file = written(folder, text)
    with pytest.raises(ConfigurationError) as raised:
        load_application(file, STANDARDS)
    lines = str(raised.value).split("\n")
    assert all(line.startswith(f"{file}:") for line in lines), lines
    return [line.removeprefix(f"{file}:") for line in lines]


def test_the_least(tmp_path: Path) -> None:
    """Five fields; all else has a default."""
    application = load(tmp_path, BASE)
    assert (application.name, application.title, application.command[0]) == ("thing", "A thing", "run")
    assert application.limits.execution_duration == Bound(3600, 86400) and application.resources.memory == 2**30
    assert (
        application.uploads is None
        and application.maxrec is None
        and not application.archive
        and application.examples == ()
    )
    assert application.parameter("n") is application.parameters[0] and application.parameter("x") is None


def test_sizes_and_durations(tmp_path: Path) -> None:
    """As people write them; a maximum caps its default."""
    extra = """
resources: {cpu: 0.5, memory: 1.5GiB, disk: 20 MB}
limits:
  execution_duration: {default: 2h, maximum: 1.5d}
  retention: {maximum: 2d}
  output: 1000
  sync_duration: 90
uploads: {maximum: 2, size: 3k}
"""
    application = load(tmp_path, BASE + extra)
    assert (application.resources.cpu, application.resources.memory, application.resources.disk) == (
        0.5,
        3 * 2**29,
        20 * 10**6,
    )
    assert application.limits.execution_duration == Bound(7200, 129600)
    assert application.limits.retention == Bound(2 * 86400, 2 * 86400)
    assert (application.limits.output, application.limits.sync_duration) == (1000, 90)
    assert application.uploads is not None and application.uploads.size == 3000


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"), ("on", "on"), ("y", "y"), ("1:30", "1:30"), ("010", "010"), ("0x1F", "0x1F"), ("1_000", "1_000"),
        ("2026-01-02", "2026-01-02"), ("+12:30:45", "+12:30:45"), ("1e6", "1000000.0"), ("-3", "-3"), ("1.50", "1.5"),
        ("true", "true"), ("False", "false"), ("'7'", "7"), ("=", "="), (".5", "0.5"),
    ],
)  # fmt: skip
def test_scalars(tmp_path: Path, scalar: str, value: str) -> None:
    """YAML 1.2: dates and sexagesimal numbers are texts."""
    application = load(tmp_path, BASE.replace("- name: FLAG", f"- name: FLAG\n    default: {scalar}"))
    assert application.parameters[1].default == value


def test_anchors_and_merges(tmp_path: Path) -> None:
    """YAML's own means against repetition work."""
    text = BASE.replace(
        "  - name: N\n    datatype: int\n  - name: FLAG\n",
        "  - &n {name: N, datatype: int, minimum: 1}\n  - {<<: *n, name: FLAG}\n",
    )
    application = load(tmp_path, text)
    assert [(p.name, p.datatype, p.minimum) for p in application.parameters] == [("N", "int", 1), ("FLAG", "int", 1)]


# Each change to the descriptor above, and what is told about it: line, field and words.
CHANGES = {
    "unknown field": (("title: A", "titel: x\ntitle: A"), "2: titel: titel is not known; allowed: name, "),
    "missing field": (("title: A thing\n", ""), "1: descriptor: title is missing"),
    "wrong type": (("command: [run, ", "command: [[run], "), '4: command[0]: ["run"] is not allowed'),
    "no list": (('[run, "--n={N}", "{FLAG}"]', "run"), '4: command: "run" is not allowed; it must be of type array'),
    "bad name": (
        ("name: thing", "name: A thing"),
        '1: name: "A thing" is not allowed; it must be a name in lower-case',
    ),
    "bad parameter name": (
        ("name: FLAG", "name: a-b"),
        '8: parameters[1].name: "a-b" is not allowed; it must be a letter',
    ),
    "unknown datatype": (
        ("datatype: int", "datatype: integer"),
        '7: parameters[0].datatype: "integer" is not known; all',
    ),
    "unknown xtype": (
        ("datatype: int", "xtype: cirle"),
        '7: parameters[0].xtype: "cirle" is not allowed; it must be one',
    ),
    "bad size": (
        ("results:", "resources: {memory: 2 apples}\nresults:"),
        '9: resources.memory: "2 apples" is not allow',
    ),
    "bad duration": (
        ("results:", "limits:\n  retention:\n    maximum: never\nresults:"),
        '11: limits.retention.maximum: "never" is not allowed; it must be',
    ),
    "default above maximum": (
        ("results:", "limits:\n  retention: {default: 3d, maximum: 2d}\nresults:"),
        "10: limits.retention.default: 259200 s is above the maximum of 172800 s",
    ),
    "no limit above a maximum": (
        ("results:", "limits:\n  retention: {default: 0, maximum: 2d}\nresults:"),
        "10: limits.retention.default: 0 (no limit) is above the maximum",
    ),
    "key twice": (("title: A thing", "title: A thing\ntitle: Another"), "3: title: title is there twice"),
    "key twice, deeper": (
        ("datatype: int", "datatype: int\n    datatype: long"),
        "8: parameters[0].datatype: datatype is",
    ),
    "parameter twice": (("name: FLAG", "name: n"), "8: parameters[1].name: 'n' is declared twice"),
    "name of DALI": (("name: FLAG", "name: maxrec"), "8: parameters[1].name: 'maxrec' has a meaning of its own"),
    "name of UWS": (("name: FLAG", "name: Phase"), "8: parameters[1].name: 'Phase' has a meaning of its own"),
    "minimum above maximum": (
        ("datatype: int", "datatype: int\n    minimum: 2\n    maximum: 1"),
        "8: parameters[0].minimum: 2 is above the maximum of 1",
    ),
    "minimum of a text": (
        ("name: FLAG", "name: FLAG\n    minimum: 1"),
        "9: parameters[1].minimum: values of datatype char",
    ),
    "bad default": (
        ("datatype: int", "datatype: int\n    default: 1.5"),
        "8: parameters[0].default: N='1.5' is not allowed",
    ),
    "bad option": (("datatype: int", "datatype: int\n    options: [1, x]"), "8: parameters[0].options: N='x' is not"),
    "default that is no option": (
        ("datatype: int", "options: [a, b]\n    default: c"),
        "8: parameters[0].default: N='c' is not allowed; it must be one of a, b",
    ),
    "default of what is required": (
        ("datatype: int", "required: true\n    default: x"),
        "8: parameters[0].default: a required parameter never takes its default",
    ),
    "circle of integers": (
        ("datatype: int", "datatype: int\n    arraysize: 3\n    xtype: circle"),
        "9: parameters[0].xtype: 'circle' needs a datatype of double, float, not int",
    ),
    "circle of two": (
        ("datatype: int", "datatype: double\n    arraysize: 2\n    xtype: circle"),
        "9: parameters[0].xtype: 'circle' needs the arraysize '3', not 2",
    ),
    "timestamp of numbers": (
        ("datatype: int", "datatype: int\n    xtype: timestamp"),
        "8: parameters[0].xtype: 'timestamp' needs the datatype char",
    ),
    "file several times": (
        ("name: FLAG", "name: F\n    file: true\n    repeated: true"),
        "10: parameters[1].repeated: a file parameter takes one file",
    ),
    "file by default": (
        ("name: FLAG", "name: F\n    file: true\n    default: /etc/passwd"),
        "10: parameters[1].default: '/etc/passwd' is not allowed; the default of a file parameter is an http(s) URL",
    ),
    "unknown placeholder": (("{N}", "{M}"), "4: command[1]: {M} is not declared; declared: FLAG, N"),
    "file as a value": (
        ("name: FLAG", "name: FLAG\n    file: true"),
        "4: command[2]: {FLAG} is a file; write {INPUT:FLAG}",
    ),
    "value as a file": (("{FLAG}", "{INPUT:FLAG}"), "4: command[2]: {INPUT:FLAG} is no file; files: none"),
    "result twice": (
        ("results:\n", "results:\n  - {id: result, path: a, media_type: a/b}\n"),
        "11: results[1].id: 'result' is declared twice",
    ),
    "result elsewhere": (
        ("path: out.csv", "path: ../out"),
        "10: results[0].path: '../out' must lie in the output folder",
    ),
    "result at the root": (("path: out.csv", "path: /etc/passwd"), "10: results[0].path: '/etc/passwd' must lie in"),
    "no media type": (("text/csv", "csv"), '10: results[0].media_type: "csv" is not allowed; it must be a media type'),
    "formats twice": (
        ("text/csv}", "text/csv, formats: {a: a/b}}\n  - {id: x, path: x, media_type: a/b, formats: {a: a/b}}"),
        "11: results[1].formats: RESPONSEFORMAT chooses the format of one result",
    ),
    "maxrec": (
        ("results:", "maxrec: {default: 5, maximum: 4}\nresults:"),
        "9: maxrec.default: 5 is above the maximum of 4",
    ),
    "uploads": (("results:", "uploads: {minimum: 2}\nresults:"), "9: uploads.minimum: 2 is above the maximum of 1"),
    "example": (
        ("results:", "examples:\n  - name: e\n    parameters: {N: x}\nresults:"),
        "11: examples[0].parameters: N='x' is not allowed; it must be",
    ),
    "example of what is not there": (
        ("results:", "examples:\n  - name: e\n    parameters: {M: 1}\nresults:"),
        "11: examples[0].parameters.M: M is not declared; declared: FLAG, N",
    ),
    "example with uploads": (
        ("results:", "examples:\n  - name: e\n    parameters: {UPLOAD: 'a,param:b'}\nresults:"),
        "11: examples[0].parameters: The application 'thing' takes no UPLOAD",
    ),
    "no YAML": (("title: A thing", "title: [A thing"), "3: not YAML: "),
    "a tab": (("  - name: FLAG", "\t- name: FLAG"), "8: not YAML: "),
    "an object": (
        ("title: A thing", "title: !!python/object:os.system {}"),
        "2: not YAML: could not determine a constructor",
    ),
    "unknown alias": (("title: A thing", "title: *a"), "2: not YAML: found undefined alias"),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_mistakes(tmp_path: Path, case: str) -> None:
    """Each is told alone, with its line and field."""
    (old, new), expected = CHANGES[case]
    assert BASE.count(old) == 1, old
    text = BASE.replace(old, new)
    if "FLAG" not in new and "FLAG" in old:
        text = text.replace(', "{FLAG}"', "")  # what is no parameter any more
    (message,) = problems(tmp_path, text)
    assert message.startswith(expected), message


@pytest.mark.parametrize(
    "text",
    ["", "- a\n- b\n", "just text", "null", "name: a\n---\nname: b\n", "a: &a [*a]\n", "? [1]\n: 2\n", "\0", "a: \x07"],
)
def test_what_is_no_descriptor_at_all(tmp_path: Path, text: str) -> None:
    """Is told in words."""
    assert problems(tmp_path, text)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    """Missing, a folder's worth of nothing, no UTF-8."""
    with pytest.raises(ConfigurationError, match="there is no such file or folder"):
        load_applications([tmp_path / "missing"], STANDARDS)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(BASE.replace("A thing", "Ä thing").encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"latin\.yaml: can't be read"):
        load_applications([latin], STANDARDS)
    (tmp_path / "empty").mkdir()
    assert load_applications([tmp_path / "empty"], STANDARDS, builtin=False) == {}


def test_everything_at_once(tmp_path: Path) -> None:
    """All mistakes of all files, in order of lines."""
    first = written(tmp_path, BASE.replace("datatype: int", "datatype: integer").replace("title:", "titel:"), "a.yaml")
    second = written(tmp_path, BASE.replace("{N}", "{M}").replace("name: FLAG", "name: N"), "b.yml")
    written(tmp_path, BASE, "c.yaml")
    written(tmp_path, BASE, "d.yaml")
    (tmp_path / "not-a-descriptor.txt").write_text("nonsense")
    with pytest.raises(ConfigurationError) as raised:
        load_applications([tmp_path], STANDARDS, builtin=False)
    lines = str(raised.value).split("\n")
    assert sorted(line.partition(": ")[0] for line in lines) == sorted(
        [f"{first}:1", f"{first}:2", f"{first}:7", f"{second}:4", f"{second}:4", f"{second}:8", f"{tmp_path}/d.yaml:1"]
    )
    assert lines[-1].endswith(f"name: 'thing' is declared in {tmp_path}/c.yaml too")


@pytest.mark.parametrize(
    ("command", "bad"),
    [
        (["sh", "-c", "echo {N}"], True),
        (["/bin/bash", "-ec", "echo {N}"], True),
        (["bash", "-c", "-e", "echo {N}"], True),
        (["bash", "-o", "pipefail", "-c", "echo {N}"], True),
        (["env", "A=b", "dash", "-c", "echo {N}"], True),
        (["timeout", "5", "sh", "-euc", "echo $1 {N}", "sh", "{N}"], True),
        (["sh", "-c", 'echo "$1"', "sh", "{N}"], False),
        (["sh", "-c", 'echo "$UWS_PARAM_N"'], False),
        (["bash", "script.sh", "--spec", "{N}"], False),
        (["bash", "-eu", "script.sh", "-c", "{N}"], False),
        (["sh", "-c", "cat {INPUT:F}"], False),
        (["run", "-c", "{N}"], False),
    ],
)
def test_scripts_of_shells(tmp_path: Path, command: list[str], bad: bool) -> None:
    """A value in a script would be run."""
    text = BASE.replace(
        '[run, "--n={N}", "{FLAG}"]', yaml.safe_dump(command, default_flow_style=True, width=500).strip()
    )
    text = text.replace("results:", "  - {name: F, file: true}\nresults:")
    if not bad:
        assert load(tmp_path, text).command == tuple(command)
        return
    (message,) = problems(tmp_path, text)
    assert "{N} inside a shell's script lets a user run anything" in message and "$UWS_PARAM_N" in message


def test_the_applications_that_ship() -> None:
    """They load, with examples and units, by their names."""
    applications = load_applications([], STANDARDS)
    assert set(applications) == {file.stem for file in BUILTIN.glob("*.yaml")} >= {"crossmatch", "sleep"}
    for application in applications.values():
        assert application.examples and all(parameter.description for parameter in application.parameters)


def test_reference() -> None:
    """Every field of the schema stands in the reference."""
    text = descriptor_reference()
    for field in ("`name` (required)", "`parameters[].xtype`", "`limits.retention.maximum`", "`uploads.size`"):
        assert field in text
    assert '| `uploads.size` | integer or string | `"256MiB"` |' in text
