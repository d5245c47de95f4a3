"""Hostile uploads.

False claims, and SQL in names and values.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import struct
import time
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet
import pytest
import requests
from astropy.io import fits

from tests.server import Server

BILLION = 1_000_000_000
MEMORY = 1_000_000_000  # bytes that all processes of the service may take more
SECONDS = 120


def _fits(form: str, rows: int = 100) -> bytes:
    out = io.BytesIO()
    fits.BinTableHDU.from_columns([fits.Column("a", form, array=np.arange(rows, dtype="i4"))]).writeto(out)
    return out.getvalue()


def _changed(content: bytes, **cards: int | str) -> bytes:
    """Replace values in the table's header."""
    first, table = content[:2880], content[2880:]
    for name, value in cards.items():
        text = f"'{value}'" if isinstance(value, str) else f"{value:>20}"
        card = f"{name:8}= {text}".ljust(80).encode()
        table, count = re.subn(rb"%b *=.{71}" % name.encode(), card, table, count=1)
        assert count == 1
    return first + table


def _with_claims(**cards: int | str) -> bytes:
    """Return a table of a hundred integers with other claims."""
    return _changed(_fits("J"), **cards)


def _heap(length: int, offset: int) -> bytes:
    """Return a column whose only array claims such a place."""
    out = io.BytesIO()
    arrays = np.empty(1, dtype=object)
    arrays[0] = np.arange(3, dtype="i4")
    fits.BinTableHDU.from_columns([fits.Column("a", "PJ()", array=arrays)]).writeto(out)
    content, pointer = out.getvalue(), struct.pack(">ii", 3, 0)
    position = content.index(pointer, 5760)
    return content[:position] + struct.pack(">ii", length, offset) + content[position + len(pointer) :]


def _parquet(rows: int) -> bytes:
    """Return many rows without values: some bytes per million."""
    out = io.BytesIO()
    column = pa.nulls(1_000_000, pa.int32())
    with pyarrow.parquet.ParquetWriter(out, pa.schema([("a", pa.int32())])) as writer:
        for _ in range(rows // 1_000_000):
            writer.write_table(pa.table({"a": column}))
    return out.getvalue()


def _votable(stream: bytes, size: str = "") -> bytes:
    data = base64.b64encode(stream).decode()
    return (
        f'<VOTABLE version="1.4"><RESOURCE><TABLE nrows="{BILLION}"><FIELD name="a" datatype="int" {size}/>'
        f'<DATA><BINARY><STREAM encoding="base64">{data}</STREAM></BINARY></DATA></TABLE></RESOURCE></VOTABLE>'
    ).encode()


WRONG = {
    "FITS of a billion rows": (lambda: _with_claims(NAXIS2=BILLION), "cut short"),
    "FITS of a billion empty rows": (lambda: _with_claims(NAXIS1=0, NAXIS2=BILLION, TFORM1="0A"), "have no bytes"),
    "FITS of rows of a billion bytes": (lambda: _with_claims(NAXIS1=BILLION, TFORM1=f"{BILLION}A"), "cut short"),
    "FITS of negative size": (lambda: _with_claims(NAXIS2=-5), ""),
    "FITS cut short in its rows": (lambda: _fits("J", 10_000)[:20_000], "cut short"),
    "FITS cut short in its header": (lambda: _fits("J")[:4000], ""),
    "FITS with a billion columns": (lambda: _with_claims(TFIELDS=BILLION), "it is from 0 to 999"),
    "FITS with a heap of billions": (lambda: _heap(2_000_000_000, 0), "do not lie in"),
    "FITS with a heap elsewhere": (lambda: _heap(3, 1_000_000), "do not lie in"),
    "Parquet of more rows than are taken": (lambda: _parquet(30_000_000), "more than 10000000 rows"),
    "Parquet cut short": (lambda: _parquet(1_000_000)[:-20], "parquet"),
    "VOTable with an array of billions": (lambda: _votable(struct.pack(">i", 2**31 - 1), 'arraysize="*"'), "row 1"),
    "VOTable with an array of less than nothing": (lambda: _votable(struct.pack(">i", -1), 'arraysize="*"'), "row 1"),
    "VOTable with a fixed size of billions": (lambda: _votable(b"\0\0\0\1", f'arraysize="{BILLION}"'), ""),
    "CSV of one line without an end": (lambda: b"a,b\n1," + b"x" * 20_000_000, ""),
    "CSV of a million columns": (lambda: b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n1\n", "at most 2000"),
}  # fmt: skip


def _memory(server: Server) -> int:
    assert server.process is not None
    service = psutil.Process(server.process.pid)
    total = 0
    for process in (service, *service.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _count(server: Server, content: bytes) -> requests.Response:
    data = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f"}
    return requests.post(f"{server.url}/tap/sync", data=data, files={"f": content}, timeout=120)


@pytest.mark.parametrize("name", WRONG)
def test_what_a_file_claims(server: Server, name: str) -> None:
    """400 with a reason, in little time and memory."""
    make, message = WRONG[name]
    content = make()
    assert len(content) < 40_000_000
    before, began = _memory(server), time.monotonic()
    answer = _count(server, content)
    assert time.monotonic() - began < SECONDS
    assert _memory(server) - before < MEMORY
    assert answer.status_code == 400, answer.text
    info = ElementTree.fromstring(answer.content).find("{*}RESOURCE/{*}INFO[@name='QUERY_STATUS']")
    assert info is not None and info.get("value") == "ERROR" and info.text
    assert "UPLOAD t" in info.text and message in info.text
    assert "Traceback" not in info.text and os.sep + "tmp" not in info.text


HOSTILE = (
    "'; DROP TABLE openngc.objects; --",
    '"; DROP TABLE openngc.objects; --',
    "a\"b'c",
    "read_csv('/etc/passwd')",
    "TAP_SCHEMA.tables",
    "/* */ SELECT 1",
    "\\",
)


def test_names_and_values_that_are_sql(server: Server) -> None:
    """Such names and texts come back unchanged."""
    fields = "".join(f'<FIELD name={quoteattr(name)} datatype="char" arraysize="*"/>' for name in HOSTILE)
    cells = "".join(f"<TD>{escape(name)}</TD>" for name in HOSTILE)
    content = (
        f"<VOTABLE><RESOURCE><TABLE>{fields}<DATA><TABLEDATA><TR>{cells}</TR></TABLEDATA></DATA></TABLE></RESOURCE>"
        "</VOTABLE>"
    ).encode()
    data = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_UPLOAD.t", "UPLOAD": "t,param:f", "RESPONSEFORMAT": "csv"}
    answer = requests.post(f"{server.url}/tap/sync", data=data, files={"f": content}, timeout=180)
    assert list(csv.reader(io.StringIO(answer.text))) == [list(HOSTILE), list(HOSTILE)], answer.text
    for name in HOSTILE:
        data = {"LANG": "ADQL", "QUERY": "SELECT 1 AS a", "UPLOAD": f"{name},param:f"}
        answer = requests.post(f"{server.url}/tap/sync", data=data, files={"f": content}, timeout=180)
        assert answer.status_code == 400 and "UPLOAD" in answer.text
    count = {"LANG": "ADQL", "QUERY": "SELECT COUNT(*) AS n FROM openngc.objects", "RESPONSEFORMAT": "csv"}
    assert int(requests.post(f"{server.url}/tap/sync", data=count, timeout=180).text.split()[1]) > 10_000
