"""Pages for people, made from templates without script (U-005).

Pure functions from values to text. Everything is escaped by the templates; `HEADERS` allow the pages nothing but
their own style sheet and forms.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from uws_service.applications import Application
from uws_service.applications.model import Example, ParameterSpec
from uws_service.auth import Identity
from uws_service.data.identifiers import FORMS
from uws_service.domain.attempt import Attempt, AttemptState, Reason
from uws_service.domain.job import PHASE_MEANING, Action, Job, Phase, allowed_actions
from uws_service.protocol.uws import JobInfoView, JobRefLike, JobUrls, format_instant, is_reference, numbered, xml_text
from uws_service.tap.preview_read import ResultPreview

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "vary": "accept",
}
"""Sent with each page."""

ACTIVE = frozenset({Phase.QUEUED, Phase.EXECUTING, Phase.SUSPENDED, Phase.UNKNOWN})
"""Phases that change without the user's doing: their pages refresh themselves."""

REFRESH_SECONDS = 3
"""Between two refreshes of an active job's page."""

MAX_JOBS = 10_000
"""Jobs that a page lists."""
LONGEST_VALUE = 10_000
"""Characters of a parameter's value that a job's page shows; it has a link to the rest."""
SEVERAL = 3
"""Inputs for a parameter, or for tables, that may be given several times."""

_FLOATING = frozenset({"float", "double"})
_INTEGER = frozenset({"unsignedByte", "short", "int", "long"})
_PART = re.compile(r"param:([\w.-]+)")


class Field(NamedTuple):
    """One input of a form.

    ``kind`` is an input's type, or ``select``.
    """

    name: str
    label: str
    kind: str
    value: str = ""
    hint: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    minimum: str = ""
    maximum: str = ""
    step: str = ""


class Account(NamedTuple):
    """The reader of a page.

    Without an owner it is somebody who could log in.
    """

    owner: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, identity: Identity) -> Account:
        """Return the account of an identity."""
        return cls(identity.owner or "", identity.name, tuple(sorted(identity.groups)))


# --- how values are shown -----------------------------------------------------------------------------------------


def _bytes(size: int) -> str:
    """Return a size for people: ``512 B``, ``1.5 MiB``."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        if value < 1023.95 or unit == "TiB":
            break
    return f"{value:.1f} {unit}"


def _seconds(seconds: float) -> str:
    """Return a duration for people: ``3.2 s``, ``2 d 4 h``."""
    rounded = round(seconds, 1)
    if rounded < 60:
        return f"{rounded:.1f} s" if rounded != int(rounded) else f"{int(rounded)} s"
    remainder = int(rounded)
    parts: list[tuple[int, str]] = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if remainder >= length or parts:
            parts.append((remainder // length, unit))
            remainder %= length
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


def _instant(ms: int) -> str:
    """Return an instant for people, in UTC."""
    return format_instant(ms)[:19].replace("T", " ") + " UTC"


def _number(value: float | None) -> str:
    """Return a bound, whole numbers without ``.0``."""
    if value is None:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _datatype(spec: ParameterSpec) -> str:
    """Return a short type: ``double``, ``char[*]``, ``double[3] circle``."""
    if spec.file:
        return "file"
    if spec.dataset:
        return "data set"
    size = f"[{spec.arraysize}]" if spec.arraysize else ""
    return f"{spec.datatype}{size}{' ' + spec.xtype if spec.xtype else ''}"


def _range(spec: ParameterSpec) -> str:
    """Return what values are allowed."""
    if spec.options:
        return ", ".join(spec.options)
    low, high = _number(spec.minimum), _number(spec.maximum)
    if low and high:
        return f"{low} … {high}"
    return f"≥ {low}" if low else f"≤ {high}" if high else ""


# --- the form that makes a job ------------------------------------------------------------------------------------


def _field(spec: ParameterSpec) -> Field:
    """Return the input that suits a parameter's type."""
    field = Field(
        name=spec.name,
        label=f"{spec.name} ({spec.unit})" if spec.unit else spec.name,
        kind="text",
        value=spec.default or "",
        hint=spec.description,
        required=spec.required and spec.default is None,
        minimum=_number(spec.minimum),
        maximum=_number(spec.maximum),
    )
    if spec.file:
        return field._replace(kind="file", value="")
    if spec.dataset and not spec.options:
        return field._replace(hint=f"{spec.description} An identifier of data: {FORMS}.".strip())
    if spec.name == "QUERY":
        return field._replace(kind="textarea")
    if spec.options:
        return field._replace(kind="select", options=spec.options)
    if spec.datatype == "boolean" and not spec.arraysize:
        return field._replace(kind="select", options=("true", "false"))
    if spec.datatype in _INTEGER and not spec.arraysize:
        return field._replace(kind="number", step="1")
    if spec.datatype in _FLOATING and not spec.arraysize and field.minimum and field.maximum:
        return field._replace(kind="number", step="any")  # without bounds it may be NaN or Inf: text
    return field._replace(minimum="", maximum="")


def _fields(application: Application) -> list[Field]:
    fields: list[Field] = []
    for spec in application.parameters:
        if spec.name == "REQUEST":  # TAP 1.0's word that says nothing
            continue
        field = _field(spec)
        fields.append(field)
        if spec.repeated and not spec.file:
            fields += [
                field._replace(label=f"{field.label}, value {number}", value="", hint="", required=False)
                for number in range(2, SEVERAL + 1)
            ]
    formats = next((result.formats for result in application.results if result.formats), {})
    if formats:
        name = "RESPONSEFORMAT"
        fields.append(Field(name, name, "select", next(iter(formats)), "", options=tuple(formats)))
    if application.maxrec is not None:
        limit = str(application.maxrec.maximum)
        hint = "How many rows the result has at most."
        default = str(application.maxrec.default)
        fields.append(Field("MAXREC", "MAXREC", "number", default, hint, False, (), "0", limit, "1"))
    return fields


def _tables(application: Application) -> list[tuple[Field, Field]]:
    """Return an UPLOAD field and a file field for each table.

    The value of the first refers to the second (D-026).
    """
    uploads = application.uploads
    if uploads is None:
        return []
    tables = []
    for number in range(1, max(uploads.minimum, min(uploads.maximum, SEVERAL)) + 1):
        required = number <= uploads.minimum
        value = f"table{number},param:file{number}"
        hint = f"{value} for the file below, or table{number},https://… for a table on the web"
        text = Field("UPLOAD", f"UPLOAD {number}", "text", value if required else "", hint, required)
        tables.append((text, Field(f"file{number}", f"File {number}", "file")))
    return tables


def _duration_field(application: Application) -> Field:
    bound = application.limits.execution_duration
    limit = str(bound.maximum) if bound.maximum else ""
    hint = f"Seconds of running time, at most {limit}." if limit else "Seconds of running time, 0 for no limit."
    value = str(bound.default)
    low = "1" if limit and bound.default else "0"
    return Field("EXECUTIONDURATION", "Time limit (s)", "number", value, hint, True, (), low, limit, "1")


def _curl(example: Example, url: str, *controls: str) -> str:
    """Return a command line that sends an example."""
    pairs = [
        f"{key}={single}"
        for key, value in example.parameters.items()
        for single in (value if isinstance(value, (list, tuple)) else (value,))
    ]
    parts = [part for pair in pairs for part in _PART.findall(pair)]
    option = "-F" if parts else "--data-urlencode"
    words = ["curl", "-L"]
    for pair in [*pairs, *[f"{part}=@{part}" for part in parts], *controls]:
        words += [option, shlex.quote(pair)]
    return " ".join([*words, shlex.quote(url)])


# --- pages --------------------------------------------------------------------------------------------------------

_templates = Environment(
    loader=PackageLoader("uws_service.web", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(bytes=_bytes, seconds=_seconds, instant=_instant, iso=format_instant, shown=xml_text)
_templates.globals.update(meaning=PHASE_MEANING)


def _render(template: str, base: str, account: Account | None = None, here: str = "", **values: Any) -> str:
    """Return a page from its template.

    ``account`` None: nobody can log in here; ``here``: the path to come back to after a login.
    """
    return _templates.get_template(template).render(base=base, account=account, here=here, **values)


def _root_of(urls: JobUrls) -> str:
    """Return the service's root."""
    return urls.jobs.rsplit("/", 2)[0]


def root_page(applications: Iterable[Application], base: str, account: Account | None = None) -> str:
    """Return the first page: all applications.

    ``base`` is the service's URL without a slash at the end.
    """
    return _render("root.html", base, account, applications=tuple(applications))


def application_page(application: Application, base: str, account: Account | None = None) -> str:
    """Return the page of an application.

    It shows what it does and its parameters, and has a form that makes a job.
    """
    parameters = [(parameter, _datatype(parameter), _range(parameter)) for parameter in application.parameters]
    url = f"{base}/{application.name}"
    examples = [
        (example, _curl(example, f"{url}/async", "PHASE=RUN"), _curl(example, f"{url}/sync"))
        for example in application.examples
    ]
    return _render(
        "application.html",
        base,
        account,
        f"/{application.name}",
        application=application,
        url=url,
        parameters=parameters,
        examples=examples,
        fields=_fields(application),
        tables=_tables(application),
        duration=_duration_field(application),
    )


def jobs_page(
    application: Application,
    refs: Sequence[JobRefLike],
    urls: JobUrls,
    phases: frozenset[Phase] | None,
    last: int | None,
    account: Account | None = None,
) -> str:
    """Return the page of the caller's jobs (U-052).

    They come newest first, with links for each phase; ``last`` is the greatest number that was looked for.
    """
    cut = last is not None and len(refs) >= last and last < MAX_JOBS
    chosen_phases = sorted(phases or (), key=list(Phase).index)
    longer_url = (
        f"{urls.jobs}?{urlencode([*(('PHASE', phase.value) for phase in chosen_phases), ('LAST', 10 * last)])}"
        if last
        else ""
    )
    return _render(
        "jobs.html",
        _root_of(urls),
        account,
        f"/{application.name}/async",
        application=application,
        refs=refs,
        urls=urls,
        phases=frozenset(chosen_phases),
        every_phase=tuple(Phase),
        more=longer_url if cut else "",
    )


def job_page(
    job: Job,
    application: Application,
    attempts: Sequence[Attempt],
    urls: JobUrls,
    now: int,
    account: Account | None = None,
    section: str = "",
) -> str:
    """Return the page of a job.

    ``now`` is in milliseconds since the epoch, ``section`` is its face's part.
    """
    actions = allowed_actions(job.phase)
    parameters = [
        (
            parameter,
            number,
            application.parameter(parameter.name),
            urls.parameter(job.id, parameter.name, number) if is_reference(parameter) else None,
        )
        for parameter, number in numbered(job.parameters)
        if parameter.value or parameter.size  # a form sends what its user left empty too
    ]
    info = JobInfoView.of(job, urls)
    sent_names = {parameter.name.upper() for parameter, *_ in parameters}
    defaults = [
        (name, value, application.parameter(name), "limit" if name.upper() in sent_names else "default")
        for name, value in info.defaults
    ]
    return _render(
        "job.html",
        _root_of(urls),
        account,
        f"/{application.name}/async/{job.id}",
        job=job,
        application=application,
        url=urls.job(job.id),
        urls=urls,
        attempts=sorted(attempts, key=lambda attempt: attempt.number),
        info=info,
        defaults=defaults,
        section=section,
        parameters=parameters,
        longest=LONGEST_VALUE,
        empty=len(job.parameters) - len(parameters),
        refresh=REFRESH_SECONDS if job.phase in ACTIVE or _is_ending(attempts) else None,
        aborted=job.phase is Phase.ABORTED and job.error is not None and job.error.reason == Reason.ABORTED,
        can_run=Action.RUN in actions,
        can_abort=Action.ABORT in actions,
        running=(now - job.started) / 1000 if job.started is not None and job.ended is None else None,
        took=(job.ended - job.started) / 1000 if job.started is not None and job.ended is not None else None,
        left=max(0, job.destruction - now) / 1000 if job.destruction is not None else None,
    )


def _is_ending(attempts: Sequence[Attempt]) -> bool:
    """Return whether an attempt is still being stopped.

    Its end and its logs come after the job's own end.
    """
    return any(attempt.state is not AttemptState.CLOSED for attempt in attempts)


def preview_section(preview: ResultPreview) -> Markup:
    """Return the first rows of a query's result."""
    return Markup(_templates.get_template("preview.html").render(preview=preview))


def error_page(
    status: int,
    title: str,
    message: str,
    detail: str = "",
    base: str = "",
    account: Account | None = None,
    here: str = "",
) -> str:
    """Return the page of an error.

    ``status`` is that of the response, 200 where the error is a job's.
    """
    return _render("error.html", base, account, here, status=status, title=title, message=message, detail=detail)


def login_page(base: str, choices: Sequence[tuple[int, str]], account: Account, next_path: str) -> str:
    """Return the page for logging in.

    It has the issuers by number and title, or takes a token; who is logged in sees their account.
    """
    return _render("login.html", base, account, choices=choices, next=next_path)
