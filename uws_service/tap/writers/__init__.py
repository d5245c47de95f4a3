"""Writers of results: from Arrow batches to bytes.

They are found by the names of RESPONSEFORMAT, and need constant memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from uws_service.tap.writers.base import Document, Rows, Watch
from uws_service.tap.writers.delimited import csv, tsv
from uws_service.tap.writers.fits import fits
from uws_service.tap.writers.parquet import parquet
from uws_service.tap.writers.votable import binary2, tabledata

Writer = Callable[[Document, Rows], Iterator[bytes]]

WRITERS: Mapping[str, Writer] = {
    "votable": tabledata,
    "votable/td": tabledata,
    "votable/b2": binary2,
    "csv": csv,
    "tsv": tsv,
    "fits": fits,
    "parquet": parquet,
}
"""By the names of `uws_service.tap.descriptor.TAP_FORMATS`."""

__all__ = ["WRITERS", "Document", "Rows", "Watch", "Writer"]
