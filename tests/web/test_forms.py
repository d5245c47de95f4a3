"""Readers of forms, with the bytes that clients send.

They are cut anywhere; limits; bodies that are broken.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uws_service.depot import Stored
from uws_service.domain.errors import TooLarge, UnsupportedMediaType, UsageError, UwsError
from uws_service.web.forms import FilePart, Form, FormLimits, read_form

LIMITS = FormLimits(body=100_000, fields=20, field_size=1000, files=3, file_size=50_000, text=16_000)
URLENCODED = "application/x-www-form-urlencoded"


@dataclass
class Sink:
    """A file in memory, with the depot's limit."""

    data: bytearray = field(default_factory=bytearray)
    closed: bool = False
    aborted: bool = False

    async def write(self, data: bytes) -> None:
        assert not self.closed and not self.aborted
        self.data += data
        if len(self.data) > LIMITS.file_size:
            raise TooLarge("The file is too large.")

    async def close(self) -> Stored:
        self.closed = True
        return Stored(len(self.data), hashlib.sha256(self.data).hexdigest())

    async def abort(self) -> None:
        self.aborted = True


@dataclass
class Outcome:
    """A form or its error, and all sinks."""

    form: Form | None
    error: UwsError | None
    sinks: list[Sink]

    @property
    def shown(self) -> Any:
        """Return what comparisons need."""
        content = self.form or (type(self.error), str(self.error))
        return content, [bytes(sink.data) for sink in self.sinks] if self.form else None


def read(content_type: str | None, pieces: Iterable[bytes], limits: FormLimits = LIMITS, **headers: str) -> Outcome:
    """Read a body that comes in these pieces."""
    sinks: list[Sink] = []

    async def stream() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    def open_file(number: int) -> Sink:
        assert number == len(sinks)
        sinks.append(Sink())
        return sinks[-1]

    sent_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if content_type is not None:
        sent_headers["content-type"] = content_type
    try:
        form = asyncio.run(read_form(sent_headers, stream(), limits=limits, open_file=open_file))
    except UwsError as error:
        assert all(sink.aborted for sink in sinks), "what was begun must be undone"
        return Outcome(None, error, sinks)
    assert all(sink.closed and not sink.aborted for sink in sinks)
    return Outcome(form, None, sinks)


def fields(outcome: Outcome) -> list[tuple[str, str]]:
    assert outcome.form is not None, outcome.error
    return outcome.form.fields


def files(outcome: Outcome) -> list[tuple[str, str, str | None, bytes]]:
    """Return name, file name, type and content of files."""
    assert outcome.form is not None, outcome.error
    contents = [bytes(sink.data) for sink in outcome.sinks]
    for part, content in zip(outcome.form.files, contents, strict=True):
        assert part.stored == Stored(len(content), hashlib.sha256(content).hexdigest())
    return [
        (file.name, file.filename, file.media_type, content)
        for file, content in zip(outcome.form.files, contents, strict=True)
    ]


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


VOTABLE = crlf("<?xml version='1.0'?>\n<VOTABLE version=\"1.2\">\n--<<<-- no boundary\n</VOTABLE>\n")
STILTS = (
    'multipart/form-data; boundary="<<<--------------MULTIPART-BOUNDARY------->>>"',
    crlf(
        """
--<<<--------------MULTIPART-BOUNDARY------->>>
Content-Type: text/plain; charset=UTF-8
Content-Disposition: form-data; name="REQUEST"

doQuery
--<<<--------------MULTIPART-BOUNDARY------->>>
Content-Type: text/plain; charset=UTF-8
Content-Disposition: form-data; name="QUERY"

SELECT TOP 5 * FROM "ü"
WHERE a < 1
--<<<--------------MULTIPART-BOUNDARY------->>>
Content-Type: text/plain; charset=UTF-8
Content-Disposition: form-data; name="UPLOAD"

u1,param:upload_u1
--<<<--------------MULTIPART-BOUNDARY------->>>
Content-Disposition: form-data; name="upload_u1"; filename="upload_u1"
Content-Type: application/x-votable+xml

"""
    )
    + VOTABLE
    + crlf("\n--<<<--------------MULTIPART-BOUNDARY------->>>--\n"),
)
PYVO = (
    "multipart/form-data; boundary=0123456789abcdef0123456789abcdef",
    crlf(
        """--0123456789abcdef0123456789abcdef
Content-Disposition: form-data; name="RUNID"

R1
--0123456789abcdef0123456789abcdef
Content-Disposition: form-data; name="UPLOAD"

t1,param:t1;t2,param:t2
--0123456789abcdef0123456789abcdef
Content-Disposition: form-data; name="t1"; filename="t1"

"""
    )
    + VOTABLE
    + crlf(
        """
--0123456789abcdef0123456789abcdef
Content-Disposition: form-data; name="t2"; filename="t2"


--0123456789abcdef0123456789abcdef--
"""
    ),
)
CURL = (
    "multipart/form-data; boundary=------------------------d74496d66958873e",
    crlf(
        """--------------------------d74496d66958873e
Content-Disposition: form-data; name="UPLOAD"

t,param:f
--------------------------d74496d66958873e
Content-Disposition: form-data; name="f"; filename="a;b \\"c\\".csv"
Content-Type: text/csv

ra,dec
1,2

--------------------------d74496d66958873e--
"""
    ),
)
BROWSER = (
    "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
    crlf(
        """------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="TAG"


------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="f"; filename=""
Content-Type: application/octet-stream


------WebKitFormBoundary7MA4YWxkTrZu0gW
Content-Disposition: form-data; name="g"; filename="größe %22x%22.fits"
Content-Type: image/fits

\0\x01SIMPLE
------WebKitFormBoundary7MA4YWxkTrZu0gW--
"""
    ),
)
CLIENT_FORMS = {"STILTS": STILTS, "pyvo": PYVO, "curl": CURL, "browser": BROWSER}


def test_stilts() -> None:
    """C-16, U-126: odd boundaries, types before names, CRLF."""
    outcome = read(STILTS[0], [STILTS[1]])
    assert fields(outcome) == [
        ("REQUEST", "doQuery"),
        ("QUERY", 'SELECT TOP 5 * FROM "ü"\r\nWHERE a < 1'),
        ("UPLOAD", "u1,param:upload_u1"),
    ]
    assert files(outcome) == [("upload_u1", "upload_u1", "application/x-votable+xml", VOTABLE)]


def test_pyvo() -> None:
    """Files have no type; an empty one counts too."""
    outcome = read(PYVO[0], [PYVO[1]])
    assert fields(outcome) == [("RUNID", "R1"), ("UPLOAD", "t1,param:t1;t2,param:t2")]
    assert files(outcome) == [("t1", "t1", None, VOTABLE), ("t2", "t2", None, b"")]


def test_curl_and_browser() -> None:
    """Quotes in file names, empty fields, zero bytes."""
    assert files(read(CURL[0], [CURL[1]])) == [("f", 'a;b "c".csv', "text/csv", b"ra,dec\r\n1,2\r\n")]
    outcome = read(BROWSER[0], [BROWSER[1]])
    assert fields(outcome) == [("TAG", "")]
    assert files(outcome) == [
        ("f", "", "application/octet-stream", b""),
        ("g", "größe %22x%22.fits", "image/fits", b"\0\x01SIMPLE"),
    ]


@pytest.mark.parametrize("library", [requests, httpx2], ids=["requests", "httpx"])
def test_python_libraries(library: Any) -> None:
    """Names that are not ASCII, values of several lines."""
    data, upload = {"TAG": ["é\n2", ""], "Ω": "x"}, {"f": ("é ü.csv", io.BytesIO(b"\r\n--a"), "text/csv")}
    request = library.Request("POST", "http://h/", data=data, files=upload)
    if library is requests:
        request = request.prepare()
    kind, body = request.headers["content-type"], request.body if library is requests else request.read()
    outcome = read(kind, [body])
    assert fields(outcome) == [("TAG", "é\n2"), ("TAG", ""), ("Ω", "x")]
    assert files(outcome) == [("f", "é ü.csv", "text/csv", b"\r\n--a")]


def test_file_names_in_the_style_of_mail() -> None:
    """``filename*`` makes a file, though RFC 7578 forbids it."""
    body = part("f; x\"; filename*=UTF-8''%C3%A9%20u.csv; y=\"", "1,2")
    assert files(read(KIND, [body])) == [("f; x", "é u.csv", None, b"1,2")]
    body = part('f"; filename="a.csv"; filename*=UTF-8\'\'b.csv; y="', "1,2")
    assert files(read(KIND, [body])) == [("f", "a.csv", None, b"1,2")]


@pytest.mark.parametrize("client", CLIENT_FORMS)
def test_cut_in_two_anywhere(client: str) -> None:
    """The network may part the body at any position."""
    kind, body = CLIENT_FORMS[client]
    expected = read(kind, [body]).shown
    for position in range(len(body) + 1):
        assert read(kind, [body[:position], body[position:]]).shown == expected, position


@settings(max_examples=60)
@given(client=st.sampled_from(sorted(CLIENT_FORMS)), data=st.data())
def test_cut_into_any_pieces(client: str, data: st.DataObject) -> None:
    """Also single bytes and empty pieces."""
    kind, body = CLIENT_FORMS[client]
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=40).map(sorted))
    pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert read(kind, pieces).shown == read(kind, [body]).shown


@pytest.mark.parametrize("client", CLIENT_FORMS)
def test_cut_short_anywhere(client: str) -> None:
    """A body that ends early is refused, its files undone."""
    kind, body = CLIENT_FORMS[client]
    for length in range(body.rindex(b"--")):
        outcome = read(kind, [body[:length]])
        assert isinstance(outcome.error, UsageError) and outcome.error.status == 400, length
        assert "cut short" in str(outcome.error) or "can't be read" in str(outcome.error)


KIND = "multipart/form-data; boundary=b"


def part(name: str, value: str = "v", extra: str = "", end: str = "--b--\r\n") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n{extra}\r\n{value}\r\n{end}'.encode()


@settings(max_examples=60)
@given(
    values=st.lists(
        st.tuples(
            st.text("abÜ漢_ ;=", min_size=1, max_size=9).filter(lambda text: text.strip() == text),
            st.binary(max_size=60),
            st.booleans(),
        ),
        max_size=3,
    ),
    step=st.integers(1, 50),
)
@example(values=[("a", b"\r\n--", True), ("a", b"\r\n--b", True)], step=1)
def test_any_content(values: Sequence[tuple[str, bytes, bool]], step: int) -> None:
    """Files and text come back byte by byte."""
    boundary = b"no-content-has-this"
    body = bytearray()
    for name, content, is_file in values:
        disposition = f'form-data; name="{name}"' + ('; filename="x"' if is_file else "")
        body += b"--" + boundary + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
    body += b"--" + boundary + b"--"
    pieces = [bytes(body[start : start + step]) for start in range(0, len(body), step)]
    outcome = read(f"multipart/form-data; boundary={boundary.decode()}", pieces)
    texts = [(name, content) for name, content, is_file in values if not is_file]
    try:
        decoded = [(name, content.decode()) for name, content in texts]
    except UnicodeDecodeError:
        assert "is not text in UTF-8" in str(outcome.error)
        return
    if not values:
        return  # a form without parts: taken or refused with words, which `read` has seen to
    assert fields(outcome) == decoded
    assert [(file[0], file[3]) for file in files(outcome)] == [file[:2] for file in values if file[2]]


@settings(max_examples=150)
@given(body=st.binary(max_size=200) | st.text('-b\r\n:;=" anmef', max_size=200).map(str.encode))
@example(b"--b\r\n\r\n\r\n--b--")
@example(b"--b--")
@example(b"--b\r\nContent-Disposition\r\n\r\nv\r\n--b--")
def test_any_bytes(body: bytes) -> None:
    """No body ends in anything but a form or an error."""
    for kind in (KIND, URLENCODED):
        outcome = read(kind, [body])
        assert outcome.error is None or isinstance(outcome.error, UsageError)


CHARSET = "Content-Type: text/plain; charset={}\r\n".format
BROKEN = {
    "no boundary": ("multipart/form-data", b"--b--", "names no boundary"),
    "empty boundary": ('multipart/form-data; boundary=""', b"--b--", "names no boundary"),
    "long boundary": (f"multipart/form-data; boundary={'b' * 5000}", b"--b--", "longer than 1000 characters"),
    "empty body": (KIND, b"", "cut short"),
    "only line ends": (KIND, b"\r\n\r\n", "cut short"),
    "another boundary": (KIND, part("a").replace(b"--b", b"--c"), "can't be read"),
    "line feeds only": (KIND, part("a").replace(b"\r", b""), "can't be read"),
    "no disposition": (KIND, b"--b\r\nContent-Type: text/plain\r\n\r\nv\r\n--b--", "no Content-Disposition"),
    "no headers": (KIND, b"--b\r\n\r\nv\r\n--b--", r"no Content-Disposition|can't be read"),
    "no name": (KIND, b'--b\r\nContent-Disposition: form-data; x="a"\r\n\r\nv\r\n--b--', "with a name"),
    "attachment": (KIND, part("a").replace(b"form-data", b"attachment"), "no Content-Disposition: form-data"),
    "base64": (
        KIND,
        part("a", extra="Content-Transfer-Encoding: base64\r\n"),
        "Content-Transfer-Encoding is not taken",
    ),
    "name in Latin-1": (KIND, part("e").replace(b'"e"', b'"\xe9"'), "name is not text in UTF-8"),
    "file name in Latin-1": (KIND, part('f"; filename="e').replace(b'"e"', b'"\xe9"'), "file's name is not text"),
    "value in Latin-1": (KIND, part("a", "v").replace(b"\r\nv", b"\r\n\xe9"), "'a' is not text in UTF-8"),
    "unknown charset": (
        KIND,
        part("a", extra=CHARSET("klingon")),
        "'klingon', which is not taken here; allowed: utf-8",
    ),
    "charset of bytes": (KIND, part("a", extra=CHARSET("hex")), "'hex', which is not taken"),
    "not ASCII": (KIND, part("a", "\x80", extra=CHARSET("us-ascii")), "not text in US-ASCII"),
    "charset of names": (KIND, part("a", "\x80", extra=CHARSET("idna")), "'idna', which is not taken"),
    "charset with NUL": (KIND, part("a", extra=CHARSET("a\0b")), r"not taken|can't be read"),
    "a header without end": (KIND, b"--b\r\nX: " + b"x" * 90_000, "can't be read"),
    "a thousand headers": (KIND, b"--b\r\n" + b"X: y\r\n" * 1000 + b"\r\nv\r\n--b--", "can't be read"),
    "options without end": (
        KIND,
        part('a"' + "; x=1" * 100 + ';y="'),
        "content-disposition of a part has more than 16",
    ),
    "options of a type": (KIND, part("a", extra="Content-Type: a/b" + ";" * 17 + "\r\n"), "content-type of a part"),
    "value in Latin-1, urlencoded": (URLENCODED, b"a=%E9", "'a' is not text in UTF-8"),
    "name in Latin-1, urlencoded": (URLENCODED, b"%E9=a", "name is not text in UTF-8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_bodies(case: str) -> None:
    """400, with what is wrong."""
    kind, body, message = BROKEN[case]
    outcome = read(kind, [body])
    assert outcome.error is not None and outcome.error.status == 400
    with pytest.raises(UsageError, match=message):
        raise outcome.error


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", '"utf-8"', "ISO-8859-1", "windows-1252", "latin1"])
def test_charsets(charset: str) -> None:
    """A text part may tell its own."""
    body = part("a", "VALUE", extra=CHARSET(charset)).replace(b"VALUE", "é".encode(charset.strip('"')))
    assert fields(read(KIND, [body])) == [("a", "é")]


def test_oddities_that_are_taken() -> None:
    """Any case, spaces around the boundary, bytes after the end."""
    first = b"--b\r\ncontent-DISPOSITION:form-data;name=a\r\n\r\nv\r\n"
    second = b'--b\r\nX-Other: 1\r\nContent-Disposition: Form-Data; name="c"\r\n\r\n\r\n--b--\r\n'
    outcome = read("Multipart/Form-Data; charset=x; boundary=b", [b"\r\n", first, second, b"epilogue"])
    assert fields(outcome) == [("a", "v"), ("c", "")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"QUERY=TOP+5+*+FROM+a%2Bb&REQUEST=doQuery", [("QUERY", "TOP 5 * FROM a+b"), ("REQUEST", "doQuery")]),
        (b"a=1&A=2&a=%C3%BC&a=", [("a", "1"), ("A", "2"), ("a", "ü"), ("a", "")]),
        (b"&&a&=b&c==d&e=%zz%4&", [("a", ""), ("", "b"), ("c", "=d"), ("e", "%zz%4")]),
        (b"a=x;b=y", [("a", "x;b=y")]),
        (b"a=\xc3\xbc\0", [("a", "ü\0")]),
        (b"", []),
    ],
)  # fmt: skip
def test_urlencoded(body: bytes, expected: list[tuple[str, str]]) -> None:
    """C-30: in order, with repetitions; both spellings of spaces."""
    for kind in (URLENCODED, "Application/X-WWW-Form-Urlencoded; charset=UTF-8"):
        assert fields(read(kind, [body])) == expected
        assert fields(read(kind, [body[n : n + 1] for n in range(len(body))])) == expected


@given(st.lists(st.tuples(st.text(min_size=1, max_size=9), st.text(max_size=30)), max_size=20))
def test_urlencoded_round_trip(pairs: list[tuple[str, str]]) -> None:
    """What urllib writes is read as the same texts."""
    from urllib.parse import urlencode

    encodable = [(a, b) for a, b in pairs if (a + b).encode("utf-8", "replace").decode() == a + b]
    assert fields(read(URLENCODED, [urlencode(encodable).encode()])) == encodable


def test_other_types() -> None:
    """U-125: a POST without a body needs no type.

    Any other body is refused with what is taken.
    """
    assert fields(read(None, [])) == [] and fields(read("text/plain", [b""])) == []
    for kind in (None, "application/json", "text/plain", "nonsense", "multipart/mixed; boundary=b"):
        outcome = read(kind, [b"{}"])
        assert isinstance(outcome.error, UnsupportedMediaType) and "multipart/form-data" in str(outcome.error)


def many(count: int, *, filename: str = "") -> bytes:
    disposition = f'"; filename="{filename}' if filename else ""
    return b"".join(part(f"n{number}{disposition}", end="") for number in range(count)) + b"--b--"


LIMIT_CASES = {
    "body by its length": (URLENCODED, [b""], {"content_length": "100001"}, "has 100001 bytes; at most 100000"),
    "body without length": (URLENCODED, [b"a=" + b"x" * 60_000] * 2, {}, "larger than the 100000 bytes"),
    "multipart body": (KIND, [part('f"; filename="x', "x" * 49_000, end="")] * 3, {}, "larger than the 100000 bytes"),
    "fields": (URLENCODED, [b"a=1&" * 21], {}, "too many parameters; at most 20"),
    "fields, endless": (URLENCODED, [b"a&" * 1000] * 40, {}, "too many parameters; at most 20"),
    "parts": (KIND, [many(21)], {}, "too many parameters; at most 20"),
    "files": (KIND, [many(4, filename="f")], {}, "too many files; at most 3"),
    "value": (URLENCODED, [b"a=" + b"x" * 1001], {}, "'a' is larger than 1000 bytes"),
    "all values": (URLENCODED, [b"&".join([b"a=" + b"x" * 1000] * 17)], {}, "together are larger than 16000 bytes"),
    "all values, endless": (URLENCODED, [b"x" * 32_000] * 2, {}, "together are larger than 16000 bytes"),
    "all values of parts": (KIND, [part("a", "x" * 1000, end="")] * 17, {}, "together are larger than 16000 bytes"),
    "value of a part": (KIND, [part("a", "x" * 1001)], {}, "'a' is larger than 1000 bytes"),
    "file": (KIND, [part('f"; filename="x', "x" * 50_001)], {}, "file is too large"),
}


@pytest.mark.parametrize("case", LIMIT_CASES)
def test_limits(case: str) -> None:
    """413 with the limit's name and size; nothing stays."""
    kind, pieces, headers, message = LIMIT_CASES[case]
    outcome = read(kind, pieces, LIMITS, **headers)
    assert isinstance(outcome.error, TooLarge) and message in str(outcome.error), outcome.error


def test_at_the_limits() -> None:
    """What is exactly as large as allowed is taken.

    What counts is the text, not how it was escaped.
    """
    assert len(fields(read(KIND, [many(20)]))) == 20
    assert len(files(read(KIND, [many(3, filename="f")]))) == 3
    assert len(fields(read(URLENCODED, [b"a=1&" * 20]))) == 20
    assert fields(read(URLENCODED, [b"a=" + b"%41" * 1000])) == [("a", "A" * 1000)]
    assert fields(read(KIND, [part("a", "x" * 1000)])) == [("a", "x" * 1000)]
    (file,) = files(read(KIND, [part('f"; filename="x', "x" * 50_000)]))
    assert len(file[3]) == 50_000


def test_file_part_is_a_plain_value() -> None:
    """What the rest of the service sees of a file."""
    outcome = read(CURL[0], [CURL[1]])
    assert outcome.form is not None
    (file,) = outcome.form.files
    assert file == FilePart(
        "f", 'a;b "c".csv', "text/csv", Stored(13, hashlib.sha256(b"ra,dec\r\n1,2\r\n").hexdigest())
    )
