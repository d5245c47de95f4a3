"""What a catalogue of data is, and what a kind of catalogue is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_args

from uws_service.data.answers import CatalogueFault
from uws_service.data.identifiers import Did, Form, Identifier, parse_did
from uws_service.data.settings import CatalogueSettings
from uws_service.domain.dataset import DataSet


@dataclass(frozen=True, slots=True)
class Absent:
    """Why there is no data set for an identifier, in words for the job's owner."""

    reason: str
    transient: bool = False
    """Whether it may be there later: the catalogue can't be asked now."""


Outcome = DataSet | Absent


class Brought(NamedTuple):
    """How far the lake is with the copies of a data set at a storage area."""

    here: int
    """Files that are there."""
    files: int
    """Files that will be there; 0: the lake does not know yet."""
    complete: bool = False
    problem: str = ""
    """What keeps the others from there now, in words."""


class Catalogue(ABC):
    """Finds replicas, sizes and checksums."""

    def __init__(self, settings: CatalogueSettings) -> None:
        self.settings = settings

    @property
    def name(self) -> str:
        """Return the catalogue's name."""
        return self.settings.name

    @abstractmethod
    async def find(self, identifiers: Sequence[Identifier], token: str | None) -> Mapping[str, Outcome]:
        """Return what is at each identifier, by its text.

        Identifiers that the catalogue has no word for are left out: another catalogue may know them.

        Parameters
        ----------
        token
            The caller's, exchanged for the catalogue's audience; None unless the settings name an audience.

        Raises
        ------
        CatalogueFault
            There is no usable answer.
        """

    async def upload_url(self, area: str, did: Did, token: str | None) -> str:
        """Return where a storage area takes a new file; raise `CatalogueFault`."""
        raise CatalogueFault(f"the catalogue {self.name} registers no files", transient=False)

    async def register(
        self, area: str, did: Did, size: int, checksums: Mapping[str, str], dataset: Did, token: str | None
    ) -> None:
        """Register a file at a storage area, in a dataset; nothing happens if it is there with this checksum.

        Raises
        ------
        CatalogueFault
            It does not take it.
        """
        raise CatalogueFault(f"the catalogue {self.name} registers no files", transient=False)

    async def bring(self, area: str, identifier: Identifier, token: str | None) -> Brought:
        """Ask for copies at a storage area, and return how far they are; may be called again and again.

        Raises
        ------
        CatalogueFault
            It is refused, or can't be asked.
        """
        raise CatalogueFault(f"the catalogue {self.name} brings no data", transient=False)

    async def start(self) -> None:  # noqa: B027 -- nothing to do for most
        """Read what must be there at the start.

        Raise `ConfigurationError`.
        """

    async def close(self) -> None:  # noqa: B027 -- nothing to do for some
        """Close all connections."""


@dataclass(frozen=True, slots=True)
class CatalogueKind:
    """A kind of catalogue."""

    name: str
    settings: type[CatalogueSettings]
    """The class of its settings; the ``Literal`` type of its ``kind`` is the name."""
    open: Callable[[Any], Catalogue]
    """Make a catalogue from its settings; it connects to nothing yet."""
    registers: bool = False
    """Whether it can register results."""
    brings: bool = False
    """Whether it can have copies of data made at other storage areas."""

    def __post_init__(self) -> None:
        """Check that the settings name this kind."""
        if get_args(self.settings.model_fields["kind"].annotation) != (self.name,):
            raise ValueError(f"the field `kind` of {self.settings.__name__} must be of the type Literal[{self.name!r}]")


def did_of(identifier: Identifier, prefixes: Sequence[str]) -> Did | None:
    """Return scope and name of an identifier.

    None if it has none.

    An IVOID has them after one of the prefixes.
    """
    if identifier.form is Form.DID:
        return Did(identifier.scope, identifier.name)
    if identifier.form is not Form.IVOID:
        return None
    for prefix in prefixes:
        if identifier.text.lower().startswith(prefix.lower()):
            key = identifier.text[len(prefix) :]
            scope, separator, name = key.partition(":") if ":" in key else key.partition("/")
            try:
                return parse_did(scope, name) if separator else None
            except ValueError:
                return None
    return None
