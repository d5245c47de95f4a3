"""Submit files of HTCondor (manual: Submitting a Job, condor_submit)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from uws_service.client.translate.draft import (
    Draft,
    Rule,
    Translation,
    add_image,
    add_input,
    add_program,
    add_stream,
    job_count,
    number_rule,
    size_rule,
    text_rule,
)
from uws_service.domain.errors import UsageError

_MACRO = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.]*)\)")
_STATEMENT = re.compile(r"\s*([A-Za-z_+][A-Za-z0-9_.+]*)\s*=\s*(.*?)\s*", re.DOTALL)


def submit_file(text: str, image: str) -> Translation:
    """Return the requests of a submit file."""
    statements: dict[str, tuple[str, str]] = {}
    count: int | None = None
    remarks: list[str] = []
    for number, line in _lines(text):
        words = line.split(None, 1)
        if words[0].lower() == "queue":
            if count is not None:
                raise UsageError(f"line {number}: a second queue statement; put each into a file of its own.")
            count = job_count(words[1] if len(words) > 1 else "1", f"line {number}: queue")
            continue
        match = _STATEMENT.fullmatch(line)
        if match is None:
            raise UsageError(f"line {number}: {line[:60]!r} is no statement of a submit file; write NAME = VALUE.")
        if count is not None:
            remarks.append(f"{match[1]} = {match[2][:60]}: it stands after queue and has no effect there")
            continue
        statements[match[1].lower()] = (match[1], match[2])
    if count is None:
        raise UsageError("The file has no queue statement, so it submits nothing.")
    requests = []
    for index in range(count):
        draft = _draft(statements, index)
        requests.append(draft.request(image))
        if index == 0:
            remarks[:0] = draft.remarks
    return Translation(tuple(requests), tuple(dict.fromkeys(remarks)))


def _lines(text: str) -> list[tuple[int, str]]:
    """Return the statements with their line numbers.

    A backslash at the end of a line continues it.
    """
    lines: list[tuple[int, str]] = []
    pending, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not pending and (not line or line.startswith("#")):
            continue
        start = start or number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        lines.append((start, pending + line))
        pending, start = "", 0
    if pending:
        lines.append((start, pending))
    return lines


def _draft(statements: Mapping[str, tuple[str, str]], index: int) -> Draft:
    draft = Draft()
    for key, (name, raw) in statements.items():
        value = _expanded(raw, statements, index, 0)
        rule = _RULES.get(key)
        if rule is not None:
            rule(draft, name, value)
        elif not _is_macro(key, statements):
            draft.leave(name, value, _REASONS.get(key, "has no counterpart here"))
    return draft


def _is_macro(key: str, statements: Mapping[str, tuple[str, str]]) -> bool:
    """Return whether a statement only names a value for others."""
    return any(key == used.lower() for _, value in statements.values() for used in _MACRO.findall(value))


def _expanded(value: str, statements: Mapping[str, tuple[str, str]], index: int, depth: int) -> str:
    """Return a value with its macros replaced.

    Those that nobody defines are empty, as in HTCondor.
    """
    if depth > 10:
        raise UsageError(f"{value[:60]!r}: macros that name each other have no end.")

    def replacement(match: re.Match[str]) -> str:
        name = match[1].lower()
        if name in ("process", "procid"):
            return str(index)
        if name in ("cluster", "clusterid"):
            return "0"
        return _expanded(statements[name][1], statements, index, depth + 1) if name in statements else ""

    return _MACRO.sub(replacement, value)


def _words(value: str) -> list[str]:
    """Return the words of ``arguments``.

    New syntax in double quotes, else old.
    """
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        text = value[1:-1].replace('""', '"')
        words: list[str] = []
        for match in re.finditer(r"(?:[^\s']|'(?:[^']|'')*')+", text):
            parts = re.split(r"('(?:[^']|'')*')", match[0])
            words.append("".join(part[1:-1].replace("''", "'") if part[:1] == "'" else part for part in parts))
        return words
    return value.replace('\\"', '"').split()


def _arguments(draft: Draft, name: str, value: str) -> None:
    draft.words = tuple(_words(value))


def _environment(draft: Draft, name: str, value: str) -> None:
    pairs = _words(value) if value.startswith('"') else [pair.strip() for pair in value.split(";") if pair.strip()]
    for pair in pairs:
        if "=" in pair:
            draft.parameters.append(("ENV", pair))
        else:
            draft.leave(name, pair, "is no NAME=value")


def _inputs(draft: Draft, name: str, value: str) -> None:
    for item in filter(None, (item.strip() for item in value.split(","))):
        add_input(draft, name, item)


def _universe(draft: Draft, name: str, value: str) -> None:
    if value.lower() not in ("vanilla", "container", "docker"):
        draft.leave(name, value, "only vanilla, container and docker have a counterpart")


_RULES: Mapping[str, Rule] = {
    "executable": add_program,
    "arguments": _arguments,
    "environment": _environment,
    "universe": _universe,
    "docker_image": add_image,
    "container_image": add_image,
    "request_cpus": number_rule("CPU"),
    "request_gpus": number_rule("GPUS"),
    "request_memory": size_rule("MEMORY", "m"),
    "request_disk": size_rule("DISK", "k"),
    "transfer_input_files": _inputs,
    "batch_name": text_rule("RUNID"),
    "jobbatchname": text_rule("RUNID"),
    "allowed_execute_duration": number_rule("EXECUTIONDURATION"),
    "output": add_stream,
    "error": add_stream,
}
_REASONS = {
    "requirements": "a site is chosen by what the job needs",
    "rank": "a site is chosen by data, waits and shares",
    "log": "the job's history is kept by the service",
    "should_transfer_files": "files come and go with the job",
    "when_to_transfer_output": "files come and go with the job",
    "transfer_output_files": "what the command writes into $UWS_OUTPUT_DIR are the results",
    "notification": "use WAIT or the job's page",
    "priority": "PRIORITY has bounds of the operator",
}
