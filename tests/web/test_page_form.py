"""What the forms of pages send, and the same request by programs: pure functions."""

from __future__ import annotations

import shlex

from tests.web.page_reader import APPLICATION
from uws_service.applications.problems import problems
from uws_service.domain.job import Parameter
from uws_service.service.copies import changed
from uws_service.web.calls import calls
from uws_service.web.page_form import chosen_files, read_entries

FILE = Parameter("table-1", "a.csv", upload="k", size=1)


def test_tables_become_uploads() -> None:
    """D-026: a file, an address, or the file of an earlier job; the name has a default."""
    fields = [("table-1.name", ""), ("table-1.url", ""), ("table-2.name", "u"), ("table-2.url", "https://x.org/u")]
    entries = read_entries([*fields, ("TAG", "")], [FILE])
    assert entries.fields == (("TAG", ""), ("UPLOAD", "table1,param:table-1"), ("UPLOAD", "u,https://x.org/u"))
    [problem] = read_entries([("table-1.name", "t"), ("table-1.url", " ")], []).problems
    assert problem.parameter == "table-1" and "Choose a file" in problem.message
    assert read_entries([("table-1.name", ""), ("table-1.url", "")], []).fields == (("UPLOAD", ""),)
    assert read_entries([("TAG", "x")], []).fields == (("TAG", "x"),)


def test_a_file_or_its_address() -> None:
    """Not both."""
    assert read_entries([("IMAGE.url", "https://x.org/i.fits")], []).fields == (("IMAGE", "https://x.org/i.fits"),)
    doubled = read_entries([("IMAGE.url", "https://x.org/i.fits")], [Parameter("IMAGE", "i.fits", upload="k", size=1)])
    assert [problem.parameter for problem in doubled.problems] == ["IMAGE"]


def test_chosen_files_stand_for_themselves() -> None:
    """Names may have anything in them; what is no such line is no file."""
    assert chosen_files(["IMAGE:12:a:b\n.fits", "x", ":1:a", "A:-1:b"]) == [
        Parameter("IMAGE", "a:b\n.fits", upload="chosen", size=12)
    ]


def test_all_problems_are_found() -> None:
    """Each by its parameter."""
    parameters = [Parameter("RADIUS", "x"), Parameter("COUNT", "0"), Parameter("MAXREC", "-"), Parameter("UPLOAD", "1")]
    assert [problem.parameter for problem in problems(APPLICATION, parameters)] == [
        "RADIUS", "COUNT", "OPEN", "IMAGE", "UPLOAD", "MAXREC"
    ]  # fmt: skip
    good = [
        Parameter("OPEN", "1"),
        Parameter("IMAGE", "i", upload="k", size=1),
        Parameter("UPLOAD", "t,https://x.org/t"),
    ]
    assert problems(APPLICATION, good) == []


def test_changes_of_a_copy() -> None:
    """Only what is changed; no file stays that nothing refers to."""
    before = [Parameter("TAG", "a"), Parameter("UPLOAD", "t,param:p"), Parameter("p", "t.csv", upload="k", size=1)]
    assert changed(before, [], APPLICATION) == tuple(before)
    assert changed(before, [Parameter("tag", "b")], APPLICATION) == (*before[1:], Parameter("tag", "b"))
    assert changed(before, [Parameter("UPLOAD", "")], APPLICATION) == (before[0],)
    assert changed(before, [], APPLICATION, frozenset({"P"})) == tuple(before[:2])


def test_calls_can_be_pasted() -> None:
    """Quoted for a shell and for Python, whatever is in them."""
    evil = 'it\'s $(rm -rf /) "x"\n'
    lines = calls([("TAG", evil), ("UPLOAD", "t,param:p"), ("RUNID", "n n")], [("p", "a b.csv")], "https://x.org/app")
    assert shlex.split(lines.curl)[3:] == [
        f"TAG={evil}", "-F", "UPLOAD=t,param:p", "-F", "RUNID=n n", "-F", "p=@a b.csv", "-F", "PHASE=RUN",
        "https://x.org/app/async",
    ]  # fmt: skip
    assert shlex.split(lines.cli) == [
        "uws-service", "submit", "https://x.org/app", f"TAG={evil}", "--upload", "t=a b.csv", "--run-id", "n n"
    ]  # fmt: skip
    compile(lines.pyvo, "pyvo", "exec")
    assert repr(evil) in lines.pyvo
