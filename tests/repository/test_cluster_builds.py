"""Programs are built once, whoever asks and however many at once; images follow from their contents."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig import archives, build, images
from tests.rig.build import TOOLS, Tool
from tests.rig.errors import ClusterError
from tests.rig.paths import CHECKOUT, state_folder
from tests.tiers import require

PROGRAM = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("built") }\n'
BUILDER = """
import sys
from pathlib import Path
from tests.rig import build
folder = Path(sys.argv[1])
tool = build.Tool("tiny", "1.0", ("build", "-o", "{output}", "."), 0.1, (folder / "main.go",), folder)
build.TOOLS["tiny"] = tool
print(build.ensure("tiny")["tiny"])
"""


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a little program's sources."""
    require("go")
    monkeypatch.setenv("UWS_CLUSTER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "go.mod").write_text("module tiny\n\ngo 1.21\n")
    (folder / "main.go").write_text(PROGRAM)
    return folder


def builder(folder: Path) -> subprocess.Popen[str]:
    """Return a process that wants the little program."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILDER, str(folder)], cwd=CHECKOUT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_two_builders_at_once(sources: Path) -> None:
    """The second waits for the first.

    Both get the same program, which was built once.
    """
    answers = [process.communicate(timeout=120) for process in (builder(sources), builder(sources))]
    assert sum("Building tiny 1.0" in err for _, err in answers) >= 1
    assert sum(err.count("about 0.1 min") for _, err in answers) == 1
    (path,) = {out.strip() for out, _ in answers}
    assert subprocess.run([path], capture_output=True, text=True, check=True).stdout == "built\n"


def test_a_change_is_built_anew_and_a_failure_is_told(sources: Path) -> None:
    """The program follows its sources.

    What can't be built leaves nothing that looks as if it were.
    """
    tool = Tool("tiny", "1.0", ("build", "-o", "{output}", "."), 0.1, (sources / "main.go",), sources)
    report = io.StringIO()
    first = build._ensure(tool, report)
    (sources / "main.go").write_text(PROGRAM.replace("built", "anew"))
    second = build._ensure(tool, report)
    assert first != second and first.exists()
    (sources / "main.go").write_text("no Go")
    with pytest.raises(ClusterError, match=r"(?s)tiny 1\.0 could not be built.*main\.go:1"):
        build._ensure(tool, report)
    assert not tool.home.exists() and not list(tool.home.parent.glob(".tiny-*"))


def test_keys_follow_from_what_is_built() -> None:
    """Another version, other flags or another module file give another place in the cache."""
    tool = TOOLS["kwok"]
    assert len({tool.home for tool in TOOLS.values()}) == len(TOOLS)
    assert replace(tool, version="0.8.1").key != tool.key
    assert replace(tool, arguments=("install",)).key != tool.key
    assert TOOLS["kubernetes"].key != replace(TOOLS["kubernetes"], sources=()).key


def test_layers_follow_from_their_contents(tmp_path: Path) -> None:
    """The same files give the same layer, whenever and wherever it is written; thin archives lack what is known."""
    entries = [archives.Entry("a/b", content=b"1"), archives.Entry("c", link="a/b"), archives.folder("tmp", 0o1777)]
    first, two = (archives.write_layer(entries, tmp_path / name) for name in ("one", "two"))
    assert first.digest == two.digest and first.size == two.size
    with tarfile.open(first.path) as tar:
        assert tar.getnames() == ["a", "a/b", "c", "tmp"]
        assert tar.getmember("tmp").mode == 0o1777 and tar.getmember("a").isdir()
    image = archives.write_image("docker.io/local/x:1", [first], tmp_path / "image.tar", {"Cmd": ["c"]})
    with (tmp_path / "thin.tar").open("wb") as file:
        archives.write_thin(image, {first.digest}, file)
    with tarfile.open(image) as full, tarfile.open(tmp_path / "thin.tar") as thin:
        assert set(full.getnames()) - set(thin.getnames()) == {f"blobs/sha256/{first.digest}"}


def test_missing_programs_are_named_with_their_packages() -> None:
    """All that is missing is named."""
    with pytest.raises(ClusterError, match="ip, runc, tc not found; Debian has them in: iproute2 runc"):
        build.paths(["ip", "runc", "tc"], find=lambda _: None)


@pytest.mark.parametrize("bad", ["/run/x", "/var/lib/uws", "/var/tmp/" + "x" * 60])
def test_state_folder(monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    """An unusable folder is refused."""
    monkeypatch.setenv("UWS_CLUSTER_STATE", bad)
    with pytest.raises(ClusterError, match="UWS_CLUSTER_STATE is"):
        state_folder()


def test_names_of_images() -> None:
    """All are local names."""
    names = {images.PAUSE, images.BUSYBOX, images.SERVICE, images.AGENT}
    assert len(names) == 4 and all(name.startswith("docker.io/local/") for name in names)
