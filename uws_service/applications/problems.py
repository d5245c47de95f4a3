"""What is wrong with parameters, each by its name (DALI 1.1 §3): for forms, before there is a job. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from uws_service.applications.model import Application
from uws_service.applications.parameters import check
from uws_service.applications.standard import PLAIN
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Parameter


class Problem(NamedTuple):
    """What is wrong with a parameter.

    ``parameter`` is empty if it is about several of them.
    """

    parameter: str
    message: str


def problems(application: Application, parameters: Sequence[Parameter]) -> list[Problem]:
    """Return all that is wrong with parameters; nothing if a job may have them."""
    bare = replace(application, parameters=(), results=(), maxrec=None, standard=PLAIN, refuses_unknown=False)
    hits: list[Problem] = []
    for spec in application.parameters:
        values = [parameter for parameter in parameters if parameter.name.upper() == spec.name.upper()]
        hits += _refusals(spec.name, replace(bare, parameters=(spec,), uploads=None), values)
    files = [parameter for parameter in parameters if parameter.upload is not None]
    uploads = [parameter for parameter in parameters if parameter.name.upper() == "UPLOAD"]
    if application.uploads is not None or uploads:
        hits += _refusals("UPLOAD", bare, [*uploads, *files])
    formats = [parameter for parameter in parameters if parameter.name.upper() in ("RESPONSEFORMAT", "FORMAT")]
    hits += _refusals("RESPONSEFORMAT", replace(bare, results=application.results, uploads=None), formats)
    limits = [parameter for parameter in parameters if parameter.name.upper() == "MAXREC"]
    hits += _refusals("MAXREC", replace(bare, maxrec=application.maxrec, uploads=None), limits)
    return hits or _refusals("", application, parameters)


def _refusals(name: str, application: Application, parameters: Sequence[Parameter]) -> list[Problem]:
    try:
        check(application, parameters)
    except UsageError as error:
        return [Problem(name, error.message)]
    return []
