"""JDL of DIRAC and AliEn."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from uws_service.client.translate.draft import (
    Draft,
    Rule,
    Translation,
    add_input,
    add_program,
    add_stream,
    job_count,
    number_rule,
    text_rule,
)
from uws_service.domain.errors import UsageError

_STATEMENT = re.compile(r"\s*([A-Za-z_+][A-Za-z0-9_.+]*)\s*=\s*(.*?)\s*", re.DOTALL)


def jdl(body: str, image: str) -> Translation:
    """Return the requests of a JDL without its comments."""
    draft = Draft()
    statements = _statements(body)
    _, numbers = statements.get("parameters", ("", ["1"]))
    count = job_count(" ".join(numbers), "Parameters:")
    for key, (name, values) in statements.items():
        rule = _RULES.get(key)
        if key == "parameters" or key in _OUTPUTS:  # outputs come when the names of the streams are there
            continue
        if rule is None:
            draft.leave(name, ", ".join(values), _REASONS.get(key, "has no counterpart here"))
            continue
        for value in values:
            rule(draft, name, value)
    outputs = [value for key in _OUTPUTS for value in statements.get(key, ("", []))[1]]
    draft.parameters += [("OUTPUT", value) for value in outputs if value not in draft.streams]
    request = draft.request(image)
    requests = tuple(
        tuple((name, value.replace("%s", str(index)).replace("%n", str(index))) for name, value in request)
        for index in range(count)
    )
    return Translation(requests, tuple(dict.fromkeys(draft.remarks)))


def _statements(body: str) -> dict[str, tuple[str, list[str]]]:
    """Return the statements by their lower-case names.

    Each ends with a semicolon outside of quotes and braces.
    """
    text = body.strip().removeprefix("[").removesuffix("]")
    statements: dict[str, tuple[str, list[str]]] = {}
    for piece in _pieces(text, ";"):
        if not piece.strip():
            continue
        match = _STATEMENT.fullmatch(piece)
        if match is None:
            raise UsageError(f"{piece.strip()[:60]!r} is no statement of a JDL; write NAME = VALUE;")
        statements[match[1].lower()] = (match[1], _values(match[2]))
    return statements


def _pieces(text: str, separator: str) -> list[str]:
    """Return the parts of a text between separators that are in no quotes and no braces."""
    pieces, start, depth, quoted = [], 0, 0, False
    for index, character in enumerate(text):
        if character == '"' and (index == 0 or text[index - 1] != "\\"):
            quoted = not quoted
        elif not quoted and character in "{}":
            depth += 1 if character == "{" else -1
        elif not quoted and depth == 0 and character == separator:
            pieces.append(text[start:index])
            start = index + 1
    if quoted or depth:
        raise UsageError(f"A {'quote' if quoted else 'brace'} is not closed.")
    return [*pieces, text[start:]]


def _values(text: str) -> list[str]:
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else None
    items = [text] if inner is None else [item for item in _pieces(inner, ",") if item.strip()]
    return [_unquoted(item.strip()) for item in items]


def _unquoted(text: str) -> str:
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        return text[1:-1].replace('\\"', '"')
    return text


def _arguments(draft: Draft, name: str, value: str) -> None:
    try:
        draft.words += tuple(shlex.split(value))
    except ValueError as error:
        raise UsageError(f"{name}: {value[:60]!r}: {error}.") from None


_OUTPUTS = ("outputsandbox", "outputdata", "outputfile", "output")
_RULES: Mapping[str, Rule] = {
    "executable": add_program,
    "arguments": _arguments,
    "jobname": text_rule("RUNID"),
    "jobtag": text_rule("RUNID"),
    "stdoutput": add_stream,
    "stderror": add_stream,
    "inputdata": add_input,
    "inputsandbox": add_input,
    "inputfile": add_input,
    "numberofprocessors": number_rule("CPU"),
    "cpucores": number_rule("CPU"),
    "ttl": number_rule("EXECUTIONDURATION"),
    "site": text_rule("SITE"),
}
_REASONS = {
    "cputime": "is time of a processor; set EXECUTIONDURATION, which is wall time",
    "requirements": "a site is chosen by what the job needs",
    "packages": "software comes in the image",
    "platform": "software comes in the image",
    "jobgroup": "use RUNID",
    "priority": "PRIORITY has bounds of the operator",
    "bannedsites": "name the site with SITE, or none",
}
