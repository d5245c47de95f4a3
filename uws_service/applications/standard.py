"""A standard's part in an application's descriptor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uws_service.applications.model import Application
    from uws_service.applications.parameters import Checked
    from uws_service.domain.attempt import Input, Launch
    from uws_service.domain.job import Job, Parameter

_MERGED_SECTIONS = ("uploads", "maxrec", "resources", "limits")


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """A standard that an application's service follows.

    UWS and DALI alone, or more.

    Other standards derive from this class; what they do not override is as for plain UWS and DALI.
    """

    name: str
    """What the descriptor's ``protocol`` says."""
    template: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the descriptor that the standard prescribes or presets: command, parameters, results, limits."""
    section: str = ""
    """The name of the descriptor's section that only this standard has, and requires; empty: there is none."""
    section_schema: Mapping[str, Any] | None = None
    """The JSON Schema of that section; None if the schema of descriptors holds it already."""
    format_parameters: tuple[str, ...] = ("RESPONSEFORMAT",)
    """Names of the parameter that chooses the format of the result; the first one that has a value counts."""
    part_parameters: tuple[str, ...] = ("UPLOAD",)
    """Parameters whose values name file parts of the form, as ``…,param:part``."""
    names_image: bool = False
    """Whether each job names the container image that it runs in."""

    def complete(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the descriptor with the template's fields.

        Its own take precedence, word by word.
        """
        completed = {**self.template, **raw}
        for name in _MERGED_SECTIONS:
            if name in self.template and name in raw:
                completed[name] = {**self.template[name], **raw[name]}
        return completed

    def read_section(self, raw: Mapping[str, Any]) -> Any:
        """Return the standard's own section as a value."""
        return raw

    def locate(self, application: Application, folder: Path) -> Application:
        """Return the application with absolute paths.

        Those of a descriptor are relative to its folder.
        """
        return application

    def problems(self, application: Application) -> Iterable[tuple[list[Any], str]]:
        """Return what a schema can't say about the standard's section."""
        return ()

    def check(self, application: Application, values: Mapping[str, tuple[str, ...]]) -> None:
        """Raise `UsageError` for values that are at odds with each other or with the section."""

    def inputs(self, application: Application, by_name: Mapping[str, Sequence[Parameter]]) -> Sequence[Input]:
        """Return files to bring beside those of file parameters and UPLOAD."""
        return ()

    def shape(self, application: Application, checked: Checked, launch: Launch) -> Launch:
        """Return the launch as the job's own parameters want it."""
        return launch

    def environment(self, application: Application, job: Job) -> Mapping[str, str]:
        """Return environment variables of a job's command."""
        return {}

    def passed_variables(self, application: Application) -> tuple[str, ...]:
        """Return names of variables that the command inherits."""
        return ()


PLAIN = Standard("plain")
"""UWS and DALI alone: the descriptor names no ``protocol``."""
