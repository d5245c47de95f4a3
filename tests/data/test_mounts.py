"""Data that a site of this machine has already, and the agent's look at what a pod has mounted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.test_jobs import ended, files_of, run, service, show
from tests.server import Server
from tests.service.client import Uws
from uws_service.agent.confined import open_below
from uws_service.agent.pod import Agent, Problem, _check_mount
from uws_service.agent.upstream import Upstream
from uws_service.domain.attempt import Input, Mount
from uws_service.domain.errors import NotFound
from uws_service.sites.local import workfolder


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a storage area with files, and an index of them beside it."""
    top = tmp_path_factory.mktemp("lake")
    area = top / "area"
    (area / "obs").mkdir(parents=True)
    (area / "obs" / "a.fits").write_bytes(b"a" * 1000)
    (area / "obs" / "short.fits").write_bytes(b"s" * 10)
    (area / "obs" / "folder").mkdir()
    (top / "secret").write_text("of somebody else")
    (area / "obs" / "out").symlink_to(top / "secret")
    (area / "obs" / "inner").symlink_to("a.fits")
    rows = ["identifier,file,size,area,path,url"]
    for name, path, size in (
        ("a", "obs/a.fits", 1000), ("inner", "obs/inner", 1000), ("gone", "obs/gone", 1), ("out", "obs/out", ""),
        ("short", "obs/short.fits", 1000), ("folder", "obs/folder", ""),
    ):  # fmt: skip
        rows.append(f"lake:{name},,{size},here,{path},")
    rows.append("lake:elsewhere,,5,there,obs/a.fits,")
    (top / "index.csv").write_text("\n".join(rows) + "\n")
    return top


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, lake: Path) -> Iterator[Server]:
    catalogues = [{"name": "index", "kind": "static", "index": str(lake / "index.csv")}]
    sites = [{"name": "local", "storage": [{"area": "near"}, {"area": "here", "path": str(lake / "area")}]}]
    server = service(tmp_path_factory.mktemp("service"), catalogues, UWS_SITES=json.dumps(sites))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def user(ready: Server) -> Iterator[Uws]:
    with Uws(ready.url, "reader") as client:
        yield client


@pytest.mark.parametrize("name", ["a", "inner"])
def test_files_of_an_area_are_linked(user: Uws, name: str) -> None:
    found = files_of(user, run(user, {"DATA": f"lake:{name}"}))
    assert [size for size, _ in found["files"].values()] == [1000]
    assert list(found["files"]) == [f"data/DATA/{name}"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone", "is not there"),
        ("out", "is no file of the storage area"),
        ("folder", "is no file of the storage area"),
        ("short", "has 10 bytes there instead of 1000"),
        ("elsewhere", "it can't read lake:elsewhere"),
    ],
)
def test_what_can_not_be_had_is_a_reason(user: Uws, name: str, words: str) -> None:
    """Neither a file that is missing, nor a link that leads out of the area."""
    content = ended(user, run(user, {"DATA": f"lake:{name}"}))
    assert content["phase"] == "ERROR"
    assert words in content["errorSummary"]["message"], show(user, content["jobId"])


def test_agent_links_what_is_mounted(tmp_path: Path) -> None:
    """The cluster mounts beside the input folder, so that the agent can write there; a second start changes nothing."""
    for name in ("input", "output", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "4").write_bytes(b"abc")
    agent = Agent(str(tmp_path), Upstream("http://127.0.0.1:1", "/dev/null"), "")
    item = {"name": "DATA: a", "path": "data/DATA/a", "url": None, "size": 3, "mount": {"area": "UK"}}
    for _ in range(2):
        agent._bring(4, item)
        assert (tmp_path / "input" / "data" / "DATA" / "a").read_bytes() == b"abc"
    with pytest.raises(Problem, match="leaves the input folder"):
        agent._bring(4, {**item, "path": "../a"})


@pytest.mark.parametrize(("size", "words"), [(None, ""), (3, ""), (4, "has 3 bytes instead of 4")])
def test_agent_looks_at_what_is_mounted(tmp_path: Path, size: int | None, words: str) -> None:
    """The cluster makes a folder of what is not there."""
    item: dict[str, Any] = {"name": "DATA: a", "size": size, "mount": {"area": "UK"}}
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "folder").mkdir()
    if words:
        with pytest.raises(Problem, match=words):
            _check_mount(item, str(tmp_path / "a"))
    else:
        _check_mount(item, str(tmp_path / "a"))
    for name in ("folder", "gone"):
        with pytest.raises(Problem, match="storage area UK"):
            _check_mount(item, str(tmp_path / name))


def test_copied_file_is_the_one_that_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job in an image gets a copy: what is put into the file's place after the look does not count."""
    area = tmp_path / "area"
    area.mkdir()
    (area / "a").write_bytes(b"abc")
    (tmp_path / "secret").write_bytes(b"xyz")

    def open_and_swap(folder: str, path: str) -> int:
        descriptor = open_below(folder, path)
        (area / "a").unlink()
        (area / "a").symlink_to(tmp_path / "secret")
        return descriptor

    monkeypatch.setattr(workfolder, "open_below", open_and_swap)
    item = Input("DATA: a", "data/DATA/a", size=3, mount=Mount(str(area), "a", "here"))
    workfolder._link(tmp_path / "input" / "a", item, item.mount or Mount("", ""), copies=True)
    assert (tmp_path / "input" / "a").read_bytes() == b"abc"
    (area / "a").unlink()
    (area / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(NotFound, match="is no file of the storage area"):
        workfolder._link(tmp_path / "input" / "b", item, item.mount or Mount("", ""), copies=True)
