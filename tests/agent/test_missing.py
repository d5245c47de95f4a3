"""What the error of a missing result tells.

Names inside the job's own folders, and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from uws_service.agent import folder as layout
from uws_service.agent import outputs

WANTED = {"id": "result", "path": "out.txt", "media_type": "text/plain", "required": True}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return a work folder, beside a folder of somebody else."""
    for name in (layout.OUTPUT, layout.SCRATCH):
        (tmp_path / "work" / name).mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret").touch()
    return tmp_path / "work"


def message(work: Path) -> str:
    with pytest.raises(outputs.StageOutError) as raised:
        outputs.collect_results(str(work), [WANTED])
    return str(raised.value)


def test_both_folders_are_listed(work: Path) -> None:
    """In order, with folders inside; what is empty is said to be so."""
    (work / layout.OUTPUT / "sub").mkdir()
    for name in ("b.fits", "a.txt", "sub/c"):
        (work / layout.OUTPUT / name).touch()
    assert message(work).endswith("The output folder has: a.txt, b.fits, sub/c. The working folder is empty.")


def test_links_show_nothing_of_other_folders(work: Path) -> None:
    """A link inside a folder is a name; a folder that became a link is not spoken of."""
    (work / layout.OUTPUT / "link").symlink_to(work.parent / "other")
    (work / layout.SCRATCH).rmdir()
    (work / layout.SCRATCH).symlink_to(work.parent / "other")
    text = message(work)
    assert text.endswith("The output folder has: link.") and "secret" not in text


def test_many_files_and_strange_names(work: Path) -> None:
    """A few names, each short, none that steers a terminal; deep folders end somewhere."""
    for number in range(50):
        (work / layout.OUTPUT / f"{number:03}\x1b[31m\n{'x' * 200}").touch()
    deep = work / layout.SCRATCH
    for _ in range(20):
        deep /= "d"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    text = message(work)
    assert text.count(", ") == outputs.MAX_LISTED and "…" in text and "\x1b" not in text and len(text) < 1000
    assert "The working folder is empty." in text
