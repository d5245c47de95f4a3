"""A job's parameters against its application (DALI 1.1 §3). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from uws_service.applications.literals import check_literal
from uws_service.applications.model import PLACEHOLDER, Application, ParameterSpec, ResultSpec
from uws_service.applications.provenance import unknown_parameters
from uws_service.data.identifiers import parse_identifier
from uws_service.domain.attempt import Input
from uws_service.domain.dataset import DataParameter
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Parameter

_TABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+( ?; ?[\w.+-]+=([\w.+-]+|\"[\w .:/+-]*\"))*", re.ASCII)
LONGEST_WORD = 100_000
"""Bytes; the kernel takes no argument and no variable above 128 KiB."""
IDENTIFIERS_MAX = 1000
"""Data sets of one parameter."""
ALIASES = {
    "votable": ("application/x-votable+xml", "text/xml"),
    "csv": ("text/csv",),
    "tsv": ("text/tab-separated-values",),
    "fits": ("application/fits",),
    "text": ("text/plain",),
    "html": ("text/html",),
    "parquet": ("application/vnd.apache.parquet",),
}
"""DALI's short names and the media types that they stand for (D-024)."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Valid parameters.

    Values as text by declared name, files to bring, format, row limit and data sets to look up.
    """

    values: Mapping[str, tuple[str, ...]]
    inputs: tuple[Input, ...] = ()
    format: str | None = None
    media_type: str | None = None
    maxrec: int | None = None
    data: tuple[DataParameter, ...] = ()


def single_value(name: str, values: Sequence[str]) -> str | None:
    """Return a parameter's only value, or None (D-021).

    Equal repetitions are one value: astroquery sends both FORMAT=votable and format=votable.
    """
    different = tuple(dict.fromkeys(values))
    if len(different) > 1:
        samples = ", ".join(repr(value[:80]) for value in different[:3]) + (", …" if len(different) > 3 else "")
        raise UsageError(f"{name} was given {len(different)} different values ({samples}); it takes one value.")
    return different[0] if different else None


def check(application: Application, parameters: Sequence[Parameter]) -> Checked:
    """Return the parameters, or raise `UsageError` (D-020…D-027).

    Names that nobody declared are ignored (D-022), unless the application refuses them.
    """
    if application.refuses_unknown and (unknown := unknown_parameters(application, parameters)):
        raise UsageError(" ".join(unknown))
    by_name: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        by_name.setdefault(parameter.name.upper(), []).append(parameter)
    values: dict[str, tuple[str, ...]] = {}
    inputs: list[Input] = []
    data: list[DataParameter] = []
    for spec in application.parameters:
        sent = [
            parameter
            for parameter in by_name.get(spec.name.upper(), [])
            if parameter.upload is not None or parameter.value != ""
        ]
        if len(sent) > 1 and not spec.repeated:
            single_value(spec.name, [parameter.upload or parameter.value for parameter in sent])
            sent = sent[:1]
        if not sent:
            if spec.required:
                raise UsageError(
                    f"{spec.name} is required{': ' + spec.description.rstrip('.') if spec.description else ''}."
                )
            if spec.default is not None and spec.file:
                inputs.append(_file(spec, Parameter(spec.name, spec.default), application))
            elif spec.default is not None:
                values[spec.name] = (spec.default,)
        elif spec.file:
            inputs.append(_file(spec, sent[0], application))
        else:
            values[spec.name] = tuple(_value(spec, parameter, application) for parameter in sent)
        if spec.dataset and spec.name in values:
            data.append(_data(spec, values[spec.name]))
    inputs += _uploads(application, by_name)
    inputs += application.standard.inputs(application, by_name)
    application.standard.check(application, values)
    name, media_type = _format(application, by_name)
    return Checked(values, tuple(inputs), name, media_type, _maxrec(application, by_name), tuple(data))


def _value(spec: ParameterSpec, parameter: Parameter, application: Application) -> str:
    if parameter.upload is not None:
        raise UsageError(f"{spec.name} takes a value, not a file.")
    check_literal(spec, parameter.value)
    length = len(parameter.value.encode(errors="replace"))
    if length > LONGEST_WORD and spec.name.upper() in in_command(application):
        raise UsageError(f"{spec.name} has {length} bytes; at most {LONGEST_WORD} fit into the command.")
    return parameter.value


def _data(spec: ParameterSpec, values: Sequence[str]) -> DataParameter:
    """Return the data sets of a parameter, each of them once."""
    identifiers = tuple(dict.fromkeys(parse_identifier(value, spec.name).text for value in values))
    if len(identifiers) > IDENTIFIERS_MAX:
        raise UsageError(f"{spec.name} names {len(identifiers)} data sets; at most {IDENTIFIERS_MAX} are taken.")
    return DataParameter(spec.name, identifiers, max_size=spec.size, several=spec.repeated)


def in_command(application: Application) -> set[str]:
    """Return parameters whose values are words of the command.

    Their names are in upper case.
    """
    return {name.upper() for word in application.command for kind, name in PLACEHOLDER.findall(word) if not kind}


def _single(by_name: Mapping[str, list[Parameter]], name: str) -> str | None:
    """Return the value of a standard parameter.

    An empty one counts as not sent.
    """
    return single_value(name, [value for parameter in by_name.get(name, []) if (value := parameter.value.strip())])


def input_url(url: str, place: str) -> str:
    """Return the URL of a file, or raise `UsageError`."""
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError as error:
        raise UsageError(f"{place}: the URL can't be read: {error}.") from None
    if scheme not in ("http", "https"):
        raise UsageError(f"{place}: URLs of the scheme {scheme[:20]!r} are not taken; use http, https or param:.")
    return url


def _file(spec: ParameterSpec, parameter: Parameter, application: Application) -> Input:
    limit = application.uploads.size if application.uploads is not None else 512 * 1024**2
    path = f"files/{spec.name}{_ending(spec, parameter)}"
    if parameter.upload is not None:
        if parameter.size is not None and parameter.size > limit:
            raise UsageError(f"{spec.name}: the file has {parameter.size} bytes; at most {limit} are taken.")
        return Input(spec.name, path, depot_key=parameter.upload, max_size=limit)
    return Input(spec.name, path, url=input_url(parameter.value, spec.name), max_size=limit)


def _ending(spec: ParameterSpec, parameter: Parameter) -> str:
    """Return the ending of a file: that of the client's name or URL if it is declared, else the first declared one."""
    name = parameter.value if parameter.upload is not None else urlsplit(parameter.value).path
    fitting = [ending for ending in spec.endings if name.lower().endswith(ending)]
    return max(fitting, key=len) if fitting else next(iter(spec.endings), "")


def _uploads(application: Application, by_name: Mapping[str, list[Parameter]]) -> list[Input]:
    """Return the tables of UPLOAD=name,URI (D-026, C-17).

    It is repeated, or joined with ';' as older clients do.
    """
    pairs = [pair for parameter in by_name.get("UPLOAD", []) for pair in parameter.value.split(";") if pair.strip()]
    spec = application.uploads
    if spec is None:
        if pairs:
            raise UsageError(f"The application {application.name!r} takes no UPLOAD.")
        return []
    if len(pairs) > spec.maximum:
        raise UsageError(f"UPLOAD names {len(pairs)} tables; at most {spec.maximum} are taken.")
    inputs: list[Input] = []
    for pair in pairs:
        name, comma, uri = pair.strip().partition(",")
        if not comma or not uri:
            raise UsageError(f"UPLOAD={pair[:80]!r} must be a table name, a comma and a URI.")
        if not _TABLE.fullmatch(name):
            raise UsageError(f"UPLOAD: the table name {name[:80]!r} must be a letter and then letters, digits or '_'.")
        if any(file_input.name.upper() == name.upper() for file_input in inputs):
            raise UsageError(f"UPLOAD names the table {name!r} twice.")
        path = f"uploads/{name}"
        if uri.startswith("param:"):
            inputs.append(
                Input(name, path, depot_key=upload_of(by_name, uri[6:], spec.size, "UPLOAD"), max_size=spec.size)
            )
        else:
            inputs.append(Input(name, path, url=input_url(uri, f"UPLOAD={name}"), max_size=spec.size))
    if len(inputs) < spec.minimum:
        hint = "UPLOAD=name,param:part with a file part, or UPLOAD=name,URL"
        raise UsageError(f"At least {spec.minimum} uploaded table is needed: {hint}.")
    return inputs


def upload_of(by_name: Mapping[str, Sequence[Parameter]], part: str, limit: int, name: str) -> str:
    """Return the depot's key of a file part.

    ``name`` is that of the parameter that refers to it.
    """
    for parameter in by_name.get(part.upper(), []):
        if parameter.upload is not None:
            if parameter.size is not None and parameter.size > limit:
                raise UsageError(f"The uploaded file {part!r} has {parameter.size} bytes; at most {limit} are taken.")
            return parameter.upload
    raise UsageError(f"{name} refers to the file part {part[:80]!r}, which was not sent.")


def main_result(application: Application) -> ResultSpec | None:
    """Return the result whose format RESPONSEFORMAT chooses."""
    return next((result for result in application.results if result.formats), None)


def _format(application: Application, by_name: Mapping[str, list[Parameter]]) -> tuple[str | None, str | None]:
    """Return name and media type of RESPONSEFORMAT (D-024).

    It is a short name or a media type; what was asked for is what the result is called.
    """
    values = (_single(by_name, name) for name in application.standard.format_parameters)
    requested = next((value for value in values if value is not None), None)
    result = main_result(application)
    if result is None:
        kinds = {result.media_type for result in application.results}
        if requested and not kinds & {_base(requested), *ALIASES.get(_base(requested), ())}:
            raise UsageError(f"RESPONSEFORMAT={requested[:80]!r} is not offered; offered: {', '.join(sorted(kinds))}.")
        return None, None
    if requested is None:
        name = next(iter(result.formats))
        return name, result.formats[name]
    base_type = _base(requested)
    exact = requested.replace(" ", "").lower()
    for name, media_type in result.formats.items():
        if exact == media_type:
            return name, requested
    for name, media_type in result.formats.items():
        if base_type == name.lower():
            return name, media_type
        if base_type == _base(media_type) or base_type in ALIASES.get(name.lower(), ()):
            if not _MEDIA_TYPE.fullmatch(requested):  # it becomes a header of the answer
                raise UsageError(f"RESPONSEFORMAT={requested[:80]!r} is not a media type, such as {media_type}.")
            return name, requested
    offered = ", ".join(f"{name} ({media_type})" for name, media_type in result.formats.items())
    raise UsageError(f"RESPONSEFORMAT={requested[:80]!r} is not offered; offered: {offered}.")


def _base(media_type: str) -> str:
    """Return a media type without parameters, in lower case."""
    return media_type.partition(";")[0].strip().lower()


def _maxrec(application: Application, by_name: Mapping[str, list[Parameter]]) -> int | None:
    """Return MAXREC within the application's limit (D-025)."""
    text = _single(by_name, "MAXREC")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError(f"MAXREC={text[:40]!r} is not allowed; it must be a whole number, 0 or more.")
    spec = application.maxrec
    if spec is None:
        return None
    return spec.default if text is None else min(int(text), spec.maximum)
