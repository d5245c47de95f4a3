"""The form that makes a job (U-005, U-122): pure functions from values to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from uws_service.applications import Application
from uws_service.applications.model import ParameterSpec
from uws_service.applications.problems import Problem
from uws_service.data.identifiers import FORMS
from uws_service.domain.job import Job, Parameter
from uws_service.web.calls import calls
from uws_service.web.pages import Account, render
from uws_service.web.shown import number_text

SEVERAL = 3
"""Inputs for a parameter, or for tables, that may be given several times; a script adds more."""
MAX_INPUTS = 50
OPEN_FIELDS = 8
"""Optional parameters that are not folded."""

_FLOATING = frozenset({"float", "double"})
_INTEGER = frozenset({"unsignedByte", "short", "int", "long"})
_NAMED = frozenset({"RUNID", "RESPONSEFORMAT", "MAXREC", "EXECUTIONDURATION"})


class Field(NamedTuple):
    """One parameter's inputs.

    ``kind`` is an input's type, ``select``, ``textarea`` or ``file``.
    """

    name: str
    label: str
    kind: str
    unit: str = ""
    hint: str = ""
    placeholder: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    minimum: str = ""
    maximum: str = ""
    step: str = ""
    repeated: bool = False
    values: tuple[str, ...] = ("",)
    earlier: str = ""
    """The name of the file that an earlier job has."""
    url: str = ""
    errors: tuple[str, ...] = ()


class Table(NamedTuple):
    """One uploaded table: its file, address and name.

    ``part`` is that of an earlier job's file, whose name is ``earlier``.
    """

    key: str
    required: bool = False
    name: str = ""
    url: str = ""
    part: str = ""
    earlier: str = ""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """What is in a form when it is shown.

    ``parameters`` come from an earlier job, or are what somebody has entered.
    """

    application: Application
    parameters: Sequence[Parameter] = ()
    run_id: str = ""
    duration: int | None = None
    """Seconds; None: as the application says."""
    problems: Sequence[Problem] = ()
    earlier: Job | None = None
    """The job that this one is made from."""
    controls: Mapping[str, str] = field(default_factory=dict)
    """Control words as they were entered."""


def range_text(spec: ParameterSpec) -> str:
    """Return what values are allowed."""
    if spec.options:
        return ", ".join(spec.options)
    low, high = number_text(spec.minimum), number_text(spec.maximum)
    if low and high:
        return f"{low} … {high}"
    return f"≥ {low}" if low else f"≤ {high}" if high else ""


def parameter_field(spec: ParameterSpec) -> Field:
    """Return the input that suits a parameter's type."""
    is_number = spec.datatype in _INTEGER | _FLOATING and not spec.arraysize
    allowed = range_text(spec) if not spec.options else ""
    default = spec.default if spec.default is not None else ""
    hints = [spec.description]
    if spec.dataset and not spec.options:
        hints.append(f"An identifier of data: {FORMS}.")
    if allowed and is_number:
        hints.append(f"Allowed: {allowed}.")
    shown = Field(
        name=spec.name,
        label=spec.name,
        kind="text",
        unit=spec.unit or "",
        hint=" ".join(filter(None, hints)),
        placeholder=default,
        required=spec.required and spec.default is None,
        repeated=spec.repeated and not spec.file,
    )
    if spec.file:
        return shown._replace(kind="file", placeholder="")
    if spec.name == "QUERY":
        return shown._replace(kind="textarea")
    if spec.options:
        return shown._replace(kind="select", options=spec.options)
    if spec.datatype == "boolean" and not spec.arraysize:
        return shown._replace(kind="select", options=("true", "false"))
    low, high = number_text(spec.minimum), number_text(spec.maximum)
    if spec.datatype in _INTEGER and not spec.arraysize:
        return shown._replace(kind="number", step="1", minimum=low, maximum=high)
    if spec.datatype in _FLOATING and not spec.arraysize and low and high:
        return shown._replace(
            kind="number", step="any", minimum=low, maximum=high
        )  # without bounds it may be NaN or Inf: text
    return shown


def _with_entries(shown: Field, form: Form) -> Field:
    """Return an input with what an earlier job, or somebody, has entered."""
    entries = [parameter for parameter in form.parameters if parameter.name.upper() == shown.name.upper()]
    file = next((parameter for parameter in entries if parameter.upload is not None), None)
    texts = tuple(parameter.value for parameter in entries if parameter.upload is None and parameter.value)
    errors = tuple(problem.message for problem in form.problems if problem.parameter == shown.name)
    if shown.kind == "file":
        return shown._replace(
            earlier=(file.value or file.name) if file is not None else "", url=texts[0] if texts else "", errors=errors
        )
    count = min(MAX_INPUTS, max(SEVERAL, len(texts) + 1)) if shown.repeated else 1
    values = (*texts, *[""] * count)[:count]
    kind = "textarea" if shown.kind == "text" and any("\n" in text for text in texts) else shown.kind
    return shown._replace(values=values, errors=errors, kind=kind)


def _standard_fields(application: Application) -> list[Field]:
    """Return the inputs of DALI's own parameters and of the time limit."""
    fields = []
    declared = {spec.name for spec in application.parameters}
    formats = next((result.formats for result in application.results if result.formats), {})
    if formats and "RESPONSEFORMAT" not in declared:
        hint = "The format of the result."
        first = next(iter(formats))
        fields.append(Field("RESPONSEFORMAT", "Format", "select", hint=hint, placeholder=first, options=tuple(formats)))
    if application.maxrec is not None and "MAXREC" not in declared:
        fields.append(
            Field(
                "MAXREC",
                "Most rows",
                "number",
                hint=f"How many rows the result has at most. Allowed: 0 … {application.maxrec.maximum}.",
                placeholder=str(application.maxrec.default),
                minimum="0",
                maximum=str(application.maxrec.maximum),
                step="1",
            )
        )
    bound = application.limits.execution_duration
    limit = str(bound.maximum) if bound.maximum else ""
    return [
        *fields,
        Field(
            "EXECUTIONDURATION",
            "Time limit",
            "number",
            unit="s",
            hint=f"At most {limit}." if limit else "0 for no limit.",
            placeholder=str(bound.default),
            minimum="1" if limit and bound.default else "0",
            maximum=limit,
            step="1",
        ),
    ]


def _fields(form: Form) -> tuple[list[Field], list[Field]]:
    """Return the inputs that are seen at once, and the rare ones."""
    main: list[Field] = []
    rare: list[Field] = []
    for spec in form.application.parameters:
        if spec.name == "REQUEST":  # TAP 1.0's word that says nothing
            continue
        shown = _with_entries(parameter_field(spec), form)
        optional = sum(1 for entry in main if not entry.required)
        (main if shown.required or optional < OPEN_FIELDS else rare).append(shown)
    return main, [*rare, *(_with_control(shown, form) for shown in _standard_fields(form.application))]


def _with_control(shown: Field, form: Form) -> Field:
    entered = form.controls.get(shown.name, "")
    if not entered and shown.name == "EXECUTIONDURATION" and form.duration is not None:
        default = form.application.limits.execution_duration.default
        entered = str(form.duration) if form.duration != default else ""
    return _with_entries(shown, form) if not entered else shown._replace(values=(entered,), errors=_errors(form, shown))


def _errors(form: Form, shown: Field) -> tuple[str, ...]:
    return tuple(problem.message for problem in form.problems if problem.parameter == shown.name)


def _tables(form: Form) -> list[Table]:
    """Return the tables that may be uploaded, with those that were given."""
    uploads = form.application.uploads
    if uploads is None:
        return []
    tables: list[Table] = []
    files = {parameter.name.upper(): parameter for parameter in form.parameters if parameter.upload is not None}
    pairs = [
        pair.strip().partition(",")
        for parameter in form.parameters
        if parameter.name.upper() == "UPLOAD" and parameter.upload is None
        for pair in parameter.value.split(";")
        if pair.strip()
    ]
    for name, _, place in pairs[: uploads.maximum]:
        part = place.removeprefix("param:") if place.startswith("param:") else ""
        file = files.get(part.upper())
        earlier = (file.value or file.name) if file is not None else ""
        tables.append(Table("", name=name, url="" if part else place, part=part if file else "", earlier=earlier))
    count = max(len(tables) + 1, uploads.minimum, 1)
    tables += [Table("")] * (min(uploads.maximum, count, MAX_INPUTS) - len(tables))
    return [
        table._replace(
            key=f"table-{number}",
            required=number <= uploads.minimum,
            errors=tuple(problem.message for problem in form.problems if problem.parameter == f"table-{number}"),
        )
        for number, table in enumerate(tables, 1)
    ]


def new_job_page(form: Form, base: str, account: Account | None = None) -> str:
    """Return the page with the form of a new job."""
    application = form.application
    url = f"{base}/{application.name}"
    main, rare = _fields(form)
    tables = _tables(form)
    pairs = [(parameter.name, parameter.value) for parameter in form.parameters if parameter.upload is None]
    files = [(file.name, file.value or file.name) for file in form.parameters if file.upload is not None]
    action = f"{url}/async/{form.earlier.id}/copy" if form.earlier is not None else f"{url}/new"
    return render(
        "new_job.html",
        base,
        account,
        f"/{application.name}/new",
        application=application,
        url=url,
        action=action,
        earlier=form.earlier,
        main=main,
        rare=rare,
        open_rare=any(any(entry.values) or entry.errors or entry.url for entry in rare),
        tables=tables,
        max_tables=application.uploads.maximum if application.uploads is not None else 0,
        run_id=form.run_id,
        upload_errors=[problem.message for problem in form.problems if problem.parameter == "UPLOAD"],
        name_errors=[problem.message for problem in form.problems if problem.parameter == "RUNID"],
        problems=form.problems,
        calls=calls(pairs, files, url),
    )


def entered_form(
    application: Application,
    entries: Sequence[tuple[str, str]],
    files: Sequence[Parameter],
    problems: Sequence[Problem],
    earlier: Job | None = None,
) -> Form:
    """Return a form with what somebody has entered.

    Browsers keep no chosen files; the names of those are said.
    """
    lost = [Problem(file.name, f"Choose {file.value or 'the file'} again.") for file in files]
    controls = {name.upper(): value for name, value in entries if name.upper() in _NAMED}
    parameters = [Parameter(name, value) for name, value in entries]
    if earlier is not None:
        replaced = {file.name.upper() for file in files}
        parameters += [
            parameter
            for parameter in earlier.parameters
            if parameter.upload is not None and parameter.name.upper() not in replaced
        ]
    return Form(application, parameters, controls.get("RUNID", ""), None, [*problems, *lost], earlier, controls)
