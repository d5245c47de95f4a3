"""CSV (RFC 4180) and TSV with a header line.

Neither can mark an overflow (D-047).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc

from uws_service.tap.types import TEXTS
from uws_service.tap.writers.base import Document, Rows
from uws_service.tap.writers.text import escaped, rows, texts

_QUOTED = '[",\r\n]'
_BLANKS = (("\t", " "), ("\r", " "), ("\n", " "))


def csv(document: Document, result: Rows) -> Iterator[bytes]:
    """Write CSV: null is an empty value, the empty text is ``""``."""
    names = [f'"{name.replace(chr(34), chr(34) * 2)}"' if set(name) & set('",\r\n') else name
             for name in (column.name for column in document.columns)]  # fmt: skip
    yield (",".join(names) + "\r\n").encode()
    for batch in result:
        cells = []
        for array, column in zip(batch.columns, document.columns, strict=True):
            cells.append(_quoted(array) if column.datatype in TEXTS else texts(array))
        if len(cells) == 1:  # most readers skip an empty line
            cells = [pc.if_else(pc.equal(cells[0], ""), '""', cells[0])]
        yield rows(cells, "", ",", "\r\n")


def _quoted(array: Any) -> Any:
    if not pc.any(pc.or_(pc.match_substring_regex(array, _QUOTED), pc.equal(array, ""))).as_py():
        return texts(array)
    needs_quotes = pc.or_(pc.match_substring_regex(array, _QUOTED), pc.equal(array, ""))
    framed = pc.binary_join_element_wise('"', escaped(array, (('"', '""'),)), '"', "")
    return texts(pc.if_else(needs_quotes, framed, array))


def tsv(document: Document, result: Rows) -> Iterator[bytes]:
    """Write TSV: tabs and line ends in texts become spaces.

    The format has no quotes.
    """
    names = [column.name.replace("\t", " ").replace("\n", " ") for column in document.columns]
    yield ("\t".join(names) + "\n").encode()
    for batch in result:
        cells = []
        for array, column in zip(batch.columns, document.columns, strict=True):
            cells.append(escaped(texts(array), _BLANKS) if column.datatype in TEXTS else texts(array))
        yield rows(cells, "", "\t", "\n")
