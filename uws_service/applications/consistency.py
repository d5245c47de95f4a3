"""What a schema can't say about a descriptor. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from uws_service.applications.literals import FLOATS, INTEGERS, TEXTS, check_literal
from uws_service.applications.model import (
    COMMAND_FOLDERS,
    CONDITION,
    PLACEHOLDER,
    Application,
    Bound,
    Example,
    ParameterSpec,
)
from uws_service.applications.parameters import check
from uws_service.applications.provenance import STANDARD, UWS_WORDS
from uws_service.applications.standard import PLAIN
from uws_service.data.identifiers import parse_identifier
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Parameter

Problem = tuple[list[Any], str]
"""Where (keys and indices from the root), and what is wrong with what is allowed."""

SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash"})
SHAPES = {"point": ("2",), "circle": ("3",), "polygon": ("*",), "interval": ("2",)}
"""The arraysize that DALI gives to each xtype made of numbers."""


def inconsistencies(application: Application) -> Iterator[Problem]:
    """Yield every problem.

    None if the application is usable.
    """
    problems = [*_parameters(application), *_command(application), *_results(application), *_bounds(application)]
    if application.access is not None and application.access.anonymous:
        closed = [name for name in ("groups", "scopes") if getattr(application.access, name)]
        problems += [(["access", name], f"{name} means nothing beside anonymous: true") for name in closed]
    if application.access is not None and application.access.anonymous and application.data_token is not None:
        problems.append((["data_token"], "data_token needs a caller who is known; access says anonymous: true"))
    problems += application.standard.problems(application)
    yield from problems
    if not problems:
        for index, example in enumerate(application.examples):
            yield from (
                ([*["examples", index, "parameters"], *path], message)
                for path, message in _example(application, example)
            )


def _parameters(application: Application) -> Iterator[Problem]:
    names: set[str] = set()
    for index, spec in enumerate(application.parameters):
        path = ["parameters", index]
        if spec.name.upper() in names:
            yield [*path, "name"], f"{spec.name!r} is declared twice (names do not depend on case)"
        if spec.name.upper() in STANDARD | UWS_WORDS and application.standard is PLAIN:
            yield [*path, "name"], f"{spec.name!r} has a meaning of its own in UWS or DALI; choose another"
        names.add(spec.name.upper())
        yield from (([*path, field], message) for field, message in _parameter(spec))


def _parameter(spec: ParameterSpec) -> Iterator[tuple[str, str]]:
    """Yield fields of a parameter that contradict each other."""
    numeric = spec.datatype in FLOATS or spec.datatype in INTEGERS
    if spec.minimum is not None and spec.maximum is not None and spec.minimum > spec.maximum:
        yield "minimum", f"{spec.minimum:g} is above the maximum of {spec.maximum:g}"
    for field in ("minimum", "maximum"):
        if getattr(spec, field) is not None and not numeric:
            yield field, f"values of datatype {spec.datatype} have no order; use it with numbers only"
    if spec.xtype in SHAPES:
        kinds = sorted(FLOATS) if spec.xtype != "interval" else [*sorted(FLOATS), *INTEGERS]
        if spec.datatype not in kinds:
            yield "xtype", f"{spec.xtype!r} needs a datatype of {', '.join(kinds)}, not {spec.datatype}"
        if spec.arraysize not in SHAPES[spec.xtype]:
            yield (
                "xtype",
                f"{spec.xtype!r} needs the arraysize {SHAPES[spec.xtype][0]!r}, not {spec.arraysize or 'none'}",
            )
    elif spec.xtype in ("timestamp", "uri") and spec.datatype not in TEXTS:
        yield "xtype", f"{spec.xtype!r} needs the datatype char, not {spec.datatype}"
    if spec.dataset:
        yield from _dataset(spec)
    if spec.endings and not spec.file:
        yield "endings", "only a file has an ending; say file: true too"
    if spec.file and spec.repeated:
        yield "repeated", "a file parameter takes one file; declare several parameters, or take tables as uploads"
    if spec.file and spec.default is not None and not spec.default.lower().startswith(("http://", "https://")):
        yield "default", f"{spec.default!r} is not allowed; the default of a file parameter is an http(s) URL"
    if spec.required and spec.default is not None:
        yield "default", "a required parameter never takes its default; leave one of the two out"
    for field, text in [*(("options", text) for text in spec.options), ("default", spec.default)]:
        try:
            if text is not None and not spec.file:
                check_literal(spec, text)
        except UsageError as error:
            yield field, error.message


def _dataset(spec: ParameterSpec) -> Iterator[tuple[str, str]]:
    """Yield fields that contradict a parameter for data sets."""
    if spec.file:
        yield "dataset", "a parameter is a file or a data set, not both"
    if spec.datatype not in TEXTS:
        yield "datatype", f"identifiers of data need the datatype char, not {spec.datatype}"
    if spec.default is not None:
        try:
            parse_identifier(spec.default, spec.name)
        except UsageError as error:
            yield "default", error.message


def _command(application: Application) -> Iterator[Problem]:
    values = {spec.name.upper() for spec in application.parameters if not spec.file} | _standard_values(application)
    files = {spec.name.upper() for spec in application.parameters if spec.file or spec.dataset}
    only_files = {spec.name.upper() for spec in application.parameters if spec.file}
    scripts = _scripts(application.command)
    for index, element in enumerate(application.command):
        condition = CONDITION.fullmatch(element)
        if condition is not None and condition[1].upper() not in values | files:
            declared = ", ".join(sorted(values | files)) or "none"
            yield ["command", index], f"{{{condition[1]}?…}} is not declared; declared: {declared}"
        if index not in scripts:
            yield from ((["command", index], message) for message in _variables(element))
        for kind, name in PLACEHOLDER.findall(element):
            if kind == "OUTPUT":
                yield from ((["command", index], message) for message in _output(application, name))
            elif kind and name.upper() not in files and application.uploads is None:
                yield ["command", index], f"{{INPUT:{name}}} is no file; files: {', '.join(sorted(files)) or 'none'}"
            elif not kind and name.upper() in only_files:
                yield ["command", index], f"{{{name}}} is a file; write {{INPUT:{name}}}"
            elif not kind and name.upper() not in values:
                yield ["command", index], f"{{{name}}} is not declared; declared: {', '.join(sorted(values)) or 'none'}"
            elif index in scripts and not kind:
                yield (
                    ["command", index],
                    (f'{{{name}}} inside a shell\'s script lets a user run anything; use "$UWS_PARAM_{name.upper()}"'),
                )


def _standard_values(application: Application) -> set[str]:
    """Return the parameters of DALI that a command may name."""
    has_formats = any(result.formats for result in application.results)
    return {name for name, offered in (("RESPONSEFORMAT", has_formats), ("MAXREC", application.maxrec)) if offered}


def _output(application: Application, result_id: str) -> Iterator[str]:
    """Yield what is wrong with ``{OUTPUT:ID}``."""
    result = next((result for result in application.results if result.id == result_id), None)
    if result is None:
        ids = ", ".join(result.id for result in application.results) or "none"
        yield f"{{OUTPUT:{result_id}}} is no result; results: {ids}"
    elif "*" in result.path:
        yield f"{{OUTPUT:{result_id}}} stands for many files ({result.path}); write ${{UWS_OUTPUT_DIR}}/… yourself"
    elif "/" in result.path:
        yield f"{{OUTPUT:{result_id}}} lies in a folder ({result.path}) that is not there yet; use a path without one"


def _variables(word: str) -> Iterator[str]:
    """Yield ``${UWS_…}`` that nobody replaces; a shell's script replaces its own."""
    for name in re.findall(r"\$\{(UWS_\w+)\}", word):
        if name not in COMMAND_FOLDERS:
            close = difflib.get_close_matches(name, COMMAND_FOLDERS, 1, 0.7)
            guess = f"; did you mean ${{{close[0]}}}?" if close else ";"
            allowed = ", ".join(f"${{{folder}}}" for folder in COMMAND_FOLDERS)
            yield f"${{{name}}} is not replaced here{guess} replaced: {allowed}"


def _scripts(command: tuple[str, ...]) -> set[int]:
    """Return indices of words that a shell takes as its script.

    The shell may stand behind ``env``, ``timeout`` and the like.
    """
    scripts: set[int] = set()
    for shell, word in enumerate(command):
        if PurePosixPath(word).name not in SHELLS:
            continue
        index, script = shell + 1, False
        while index < len(command) and command[index][:1] in ("-", "+") and command[index] != "--":
            option = command[index]
            script |= re.fullmatch(r"-[A-Za-z]*c[A-Za-z]*", option) is not None
            # These have a word of their own; a long option is no script.
            index += 2 if re.fullmatch(r"[-+][A-Za-z]*[oO]|--(init-file|rcfile)", option) else 1
        if index < len(command) and command[index] == "--":
            index += 1
        if script and index < len(command):
            scripts.add(index)
    return scripts


def _results(application: Application) -> Iterator[Problem]:
    ids = [result.id for result in application.results]
    formats = [index for index, result in enumerate(application.results) if result.formats]
    for index, result in enumerate(application.results):
        if result.id in ids[:index]:
            yield ["results", index, "id"], f"{result.id!r} is declared twice"
        if result.path.startswith("/") or ".." in result.path.split("/"):
            yield ["results", index, "path"], f"{result.path!r} must lie in the output folder"
        if index in formats[1:]:
            yield (
                ["results", index, "formats"],
                "RESPONSEFORMAT chooses the format of one result; another has formats too",
            )


def _bounds(application: Application) -> Iterator[Problem]:
    for name in ("execution_duration", "retention"):
        bound: Bound = getattr(application.limits, name)
        if bound.maximum and (bound.default > bound.maximum or bound.default == 0):
            default = f"{bound.default} s" if bound.default else "0 (no limit)"
            yield ["limits", name, "default"], f"{default} is above the maximum of {bound.maximum} s"
    needs = application.resources
    if needs.memory_maximum:
        if needs.memory_retry <= 1:
            yield ["resources", "memory", "retry"], f"{needs.memory_retry:g}x is no more than before; use 2x or so"
        if needs.memory_maximum <= needs.memory:
            yield ["resources", "memory", "maximum"], "must be above the default"
        if application.limits.attempts < 2:
            yield ["resources", "memory", "retry"], "limits.attempts allows a single try"
    if application.maxrec is not None and application.maxrec.default > application.maxrec.maximum:
        yield (
            ["maxrec", "default"],
            f"{application.maxrec.default} is above the maximum of {application.maxrec.maximum}",
        )
    if application.uploads is not None and application.uploads.minimum > application.uploads.maximum:
        message = f"{application.uploads.minimum} is above the maximum of {application.uploads.maximum}"
        yield ["uploads", "minimum"], message


def _example(application: Application, example: Example) -> Iterator[Problem]:
    """Check that the application takes an example's request.

    The file parts that it names count as sent.
    """
    declared = {spec.name.upper() for spec in application.parameters} | STANDARD | UWS_WORDS
    parameters: list[Parameter] = []
    for name, value in example.parameters.items():
        if name.upper() not in declared:
            yield [name], f"{name} is not declared; declared: {', '.join(sorted(declared - STANDARD - UWS_WORDS))}"
        parameters += [Parameter(name, _text(single)) for single in (value if isinstance(value, tuple) else (value,))]
    parts = [
        pair.partition(",")[2]
        for parameter in parameters
        if parameter.name.upper() in application.standard.part_parameters
        for pair in parameter.value.split(";")
    ]
    parameters += [Parameter(uri[6:], "file", upload="example") for uri in parts if uri.startswith("param:")]
    try:
        check(application, parameters)
    except UsageError as error:
        yield [], error.message


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
