"""CWL tools as applications and back; ``cwltool``, the reference runner, judges and runs them beside us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cwl import CWL
from tests.kit.authors import Author
from uws_service.domain.errors import ConfigurationError
from uws_service.kit.checks import check_descriptor
from uws_service.kit.cwl import import_tool, read_tool

TOOL = """\
cwlVersion: v1.2
class: CommandLineTool
id: pick
label: Pick lines
baseCommand: [grep]
arguments: [--text, {prefix: -m, valueFrom: "5", position: 1}]
inputs:
  ignore_case: {type: "boolean?", inputBinding: {prefix: --ignore-case, position: 2}}
  context: {type: "int?", inputBinding: {prefix: --context, position: 3, separate: true}}
  colour:
    type: {type: enum, symbols: [always, never]}
    default: never
    inputBinding: {prefix: --color=, separate: false, position: 4}
  patterns:
    type: {type: array, items: string, inputBinding: {prefix: --regexp=, separate: false}}
    inputBinding: {position: 5}
  text: {type: File, doc: The lines., inputBinding: {position: 9}}
  report: {type: string, default: lines.txt}
outputs:
  lines: {type: File, outputBinding: {glob: $(inputs.report)}}
stdout: $(inputs.report)
requirements:
  ResourceRequirement: {coresMin: 1, ramMin: 64}
"""


@pytest.fixture
def author(tmp_path: Path) -> Author:
    """Return an author with an empty folder."""
    return Author(tmp_path / "mine")


def cwltool(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the reference runner, without containers and without a network."""
    return subprocess.run(
        [CWL.require("cwltool"), "--quiet", "--no-container", *words],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder)},
    )  # fmt: skip


def content_of(trial: Any, name: str) -> str:
    (path,) = [result["path"] for result in trial["results"] if result["id"] == name]
    return Path(path).read_text()


def test_a_tool_becomes_an_application(author: Author) -> None:
    """Flags, prefixes, enumerations, arrays, standard output; an optional input that is not given leaves no word."""
    (author.folder / "pick.cwl").write_text(TOOL)
    imported = author.json("import", "pick.cwl")
    assert imported["problems"] == [] and "report: names an output; it is always 'lines.txt'" in imported["remarks"][0]
    descriptor = yaml.safe_load((author.folder / "pick.yaml").read_text())
    assert descriptor["command"][4:] == [
        "grep", "--text", "-m", "5", "{IGNORE_CASE?--ignore-case}", "{CONTEXT?--context}", "{CONTEXT}",
        "--color={COLOUR}", "--regexp={PATTERNS}", "{INPUT:TEXT}",
    ]  # fmt: skip
    assert descriptor["resources"] == {"cpu": 1, "memory": "64MiB"}
    (author.folder / "text").write_text("Alpha\nbeta\ngamma\nalpha\n")
    words = ("PATTERNS=alpha", "PATTERNS=gam", "TEXT=@text")
    assert content_of(author.json("try", "pick.yaml", *words), "lines") == "gamma\nalpha\n"
    trial = author.json("try", "pick.yaml", *words, "IGNORE_CASE=true", "CONTEXT=0")
    assert content_of(trial, "lines").replace("--\n", "") == "Alpha\ngamma\nalpha\n"
    second = author.app("import", "pick.cwl")
    assert second.returncode == 2 and "is there already" in second.stderr


def test_what_users_send_is_never_in_a_script(author: Author) -> None:
    """Values stay words, whatever they hold."""
    (author.folder / "pick.cwl").write_text(TOOL)
    author.app("import", "pick.cwl")
    (author.folder / "text").write_text("a $(touch hit) b\n")
    trial = author.json("try", "pick.yaml", 'PATTERNS="; touch hit; $(touch hit) `touch hit`', "TEXT=@text", "--keep")
    assert trial["exit_code"] == 1  # grep has matched nothing
    assert not list(Path(trial["work"]).rglob("hit"))


TEXT = {"class": "File", "path": "text"}
VALUE = 'valueFrom: "5"'
FILE = "type: File, doc"
RESOURCES = "ResourceRequirement: {"
GLOB = "glob: $(inputs.report)"
UNMAPPABLE = [
    ("cwlVersion: v1.2", "cwlVersion: draft-3", "'draft-3' is not understood; allowed: v1.0, v1.1, v1.2"),
    ("class: CommandLineTool", "class: Workflow", "class: 'Workflow' can't be an application"),
    (VALUE, 'valueFrom: "${return 5}"', "arguments[1]: '${return 5}' is JavaScript"),
    (VALUE, 'valueFrom: "$(inputs.text.size)"', "size of the file 'text' is not known before the job"),
    (VALUE, 'valueFrom: "$(inputs.tex)"', "there is no input 'tex'; inputs: ignore_case, context"),
    (VALUE, 'valueFrom: "{TEXT}"', "has braces, which mean something else"),
    (FILE, "type: Directory, doc", "inputs: text: takes the type Directory, which no parameter can"),
    (FILE, "type: 'File[]', doc", "inputs: text: takes files in any number"),
    (FILE, "type: File, secondaryFiles: [.bai], doc", "inputs: text: takes a file with secondary files"),
    ("inputBinding: {position: 5}", "inputBinding: {itemSeparator: ','}", "itemSeparator joins values to one word"),
    (RESOURCES, f"InitialWorkDirRequirement: {{}}\n  {RESOURCES}", "requirements: InitialWorkDirRequirement"),
    (RESOURCES, f"ShellCommandRequirement: {{}}\n  {RESOURCES}", "requirements: ShellCommandRequirement"),
    ("coresMin: 1", "coresMin: $(inputs.context)", "coresMin: '$(inputs.context)' must be a number"),
    (GLOB, "glob: 'a[0-9].txt'", "`*` is the only wildcard of results"),
    (GLOB, "glob: $(inputs.text.nameroot).out", "the names of results are the same in all jobs"),
    ("type: File, outputBinding", "type: Directory, outputBinding", "outputs: lines: the type Directory can't be"),
    ("stdout: $(", "successCodes: [0, 1]\nstdout: $(", "successCodes: exit code 0 alone means success"),
    ("label: Pick lines", "$graph: []", "$graph: holds several tools"),
    ("label: Pick lines", "label: {$include: x}", "$include refers to another file"),
]


@pytest.mark.parametrize(("old", "new", "problem"), UNMAPPABLE)
def test_what_can_not_be_mapped_is_told(author: Author, old: str, new: str, problem: str) -> None:
    """With its place; and nothing is written."""
    assert old in TOOL
    (author.folder / "pick.cwl").write_text(TOOL.replace(old, new, 1))
    ended = author.app("import", "pick.cwl")
    assert ended.returncode == 2 and "pick.cwl: " in ended.stderr and problem in ended.stderr, ended.stderr
    assert not (author.folder / "pick.yaml").exists()


@pytest.mark.parametrize(
    ("name", "words", "job", "output"),
    [
        ("revtool.cwl", ["REVTOOL_INPUT=@text"], {"revtool_input": TEXT}, "revtool_output"),
        (
            "sorttool.cwl",
            ["SORTED_INPUT=@text", "REVERSE=true"],
            {"sorted_input": TEXT, "reverse": True},
            "sorted_output",
        ),
    ],
)
def test_tools_of_others_give_the_same_here_and_there(
    author: Author, name: str, words: list[str], job: dict[str, Any], output: str
) -> None:
    """Tools that come with cwltool (Apache License 2.0, github.com/common-workflow-language/cwltool, tests/wf)."""
    (source,) = (CWL.require().parents[1] / "lib").glob(f"python*/site-packages/cwltool/tests/wf/{name}")
    shutil.copy(source, author.folder / name)
    (author.folder / "text").write_text("one\nthree\ntwo\n")
    (author.folder / "job.json").write_text(json.dumps(job))
    reference = cwltool(author.folder, "--outdir", "theirs", name, "job.json")
    assert reference.returncode == 0, reference.stderr
    path = json.loads(reference.stdout)[output]["path"]
    imported = author.json("import", name, "-o", "ours.yaml")
    assert imported["problems"] == []
    trial = author.json("try", "ours.yaml", *words)
    assert trial["error"] == "" and content_of(trial, output) == Path(path).read_text() != ""


def test_an_application_becomes_a_tool(author: Author) -> None:
    """The reference runner finds it valid, and gives what a trial gives."""
    author.app("init", "stats", ".")
    exported = author.app("export", "stats.yaml", "-o", "stats.cwl")
    assert exported.returncode == 0, exported.stderr
    valid = cwltool(author.folder, "--validate", "stats.cwl")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    table = "tests/declination/galaxies.csv"
    reference = cwltool(
        author.folder, "--outdir", "theirs", "stats.cwl", "--TABLE", table, "--COLUMN", "dec", "--VERBOSE"
    )
    assert reference.returncode == 0, reference.stderr
    trial = author.json("try", "stats.yaml", f"TABLE=@{table}", "COLUMN=dec")
    assert (author.folder / "theirs" / "result.csv").read_text() == content_of(trial, "result")


def test_there_and_back(author: Author) -> None:
    """An imported tool that is exported is valid, and an exported one can be imported."""
    (author.folder / "pick.cwl").write_text(TOOL)
    author.app("import", "pick.cwl")
    assert author.app("export", "pick.yaml", "-o", "back.cwl").returncode == 0
    valid = cwltool(author.folder, "--validate", "back.cwl")
    assert valid.returncode == 0, valid.stdout + valid.stderr
    author.app("init", "stats", "stats")
    author.app("export", "stats/stats.yaml", "-o", "stats.cwl")
    assert author.json("import", "stats.cwl", "-o", "back.yaml")["problems"] == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["thing", "{N?-n}", "x"], "command[1]: CWL puts a prefix only before its own value"),
        (["thing", "{N}/{INPUT:TABLE}"], "command[1]: {N} may have no value, or several, beside others"),
        (["thing", "$UWS_INPUT_DIR"], "command: reads UWS_INPUT_DIR, which only the service has"),
        (
            ["sh", "-c", "echo $UWS_PARAM_N > $UWS_OUTPUT_DIR/out.txt"],
            "reads UWS_PARAM_N; CWL's variables are texts that always have a value",
        ),
        (["{N}"], "command[0]: the program itself depends on the job"),
    ],
)
def test_what_cwl_can_not_say_is_told(author: Author, command: list[str], problem: str) -> None:
    """With its place; and nothing is written."""
    ended = author.app("export", author.describe(command), "-o", "thing.cwl")
    assert ended.returncode == 2 and problem in ended.stderr, ended.stderr
    assert not (author.folder / "thing.cwl").exists()


def test_every_tool_of_others_is_taken_or_refused_with_a_reason(tmp_path: Path) -> None:
    """Of the hundreds that come with cwltool, broken ones too: what is taken passes the checks of a service."""
    CWL.require()
    files = sorted((CWL.folder / "lib").glob("python*/site-packages/cwltool/tests/**/*.cwl"))
    taken_over, refusals = [], []
    for number, file in enumerate(files):
        try:
            fields, _ = import_tool(read_tool(file))
        except ConfigurationError as error:
            assert error.message.startswith(f"{file}:")
            refusals.append(file.name)
            continue
        descriptor = tmp_path / f"{number}.yaml"
        descriptor.write_text(yaml.safe_dump(fields, sort_keys=False))
        verdict = check_descriptor(descriptor)
        assert verdict.problems == (), (file, verdict.problems)
        taken_over.append(file.name)
    assert {"revtool.cwl", "sorttool.cwl"} <= set(taken_over) and len(taken_over) >= 30
    assert "malformed_outputs.cwl" in refusals and "revsort.cwl" in refusals
