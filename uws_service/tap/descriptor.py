"""The part of TAP 1.1 in an application's descriptor: command, parameters, results, and where the tables are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uws_service.applications.model import Application
from uws_service.applications.standard import Standard
from uws_service.domain.job import Job

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

_TEMPLATE: Mapping[str, Any] = {
    "command": ["python", "-m", "uws_service.tap.command"],
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


@dataclass(frozen=True, slots=True)
class CatalogueSpec:
    """Where the tables of a TAP service are: a folder, or a PostgreSQL named by an environment variable.

    Without either, the service's own catalogue folder. ``sample`` publishes OpenNGC beside the folder's tables.
    """

    folder: str = ""
    postgresql: str = ""
    schemas: tuple[str, ...] = ()
    sample: bool = False


def catalogue_of(application: Application) -> CatalogueSpec | None:
    """Return where the tables of an application are.

    None if it is no TAP service.
    """
    return application.section if isinstance(application.section, CatalogueSpec) else None


class TapStandard(Standard):
    """TAP in a descriptor."""

    __slots__ = ()

    def read_section(self, raw: Mapping[str, Any]) -> CatalogueSpec:
        """Return the section ``catalogue``."""
        return CatalogueSpec(
            raw.get("folder", ""), raw.get("postgresql", ""), tuple(raw.get("schemas", ())), raw.get("sample", False)
        )

    def environment(self, application: Application, job: Job) -> Mapping[str, str]:
        """Say where the tables are, for `uws_service.tap.tables_source`.

        Of a database only its variable's name.
        """
        spec = catalogue_of(application) or CatalogueSpec()
        variables = {
            "UWS_CATALOGUE": spec.folder,
            "UWS_CATALOGUE_DATABASE": spec.postgresql,
            "UWS_CATALOGUE_SCHEMAS": " ".join(spec.schemas),
            "UWS_CATALOGUE_SAMPLE": "1" if spec.sample else "",
            # The rest of the memory is for the rows on their way.
            "UWS_QUERY_MEMORY": str(application.resources.memory // 2),
        }
        return {name: value for name, value in variables.items() if value}

    def passed_variables(self, application: Application) -> tuple[str, ...]:
        """Return the variable that holds the database's URL, if there is one."""
        spec = catalogue_of(application)
        return (spec.postgresql,) if spec is not None and spec.postgresql else ()


def with_catalogue_folder(application: Application, folder: Path) -> Application:
    """Return the application with the folder of its tables: ``folder`` unless its descriptor names a place."""
    spec = catalogue_of(application)
    if spec is None or spec.folder or spec.postgresql:
        return application
    return replace(application, section=replace(spec, folder=str(folder)))


TAP = TapStandard(
    "tap",
    template=_TEMPLATE,
    section="catalogue",
    format_parameters=("RESPONSEFORMAT", "FORMAT"),  # T-011
)
