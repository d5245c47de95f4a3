"""The picture of a job."""

from __future__ import annotations

from lxml import etree

from uws_service.domain.job import Job, Parameter, Phase, Result
from uws_service.domain.jobinfo import JobInfo
from uws_service.domain.record import InputRecord
from uws_service.protocol.provenance import JobRecord
from uws_service.web.picture import MAX_BOXES, picture

BASE = "https://uws.example.org"
SVG = "{http://www.w3.org/2000/svg}"


def record(inputs: int = 1, results: int = 1, text: str = "x") -> JobRecord:
    job = Job(
        id="0" * 32,
        application="probe",
        owner=None,
        phase=Phase.COMPLETED,
        created=0,
        duration=0,
        destruction=None,
        parameters=(Parameter("TAG", text),),
        results=tuple(Result(f"{text}{number}", "k", "text/plain", 1, "0" * 64) for number in range(results)),
        info=JobInfo(inputs=tuple(InputRecord("A", f"files/{text}{number}", text) for number in range(inputs))),
    )
    return JobRecord(job)


def test_a_box_for_each() -> None:
    """Inputs, parameters, the job and results, with an arrow from or to the job."""
    tree = etree.fromstring(str(picture(record(2, 3), BASE)).encode())
    assert len(tree.findall(f".//{SVG}rect")) == 2 + 1 + 1 + 3
    assert len(tree.findall(f"{SVG}path")) == 2 + 1 + 3
    assert {link.get("href") for link in tree.iter(f"{SVG}a")} == {f"{BASE}/probe/async/{'0' * 32}"} | {
        f"{BASE}/probe/async/{'0' * 32}/results/x{number}" for number in range(3)
    }


def test_many_are_summed_up() -> None:
    """A job with a thousand results has a picture of the same size."""
    tree = etree.fromstring(str(picture(record(0, 1000), BASE)).encode())
    assert len(tree.findall(f".//{SVG}rect")) == 1 + 1 + MAX_BOXES
    assert "and 993 more" in "".join(str(text) for text in tree.itertext())


def test_markup_is_text() -> None:
    """What a user named can't become an element, a script or a link to one."""
    for text in ('"><script>alert(1)</script>', "javascript:alert(1)", "</svg><a href='x'>", "\x00\ud800", "]]>"):
        tree = etree.fromstring(str(picture(record(text=text), BASE)).encode(errors="replace"))
        assert {element.tag.removeprefix(SVG) for element in tree.iter()} <= {
            "svg", "title", "defs", "marker", "path", "rect", "text", "a"
        }  # fmt: skip
        assert all((link.get("href") or "").startswith("http") for link in tree.iter(f"{SVG}a"))
