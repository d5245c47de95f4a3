"""The header with notes on uploads."""

from __future__ import annotations

from urllib.parse import unquote

from uws_service.web.note_header import MAX_CHARACTERS, note_header


def test_text_of_any_kind_is_one_line_of_ascii() -> None:
    """Line ends, controls and other alphabets can't leave the header."""
    note = "the column 'a\r\nset-cookie: x=1\0 é☉ 100%' is left out: x"
    (value,) = note_header([note, "b"]).values()
    assert value.isascii() and value.isprintable()
    assert unquote(value) == f"{note}; b"


def test_many_notes_are_counted() -> None:
    """A header stays short, however many columns a table has."""
    (value,) = note_header([f"the column 'c{number}' is left out" for number in range(2000)]).values()
    assert len(value) < MAX_CHARACTERS + 20 and value.endswith(" more")
    assert value.count("left out") + int(value.split()[-2]) == 2000
    assert note_header([]) == {}
