"""The registry of the kinds of catalogue, a line for each; and the catalogues of a service, asked in order.

A package of somebody else's adds a kind by an entry point of the group ``uws_service.catalogues`` that names a
`CatalogueKind`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Union

import structlog
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from uws_service.byte_cache import ByteCache
from uws_service.data.answers import CatalogueFault
from uws_service.data.catalogue import Absent, Catalogue, CatalogueKind, Outcome
from uws_service.data.identifiers import Form, Identifier, file_name
from uws_service.data.rucio import RUCIO
from uws_service.data.settings import CatalogueSettings
from uws_service.data.srcnet import SRCNET
from uws_service.data.static import STATIC
from uws_service.domain.dataset import DataFile, DataSet, Replica
from uws_service.plugins import load_plugins
from uws_service.units import Seconds

log = structlog.get_logger(__name__)

CACHE_BYTES = 64 * 2**20
CACHED_MAX_BYTES = 4 * 2**20
"""Bytes of one data set that is still cached."""
REPLICA_BYTES = 400
"""Estimate for a replica in the cache."""

KINDS: Mapping[str, CatalogueKind] = load_plugins("uws_service.catalogues", (STATIC, RUCIO, SRCNET), CatalogueKind)
"""Every kind of catalogue, by the name that ``kind`` has in the settings."""

if TYPE_CHECKING:
    AnyCatalogue = CatalogueSettings
else:  # the union of the settings of all kinds, those of other packages too
    AnyCatalogue = Annotated[Union[tuple(kind.settings for kind in KINDS.values())], Field(discriminator="kind")]  # noqa: UP007


class Datasets(BaseModel):
    """Data sets as inputs of jobs."""

    model_config = ConfigDict(extra="forbid")

    catalogues: tuple[AnyCatalogue, ...] = Field(
        (), description="Catalogues of data, asked in this order; the first that has an identifier counts."
    )
    files: int = Field(10_000, ge=1, le=100_000, description="Most files of the data of one parameter.")
    results: str | None = Field(
        None, description="The catalogue that registers results for the data lake, by its name; of the kind `rucio`."
    )
    bring_patience: Seconds = Field(
        86400, ge=1, description="How long a job waits for data that are brought to its site; then it fetches them."
    )
    urls: bool = Field(True, description="Take http(s) URLs that no catalogue has as data of one file.")

    @field_validator("catalogues")
    @classmethod
    def _names(cls, value: tuple[CatalogueSettings, ...]) -> tuple[CatalogueSettings, ...]:
        names = [catalogue.name for catalogue in value]
        if len(set(names)) != len(names):
            raise ValueError("two catalogues have the same name")
        return value

    @property
    def brings(self) -> bool:
        """Return whether any catalogue can bring data to other storage areas."""
        return any(KINDS[catalogue.kind].brings for catalogue in self.catalogues)

    @model_validator(mode="after")
    def _registers(self) -> Datasets:
        if self.results is None:
            return self
        kinds = {catalogue.name: catalogue.kind for catalogue in self.catalogues}
        if self.results not in kinds:
            raise ValueError(
                f"results: there is no catalogue {self.results!r}; there are: {', '.join(kinds) or 'none'}"
            )
        if not KINDS[kinds[self.results]].registers:
            raise ValueError(f"results: the catalogue {self.results!r} can't register files")
        return self


class Catalogues:
    """The catalogues of a service.

    Answers are cached for a short time: for each caller if the catalogue is asked in the callers' names, so that
    nobody gets what only somebody else may see; for all callers else.
    """

    def __init__(self, settings: Datasets) -> None:
        self.settings = settings
        self.catalogues: tuple[Catalogue, ...] = tuple(KINDS[entry.kind].open(entry) for entry in settings.catalogues)
        self._cache: ByteCache[tuple[str, str, str], tuple[float, Outcome]] = ByteCache(CACHE_BYTES, CACHED_MAX_BYTES)

    async def start(self) -> None:
        """Read what must be there at the start."""
        for catalogue in self.catalogues:
            await catalogue.start()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(catalogue.close() for catalogue in self.catalogues))

    async def find(
        self,
        identifiers: Iterable[Identifier],
        *,
        owner: str = "",
        tokens: Mapping[str, str] | None = None,
        fresh: Collection[str] = (),
    ) -> dict[str, Outcome]:
        """Return what is at each identifier, by its text; never raise for a catalogue's fault.

        Parameters
        ----------
        owner
            The caller in whose name the tokens are; empty: unknown.
        tokens
            The caller's tokens by catalogue.
        fresh
            Identifiers of which no earlier answer is used: something has changed.
        """
        pending = {identifier.text: identifier for identifier in identifiers}
        outcomes: dict[str, Outcome] = {}
        for catalogue in self.catalogues:
            if not pending:
                break
            token = (tokens or {}).get(catalogue.name)
            answer = await self._ask(catalogue, list(pending.values()), owner, token, fresh)
            outcomes |= {text: outcome for text, outcome in answer.items() if text in pending}
            # What is missing there may be in the next catalogue; what can't be asked now may not be passed over.
            for text, outcome in answer.items():
                if isinstance(outcome, DataSet) or outcome.transient:
                    pending.pop(text, None)
        for text, identifier in pending.items():
            if identifier.form is Form.URL and self.settings.urls:
                outcomes[text] = _of_url(text)
            elif text not in outcomes:
                outcomes[text] = Absent(f"{text} is in no catalogue of this service")
        return outcomes

    def named(self, name: str) -> Catalogue | None:
        """Return the catalogue of that name, if there is one."""
        return next((catalogue for catalogue in self.catalogues if catalogue.name == name), None)

    async def _ask(
        self,
        catalogue: Catalogue,
        identifiers: Sequence[Identifier],
        owner: str,
        token: str | None,
        fresh: Collection[str],
    ) -> dict[str, Outcome]:
        caller = owner if catalogue.settings.audience is not None else ""
        if catalogue.settings.audience is not None and token is None:
            reason = f"the catalogue {catalogue.name} is asked in its callers' names, and there is no token of yours"
            return {identifier.text: Absent(reason) for identifier in identifiers if identifier.form is not Form.URL}
        now = time.monotonic()
        answer: dict[str, Outcome] = {}
        unknown = []
        for identifier in identifiers:
            entry = self._cache.get((catalogue.name, caller, identifier.text))
            if entry is not None and entry[0] > now and identifier.text not in fresh:
                answer[identifier.text] = entry[1]
            else:
                unknown.append(identifier)
        if not unknown:
            return answer
        try:
            latest = await catalogue.find(unknown, token)
        except CatalogueFault as error:
            log.warning("a catalogue can't be asked", catalogue=catalogue.name, problem=str(error))
            # What is neither the caller's right nor the size of the answer is a fault that an operator can mend.
            is_refusal = not error.transient and error.status in (0, 401, 403)
            action = "does not answer" if is_refusal else "can't be asked now"
            fault = Absent(f"the catalogue {catalogue.name} {action}: {error}", transient=not is_refusal)
            return answer | {identifier.text: fault for identifier in unknown if identifier.form is not Form.URL}
        until = now + catalogue.settings.cache
        if KINDS[catalogue.settings.kind].brings:
            latest = {text: _of_lake(outcome, catalogue.name) for text, outcome in latest.items()}
        for text, outcome in latest.items():
            if isinstance(outcome, DataSet) and catalogue.settings.cache:
                self._cache.put((catalogue.name, caller, text), (until, outcome), _size(outcome))
        return answer | dict(latest)


def _of_lake(outcome: Outcome, name: str) -> Outcome:
    return replace(outcome, lake=name) if isinstance(outcome, DataSet) else outcome


def _size(data_set: DataSet) -> int:
    return REPLICA_BYTES * (1 + sum(1 + len(file.replicas) for file in data_set.files))


def _of_url(url: str) -> DataSet:
    """Return a URL as a data set of one file; nothing is known of it."""
    return DataSet(url, (DataFile(file_name(url), replicas=(Replica(url=url),)),), is_file=True)
