"""Task descriptions of PanDA as requests for a container job.

The two files beside this one were written by prun of panda-client 2.2.0, with the options that they name in cliParams.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.client.test_translate import remark_about
from uws_service.client.translate import Translation, translate
from uws_service.domain.errors import UsageError

IMAGE = "registry.example.org/tools/mosaic:3.1"
WRAPPED = {"jobParameters": [{"type": "constant", "value": "-p true"}], "container_name": IMAGE}


def of_prun(name: str) -> Translation:
    """Return the translation of a file of prun."""
    return translate(Path(__file__).with_name(f"prun_{name}.json").read_text(encoding="utf-8"))


def of_task(**parameters: Any) -> Translation:
    """Return the translation of a task that runs ``true``, with other parameters."""
    return translate(json.dumps({**WRAPPED, **parameters}))


def test_a_task_that_splits_its_input() -> None:
    """Command line, resources in units of PanDA, data set, outputs; what PanDA would fill in is told."""
    translation = of_prun("split")
    assert translation.requests == (
        (
            ("IMAGE", IMAGE),
            ("COMMAND", "/bin/sh"),
            ("COMMAND", "-c"),
            ("COMMAND", "python /opt/run.py --seed ${SEQNUMBER} %IN > result.txt"),
            ("RUNID", "user.alice.mosaic"),
            ("SITE", "TESTQ"),
            ("CPU", "8"),
            ("MEMORY", "16000MiB"),
            ("EXECUTIONDURATION", "10800"),
            ("DATASET", "testing:survey.field1"),
            ("OUTPUT", "result.txt"),
        ),
    )
    assert "$UWS_INPUT_DIR" in remark_about(translation, "%IN:")
    assert "write it yourself" in remark_about(translation, "${SEQNUMBER}:")
    assert "table" in remark_about(translation, "nFilesPerJob = 2")
    assert "as a whole" in remark_about(translation, "exclude")


def test_every_parameter_of_prun_is_in_the_request_or_told() -> None:
    for name in ("split", "repeated"):
        parameters = json.loads(Path(__file__).with_name(f"prun_{name}.json").read_text(encoding="utf-8"))
        translation = of_prun(name)
        remarks = {remark.partition(" = ")[0] for remark in translation.remarks}
        used = {"jobParameters", "container_name", "site", "taskName", "ramCount", "ramCountUnit", "dsForIN"}
        used |= {"coreCount", "maxWalltime", "nEvents", "nEventsPerJob", "noInput"}
        assert [key for key, value in parameters.items() if value and key not in remarks | used] == []


def test_a_task_of_several_jobs() -> None:
    translation = of_prun("repeated")
    assert len(translation.requests) == 3
    assert translation.requests[2][3] == ("COMMAND", "/usr/bin/mosaic --title 'Deep field'")
    assert ("OUTPUT", "mosaic.fits") in translation.requests[2]


def test_a_program_without_a_wrapper() -> None:
    """Its words are the arguments; the server's API wraps the parameters; hidden and unpadded values."""
    items = [
        {"type": "constant", "value": "--name=", "padding": False},
        {"type": "constant", "value": "'Ada Lovelace'"},
        {"type": "constant", "value": "__delimiter__", "hidden": True},
        {"type": "template", "param_type": "output", "value": "out=a.${SN}.root", "dataset": "user.a"},
        {"type": "template", "param_type": "input", "value": "${IN}", "dataset": "no_scope.data"},
    ]
    task = {"transPath": "/usr/bin/hello", "jobParameters": items, "container_name": f"docker://{IMAGE}"}
    translation = translate(json.dumps({"task_parameters": task}))
    words = [value for name, value in translation.requests[0] if name == "COMMAND"]
    assert words == ["/usr/bin/hello", "--name=Ada Lovelace", "out=a.${SN}.root", "${IN}"]
    assert "data identifier" in remark_about(translation, "no_scope.data")
    assert "are the results" in remark_about(translation, "output = ")
    assert "write it yourself" in remark_about(translation, "${SN}:")


def test_a_program_that_a_pilot_fetches() -> None:
    translation = of_task(transPath="https://example.org/trf/runAnything-1", jobParameters=[])
    assert "has to be in the image" in remark_about(translation, "transPath")


def test_a_list_of_files() -> None:
    """Each job gets its part."""
    files = [f"https://archive.example.org/{name}.fits" for name in "abc"]
    translation = of_task(pfnList=[*files, "/eos/d.fits"], nFilesPerJob=2, noInput=True)
    assert [name for request in translation.requests for name, _ in request].count("INPUT") == 3
    assert ("INPUT", f"c.fits,{files[2]}") in translation.requests[1]
    assert "param:PART" in remark_about(translation, "/eos/d.fits")
    assert "splits by size" in remark_about(of_task(pfnList=files), "pfnList")


@pytest.mark.parametrize(
    ("parameters", "parameter"),
    [
        ({"ramCount": 2000}, ("MEMORY", "2000MiB")),
        ({"ramCount": "2000", "ramUnit": "MBPerCoreFixed", "coreCount": 2}, ("MEMORY", "4000MiB")),
        ({"outDiskCount": 500, "outDiskUnit": "kBFixed"}, ("DISK", "500KiB")),
    ],
)
def test_units(parameters: dict[str, Any], parameter: tuple[str, str]) -> None:
    assert parameter in of_task(**parameters).requests[0]


def test_units_that_depend_on_the_input() -> None:
    assert "set DISK" in remark_about(of_task(outDiskCount=500, outDiskUnit="kB"), "outDiskCount")
    assert "translated" in remark_about(of_task(ramCount=5, ramUnit="GB"), "ramCount")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"transPath": "x"', "line 1"),
        ('{"a": 1}', "no jobParameters"),
        ('{"task_parameters": [1]}', "no jobParameters"),
        ('{"a": NaN}', "NaN"),
        ('{"a": 1, "a": 2}', "stands twice"),
        ('{"a": ' + "[" * 100_000, "too deeply"),
        ('{"a": ' + "1" * 5000 + "}", "too long"),
        ('{"jobParameters": "x"}', "list of objects"),
        ('{"jobParameters": [{"value": 1}]}', "must be a text"),
        ('{"jobParameters": [{"value": "\'a"}]}', "No closing quotation"),
        ('{"jobParameters": []}', "no -p"),
        ('{"transPath": "/a", "jobParameters": [], "ramCount": -1}', "not negative"),
        ('{"transPath": "/a", "jobParameters": [], "ramCount": true}', "not negative"),
        ('{"transPath": "/a", "jobParameters": [], "pfnList": "a"}', "list of texts"),
        ('{"transPath": "/a", "jobParameters": [], "noInput": 1, "nEvents": 20000, "nEventsPerJob": 1}', "1 to 10000"),
        ('{"transPath": "/a", "jobParameters": [], "taskName": "a\\nb"}', "line break"),
    ],
)
def test_what_cannot_be_read(text: str, words: str) -> None:
    """The message says what and where."""
    with pytest.raises(UsageError) as caught:
        translate(text)
    assert words in caught.value.message


NAMES = st.sampled_from(["vo", "cloud", "useScout", "maxAttempt", "someNewParameter", "walltime", "nEventsPerJob"])


@given(st.dictionaries(NAMES, st.one_of(st.integers(1, 10**6), st.just([1]), st.just({"a": 1})), min_size=1))
def test_nothing_is_left_out(parameters: dict[str, Any]) -> None:
    """Each parameter is named in a remark, of whatever type it is."""
    translation = of_task(**parameters)
    remarks = {remark.partition(" = ")[0] for remark in translation.remarks}
    assert set(parameters) <= remarks


READ = ("jobParameters", "pfnList", "ramCount", "coreCount", "taskName", "site", "transPath", "log", "nEvents")


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_any_value_is_translated_or_refused(value: Any) -> None:
    """No value of any parameter ends in another error than a UsageError."""
    for name in READ:
        with contextlib.suppress(UsageError):
            assert of_task(noInput=True, nEventsPerJob=1, **{name: value}).requests
