"""Submit files and JDL as requests for a container job."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.client.translate import Translation, translate
from uws_service.domain.errors import UsageError

SUBMIT_FILE = """\
# A survey's mosaics
universe = container
container_image = docker://registry.example.org/tools/mosaic:3.1
tile = field_$(Process)
executable = /usr/bin/mosaic
arguments = "--tile $(tile) --title 'Deep ''field'' 1' --quote ""x"" -v"
environment = "OMP_NUM_THREADS=4 TITLE='two words'"
request_cpus = 4
request_memory = 512
request_disk = 2 GB
transfer_input_files = https://archive.example.org/a.fits?band=3, scope:data.set, \\
    list.txt
output = out.$(Process)
log = mosaic.log
requirements = (OpSys == "LINUX")
queue 2
"""

JDL = """\
[
  JobName = "mosaic";
  Executable = "/usr/bin/mosaic";
  Arguments = "--tile 'field 1' --n %s";
  InputData = {"LFN:/ska/user/a.fits", "testing:b.fits"};
  OutputSandbox = {"std.out", "mosaic.fits"};
  StdOutput = "std.out";
  NumberOfProcessors = 2;
  CPUTime = 3600;
  Parameters = 2;
]
"""


def remark_about(translation: Translation, word: str) -> str:
    """Return the only remark with a word."""
    (remark,) = [remark for remark in translation.remarks if word in remark]
    return remark


def test_a_submit_file() -> None:
    """Macros, both quotings, units, several jobs."""
    translation = translate(SUBMIT_FILE)
    first, second = translation.requests
    assert first == (
        ("IMAGE", "registry.example.org/tools/mosaic:3.1"),
        ("COMMAND", "/usr/bin/mosaic"),
        ("COMMAND", "--tile"),
        ("COMMAND", "field_0"),
        ("COMMAND", "--title"),
        ("COMMAND", "Deep 'field' 1"),
        ("COMMAND", "--quote"),
        ("COMMAND", '"x"'),
        ("COMMAND", "-v"),
        ("ENV", "OMP_NUM_THREADS=4"),
        ("ENV", "TITLE=two words"),
        ("CPU", "4"),
        ("MEMORY", "512MiB"),
        ("DISK", "2GiB"),
        ("INPUT", "a.fits,https://archive.example.org/a.fits?band=3"),
        ("DATASET", "scope:data.set"),
    )
    assert ("COMMAND", "field_1") in second
    assert "INPUT=NAME,param:PART" in remark_about(translation, "list.txt")
    assert "chosen by what the job needs" in remark_about(translation, "requirements")
    assert "kept" in remark_about(translation, "mosaic.log")


def test_a_jdl() -> None:
    """Lists, quotes, streams that are no results, parametric jobs."""
    translation = translate(JDL, image="registry.example.org/tools/mosaic:3.1")
    assert translation.requests[1] == (
        ("IMAGE", "registry.example.org/tools/mosaic:3.1"),
        ("COMMAND", "/usr/bin/mosaic"),
        ("COMMAND", "--tile"),
        ("COMMAND", "field 1"),
        ("COMMAND", "--n"),
        ("COMMAND", "1"),
        ("RUNID", "mosaic"),
        ("DATASET", "testing:b.fits"),
        ("CPU", "2"),
        ("OUTPUT", "mosaic.fits"),
    )
    assert "data identifier" in remark_about(translation, "LFN:/ska/user/a.fits")
    assert "EXECUTIONDURATION" in remark_about(translation, "CPUTime")


def test_without_an_image() -> None:
    """Nothing runs without one, so it is asked for."""
    assert "IMAGE" in remark_about(translate("executable = /bin/true\nqueue\n"), "image")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("executable = /bin/true\n", "no queue statement"),
        ("executable /bin/true\nqueue\n", "line 1"),
        ("executable = /bin/true\nqueue 3 file in (a b)\n", "line 2"),
        ("executable = /bin/true\nqueue 0\n", "1 to 10000"),
        ("executable = /bin/true\nqueue 99999999999\n", "1 to 10000"),
        ("a = $(b)\nb = $(a)\nexecutable = $(a)\nqueue\n", "no end"),
        ('Executable = "/bin/true;\n', "quote is not closed"),
        ("[ Executable; ]", "no statement"),
        ('[ Executable = "/bin/true"; Arguments = "\'a"; ]', "Arguments"),
        ('[ Executable = "/bin/true"; JobName = "a\nb"; ]', "line break"),
    ],
)
def test_what_cannot_be_read(text: str, words: str) -> None:
    """The message says where and what."""
    with pytest.raises(UsageError) as caught:
        translate(text)
    assert words in caught.value.message


NAMES = st.sampled_from(
    ["request_cpus", "request_memory", "environment", "rank", "output", "nice_user", "+Project", "on_exit_remove"]
)
VALUES = st.text(string.ascii_letters + string.digits + "=", min_size=1, max_size=12)


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_nothing_is_left_out(statements: dict[str, str]) -> None:
    """Each statement is in the request or in a remark."""
    lines = [f"{name} = {value}" for name, value in statements.items()]
    translation = translate("\n".join([*lines, "executable = /bin/true", "queue"]))
    words = [value for _, value in translation.requests[0]]
    for name, value in statements.items():
        in_request = any(word == value or word.removesuffix("MiB") == value for word in words)
        assert in_request or any(name in remark and value in remark for remark in translation.remarks)
