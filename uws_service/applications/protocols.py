"""What a descriptor's `protocol` brings: the command, parameters and results that the standard gives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TAP_FORMATS = {
    "votable": "application/x-votable+xml",
    "votable/td": "application/x-votable+xml;serialization=tabledata",
    "votable/b2": "application/x-votable+xml;serialization=binary2",
    "csv": "text/csv;header=present",
    "tsv": "text/tab-separated-values",
    "fits": "application/fits",
    "parquet": "application/vnd.apache.parquet",
}
"""Names of RESPONSEFORMAT and media types of a query's result (TAP 1.1 §2.7.3, T-011)."""
TAP_LANGUAGES = ("ADQL", "ADQL-2.1", "ADQL-2.0")
"""Values of LANG (T-010)."""

_TAP: Mapping[str, Any] = {
    "command": ["python", "-m", "uws_service.tap.query"],
    "parameters": [
        {
            "name": "LANG",
            "arraysize": "*",
            "options": list(TAP_LANGUAGES),
            "default": "ADQL",
            "description": "Language of the query.",
        },
        {"name": "QUERY", "arraysize": "*", "required": True, "description": "The query, in ADQL."},
        {
            "name": "REQUEST",
            "arraysize": "*",
            "options": ["doQuery"],
            "description": "What TAP 1.0 clients send; it says nothing (D-023).",
        },
    ],
    "results": [
        {"id": "result", "path": "result", "media_type": TAP_FORMATS["votable"], "formats": TAP_FORMATS},
        {"id": "preview", "path": "preview.json", "media_type": "application/json", "required": False},
    ],
    "uploads": {"minimum": 0, "maximum": 10, "size": "100MiB", "description": "Tables: VOTable, FITS, CSV, Parquet."},
    "maxrec": {"default": 100_000, "maximum": 10_000_000},
    "resources": {"cpu": 1, "memory": "2GiB", "disk": "10GiB"},
    "limits": {
        "execution_duration": {"default": "10min", "maximum": "2h"},
        "retention": {"default": "7d", "maximum": "30d"},
        "output": "4GiB",
        "sync_duration": "60s",
    },
}
_KNOWN: Mapping[str, Mapping[str, Any]] = {"tap": _TAP}


def completed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The descriptor with what its protocol brings; a section of its own takes precedence, word by word."""
    brought = _KNOWN.get(raw.get("protocol", ""), {})
    whole = {**brought, **raw}
    for name in ("uploads", "maxrec", "resources", "limits"):
        if name in brought and name in raw:
            whole[name] = {**brought[name], **raw[name]}
    return whole
