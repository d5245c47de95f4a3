"""A catalogue in a file: YAML, CSV or Parquet, read again when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import structlog
from pydantic import Field, field_validator

from uws_service.data.catalogue import Catalogue, CatalogueKind, Outcome
from uws_service.data.identifiers import Identifier
from uws_service.data.index_file import Index, read_index
from uws_service.data.settings import CatalogueSettings
from uws_service.domain.errors import ConfigurationError

log = structlog.get_logger(__name__)

SUFFIXES = (".yaml", ".yml", ".csv", ".parquet")


class StaticCatalogueSettings(CatalogueSettings):
    """A catalogue in a file."""

    kind: Literal["static"] = Field(description="`static`: a file with all data sets.")
    index: Path = Field(
        description="A YAML, CSV or Parquet file, relative to the settings file. It is read again when it changes."
    )
    cache: float = Field(0.0, ge=0, description="Of no use here: the file is in memory.")

    @field_validator("index")
    @classmethod
    def _index(cls, value: Path) -> Path:
        if value.suffix.lower() not in SUFFIXES:
            raise ValueError(f"must end in one of {', '.join(SUFFIXES)}")
        return value


class _Version(NamedTuple):
    """What tells one version of a file from the next."""

    inode: int
    size: int
    modified_ns: int


class StaticCatalogue(Catalogue):
    """The data sets of a file."""

    def __init__(self, settings: StaticCatalogueSettings) -> None:
        super().__init__(settings)
        self.path = settings.index
        self._index = Index({}, {})
        self._version: _Version | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Read the file.

        Raise `ConfigurationError` with file, line and field.
        """
        await self._refresh()

    async def find(self, identifiers: Sequence[Identifier], token: str | None) -> Mapping[str, Outcome]:
        """Return what the file says now.

        If it has become wrong, what was read before is used, and the log says so.
        """
        try:
            await self._refresh()
        except ConfigurationError as error:
            log.warning(
                "a catalogue has become wrong; its last good version is used",
                catalogue=self.name,
                problem=error.message,
            )
        found: dict[str, Outcome] = {}
        for identifier in identifiers:
            outcome = self._index.resolve(identifier.text)
            if outcome is not None:
                found[identifier.text] = outcome
        return found

    async def _refresh(self) -> None:
        async with self._lock:
            version = await asyncio.to_thread(self._stat)
            if version == self._version:
                return
            self._version = version  # a wrong version is not read again before it changes
            self._index = await asyncio.to_thread(read_index, self.path)
            log.info("a catalogue was read", catalogue=self.name, sets=len(self._index.sets))

    def _stat(self) -> _Version:
        try:
            entry = self.path.stat()
        except OSError as error:
            raise ConfigurationError(f"{self.path}: {error.strerror or error}") from None
        return _Version(entry.st_ino, entry.st_size, entry.st_mtime_ns)


STATIC = CatalogueKind("static", StaticCatalogueSettings, StaticCatalogue)
