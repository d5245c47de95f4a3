"""What a job's record says of its input. Pure.

Names that nobody declared, values that the service chose, versions.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from uws_service import __version__
from uws_service.applications.model import Application
from uws_service.domain.attempt import Input
from uws_service.domain.dataset import DataParameter, DataSet
from uws_service.domain.job import Parameter
from uws_service.domain.record import InputRecord
from uws_service.domain.redaction import bare_url

STANDARD = frozenset("RESPONSEFORMAT FORMAT MAXREC UPLOAD RUNID REQUEST VERSION LANG PRIORITY PREFER SITE".split())
"""Names that DALI or older clients give a meaning of their own."""
UWS_WORDS = frozenset({"PHASE", "DESTRUCTION", "EXECUTIONDURATION", "ACTION"})
"""Names that mean something to UWS itself when they are posted."""
_CLIENTS = frozenset({"WAIT", "TAPCLIENT", "JOBNAME"})
"""What clients send beside; the last two are astroquery's."""
_MEANINGFUL = STANDARD | UWS_WORDS | _CLIENTS
_GUESSABLE = ("RESPONSEFORMAT", "MAXREC", "RUNID", "PHASE", "DESTRUCTION", "EXECUTIONDURATION")
_MAX_NOTICES = 10
_MAX_GUESS_LENGTH = 64
"""Characters; a guess takes time that grows with the square of the length."""
_MAX_LISTED = 20
_MAX_RECORDS = 100
"""Files of data sets that a record lists one by one."""


def unknown_parameters(application: Application, parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """Return a sentence for each unknown parameter (D-022).

    It has a guess at what was meant.
    """
    names = {
        name: parameter
        for parameter in reversed(parameters)
        if (name := parameter.name.upper()) not in _MEANINGFUL and application.parameter(name) is None
    }
    if not names:
        return ()
    parts = _upload_parts(parameters, application.standard.part_parameters)
    unknown = [parameter for name, parameter in reversed(names.items()) if name not in parts]
    sentences = [_sentence(application, parameter) for parameter in unknown[:_MAX_NOTICES]]
    if len(unknown) > _MAX_NOTICES:
        sentences.append(f"{len(unknown) - _MAX_NOTICES} more parameters are unknown here.")
    return tuple(sentences)


def _upload_parts(parameters: Sequence[Parameter], names: Sequence[str]) -> set[str]:
    """Return names of form parts that parameters such as UPLOAD refer to."""
    pairs = [pair for parameter in parameters if parameter.name.upper() in names for pair in parameter.value.split(";")]
    return {uri.strip()[6:].upper() for pair in pairs if (uri := pair.partition(",")[2]).strip().startswith("param:")}


def _sentence(application: Application, parameter: Parameter) -> str:
    name = parameter.name[:_MAX_GUESS_LENGTH]
    declared = [spec.name for spec in application.parameters]
    possible = {name.upper(): name for name in (*_GUESSABLE, *(("UPLOAD",) if application.uploads else ()), *declared)}
    close = difflib.get_close_matches(name.upper(), possible, 1, 0.6)
    if close:
        return f"{name} is no parameter here; did you mean {possible[close[0]]}?"
    if parameter.upload is not None and application.uploads is not None:
        return f"The file {name} is no parameter here, and no UPLOAD names it."
    listed = ", ".join(declared[:_MAX_LISTED]) + (", …" if len(declared) > _MAX_LISTED else "")
    return f"{name} is no parameter here{f'; there are: {listed}' if listed else ''}."


def chosen_values(
    application: Application, parameters: Sequence[Parameter], format_name: str | None, maxrec: int | None
) -> dict[str, str]:
    """Return values that the service chose for the request.

    Those are defaults, and what a limit made of the caller's values.
    """
    sent_values = {
        parameter.name.upper(): parameter.value
        for parameter in parameters
        if parameter.value != "" or parameter.upload is not None
    }
    values = {
        spec.name: spec.default
        for spec in application.parameters
        if spec.default is not None and spec.name.upper() not in sent_values
    }
    if format_name is not None and not any(name in sent_values for name in application.standard.format_parameters):
        values["RESPONSEFORMAT"] = format_name
    if maxrec is not None and _number(sent_values.get("MAXREC")) != maxrec:
        values["MAXREC"] = str(maxrec)
    return values


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.strip().isdigit() else None


def versions(application: Application, image: str) -> dict[str, str]:
    """Return the versions of what runs the job.

    ``image`` is empty where the site runs no containers.
    """
    values: Mapping[str, str] = {
        "service": __version__,
        "application": application.version,
        "image": image,
    }
    return {name: version for name, version in values.items() if version}


def input_records(
    inputs: Iterable[Input], digests: Mapping[str, str], parameters: Sequence[Parameter]
) -> tuple[InputRecord, ...]:
    """Return what a job's record says of its files before any is fetched.

    ``digests`` are those of uploads, by their keys in the depot.
    """
    sizes = {parameter.upload: parameter.size for parameter in parameters if parameter.upload is not None}
    return tuple(
        InputRecord(
            item.name,
            item.path,
            bare_url(item.url) if item.url is not None else "",
            size=sizes.get(item.depot_key or ""),
            checksums={"sha256": digest} if (digest := digests.get(item.depot_key or "")) else {},
        )
        for item in inputs
    )


def data_records(data: Iterable[DataParameter]) -> tuple[InputRecord, ...]:
    """Return what a job's record says of data sets that were looked up.

    Of many files it has one line for each set, of many sets one for each parameter.
    """
    parameters = tuple(data)
    pairs = [(parameter, entry) for parameter in parameters for entry in parameter.sets or ()]
    if sum(len(entry.files) for _, entry in pairs) <= _MAX_RECORDS:
        return tuple(
            InputRecord(parameter.name, file.name, bare_url(entry.identifier), file.size, dict(file.checksums), True)
            for parameter, entry in pairs
            for file in entry.files
        )
    if len(pairs) <= _MAX_RECORDS:
        return tuple(_summary(parameter.name, bare_url(entry.identifier), (entry,)) for parameter, entry in pairs)
    return tuple(
        _summary(parameter.name, f"{len(parameter.sets or ())} data sets", parameter.sets or ())
        for parameter in parameters
    )


def _summary(name: str, source: str, sets: Sequence[DataSet]) -> InputRecord:
    files = sorted([file.name, file.size, dict(file.checksums)] for entry in sets for file in entry.files)
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    return InputRecord(name, "", source, sum(entry.size for entry in sets), {"list": digest}, True)
