"""Task descriptions of PanDA: the JSON that its clients send (panda-docs, Task parameters; panda-client, prun)."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from uws_service.client.translate.draft import (
    BESIDE,
    Draft,
    Rule,
    Translation,
    add_image,
    add_input,
    add_program,
    job_count,
    number_rule,
    text_rule,
)
from uws_service.domain.errors import UsageError

_WRAPPERS = ("runGen", "runcontainer")
"""Programs that a pilot fetches and that run a quoted command line, by the beginning of their name."""
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}|%[A-Z][A-Z_]+")
_OUTPUT_NAME = re.compile(r"'([^'{}:]+)'\s*:\s*'")
_DISK_UNITS = {"kBFixed": "KiB", "MBFixed": "MiB", "GBFixed": "GiB"}
_MEMORY_UNITS = ("MB", "MBFixed", "MBPerCore", "MBPerCoreFixed")
_SPLITTING = ("nFiles", "nFilesPerJob", "nMaxFilesPerJob", "nGBPerJob", "nEvents", "nEventsPerJob", "nEventsPerRange")
_TREATED = frozenset(
    "transPath jobParameters pfnList noInput ramCount ramUnit ramCountUnit outDiskCount outDiskUnit maxWalltime "
    "dsForIN".split()
).union(_SPLITTING)
"""Names that functions of this module look at, since they need each other."""


def task(text: str, image: str) -> Translation:
    """Return the requests of a task description.

    Values that are null, false or empty say nothing, and have no remark.
    """
    parameters = _parameters(text)
    draft = Draft()
    for name, value in parameters.items():
        rule = _RULES.get(name)
        if name in _TREATED or value in (None, False, "", [], {}):
            continue
        if rule is not None and isinstance(value, str | int):
            rule(draft, name, _shown(value))
        else:
            draft.leave(name, _shown(value), _REASONS.get(name, "has no counterpart here"))
    _resources(draft, parameters)
    _command(draft, parameters)
    chunks = _chunks(draft, parameters)
    request = draft.request(image)
    requests = []
    for files in chunks:
        inputs = Draft()
        for file in files:
            add_input(inputs, "pfnList", file)
        requests.append((*request, *inputs.parameters))
        draft.remarks += inputs.remarks
    return Translation(tuple(requests), tuple(dict.fromkeys(draft.remarks)))


def _parameters(text: str) -> dict[str, Any]:
    """Return the parameters of a task, which may be wrapped as the server's API takes them."""
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise UsageError("The task description is nested too deeply.") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"line {error.lineno}: no JSON: {error.msg}.") from None
    except ValueError:  # an integer of thousands of digits
        raise UsageError("A number of the task description is too long.") from None
    inner = document.get("task_parameters", document)
    if not isinstance(inner, dict) or "jobParameters" not in inner:
        raise UsageError("The JSON is no task description of PanDA: it has no jobParameters.")
    return inner


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise UsageError(f"{name}: stands twice in one object.")
    return unique


def _refuse(constant: str) -> None:
    raise UsageError(f"{constant} is no number of JSON.")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(parameters: Mapping[str, Any], name: str) -> str:
    """Return a parameter that has to be a text."""
    value = parameters.get(name) or ""
    if not isinstance(value, str):
        raise UsageError(f"{name}: {_shown(value)[:60]}: must be a text.")
    return value


def _number(parameters: Mapping[str, Any], name: str) -> int:
    """Return a parameter that has to be a whole number; 0 if it is not there."""
    value = parameters.get(name) or 0
    if isinstance(value, str) and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**12:
        raise UsageError(f"{name}: {_shown(value)[:60]}: must be a whole number, not negative.")
    return value


# --- What a job needs ---------------------------------------------------------------------------------------------


def _resources(draft: Draft, parameters: Mapping[str, Any]) -> None:
    """Add memory, disk and time, whose units stand in parameters of their own."""
    memory, unit = _number(parameters, "ramCount"), parameters.get("ramUnit") or parameters.get("ramCountUnit") or "MB"
    if memory and unit in _MEMORY_UNITS:
        cores = max(1, _number(parameters, "coreCount")) if "PerCore" in str(unit) else 1
        draft.parameters.append(("MEMORY", f"{memory * cores}MiB"))
    elif memory:
        draft.leave("ramCount", f"{memory} {_shown(unit)}", f"only {', '.join(_MEMORY_UNITS)} are translated")
    disk, unit = _number(parameters, "outDiskCount"), parameters.get("outDiskUnit")
    if disk and unit in _DISK_UNITS:
        draft.parameters.append(("DISK", f"{disk}{_DISK_UNITS[unit]}"))
    elif disk:
        draft.leave("outDiskCount", f"{disk} {_shown(unit)}", "grows with the input; set DISK")
    if hours := _number(parameters, "maxWalltime"):  # hours, says prun
        draft.parameters.append(("EXECUTIONDURATION", str(hours * 3600)))


# --- What it runs -------------------------------------------------------------------------------------------------


def _command(draft: Draft, parameters: Mapping[str, Any]) -> None:
    """Set program and arguments, add data sets and outputs."""
    path = _text(parameters, "transPath")
    is_wrapper = not path or path.rpartition("/")[2].startswith(_WRAPPERS)  # prun names none, so that the server does
    words = _words(draft, parameters, is_wrapper)
    if is_wrapper:
        _wrapped(draft, words)
    elif "://" in path:
        draft.leave("transPath", path, "is fetched by the pilot; here a program has to be in the image")
        draft.words = tuple(words)
    else:
        add_program(draft, "transPath", path)
        draft.words = tuple(words)
    for placeholder in dict.fromkeys(_PLACEHOLDER.findall(" ".join(draft.words))):
        if placeholder.startswith(("${IN", "%IN")):
            reason = "PanDA writes names of input files there; here they lie in $UWS_INPUT_DIR"
        else:
            reason = "PanDA writes a value there for each job; write it yourself"
        draft.leave("jobParameters", placeholder, reason)


def _words(draft: Draft, parameters: Mapping[str, Any], is_wrapper: bool) -> list[str]:
    """Return the words of jobParameters; add the data sets in it."""
    items, text = parameters["jobParameters"], ""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UsageError("jobParameters: must be a list of objects, each with a value.")
    for item in items:
        value, kind = _text(item, "value"), item.get("param_type")
        if item.get("type") != "constant" and kind == "input":
            add_input(draft, "dataset", _text(item, "dataset").rstrip("/"))
            for part in sorted({"include", "exclude", "files", "offset", "nFilesPerJob"} & set(item)):
                draft.leave(part, _shown(item[part]), "a data set is an input as a whole")
        elif item.get("type") != "constant" and kind == "output" and not is_wrapper:
            draft.leave("output", value, "what the command writes into $UWS_OUTPUT_DIR are the results")
        if not item.get("hidden"):
            text += value if item.get("padding") is False else f"{value} "
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"jobParameters: {text.strip()[:60]!r}: {error}.") from None


def _wrapped(draft: Draft, words: Sequence[str]) -> None:
    """Take the command line and the names of its outputs from the words for a wrapper."""
    rest = iter(words)
    for word in rest:
        reason = _WRAPPER_REASONS.get(word)
        value = next(rest, "") if word in ("-p", "-o", "--containerImage") or reason is not None else ""
        if word == "-p":
            draft.program, draft.words = "/bin/sh", ("-c", unquote(value).strip())
        elif word == "-o":
            names = _OUTPUT_NAME.findall(value)
            draft.parameters += [("OUTPUT", name) for name in names if not name.startswith("regex|")]
            for name in names or [value]:
                if name.startswith("regex|") or not names:
                    draft.leave("-o", name, "is no name of a file; what is in $UWS_OUTPUT_DIR are the results")
        elif word == "--containerImage":
            add_image(draft, word, value)
        elif reason is None or (reason and value not in ("", ".", "./", "None")):
            draft.leave(word, value, reason or "is for PanDA's wrapper")
    if not draft.words:
        raise UsageError("jobParameters: there is no -p with the command line, which the wrapper of transPath needs.")


_WRAPPER_REASONS = {
    "-j": BESIDE,
    "-a": BESIDE,
    "-l": "files that a first job built: they have to be in the image",
    "-r": "a command starts in its working folder; write cd into it",
    "-i": "",  # names of inputs: those in the command line are told
    "--sourceURL": "",  # where -a and -l lie, which are told
}
"""Options of a wrapper that have a value, with why it is not translated; empty where nothing is lost."""


# --- How many jobs ------------------------------------------------------------------------------------------------


def _chunks(draft: Draft, parameters: Mapping[str, Any]) -> list[list[str]]:
    """Return the files that each job reads beside its data sets."""
    files = parameters.get("pfnList") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise UsageError("pfnList: must be a list of texts.")
    if files:
        size = _number(parameters, "nFilesPerJob")
        _leave(draft, parameters, {"nFiles", "nFilesPerJob"}, "a list of files is split by nFilesPerJob alone")
        if not size:
            draft.leave("pfnList", f"{len(files)} files", "without nFilesPerJob PanDA splits by size; here is one job")
        size = size or len(files)
        job_count(str(-(-len(files) // size)), "pfnList and nFilesPerJob:")
        return [files[start : start + size] for start in range(0, len(files), size)]
    if not parameters.get("noInput"):
        _leave(draft, parameters, set(), "a job here does not split its input; make a table of the parts")
        return [[]]
    events, size = _number(parameters, "nEvents"), _number(parameters, "nEventsPerJob")
    if not size:
        _leave(draft, parameters, set(), "only nEvents with nEventsPerJob says how many jobs there are")
        return [[]]
    _leave(draft, parameters, {"nEvents", "nEventsPerJob"}, "a task without input is split by nEventsPerJob alone")
    return [[] for _ in range(job_count(str(-(-max(events, 1) // size)), "nEvents and nEventsPerJob:"))]


def _leave(draft: Draft, parameters: Mapping[str, Any], used: set[str], reason: str) -> None:
    """Tell which statements on the number of jobs were not used."""
    for name in _SPLITTING:
        if name not in used and parameters.get(name):
            draft.leave(name, _shown(parameters[name]), reason)


def _name(draft: Draft, _: str, value: str) -> None:
    draft.parameters.append(("RUNID", value.rstrip("/")))  # prun names a task as a container of data sets


_RULES: Mapping[str, Rule] = {
    "container_name": add_image,
    "coreCount": number_rule("CPU"),
    "taskName": _name,
    "site": text_rule("SITE"),
}
_OWNER = "a job belongs to whoever sends it"
_CHOICE = "a site is chosen by what the job needs"
_BOOKS = "is for PanDA's own books"
_REASONS = {
    "userName": _OWNER,
    "vo": _OWNER,
    "workingGroup": _OWNER,
    "official": _OWNER,
    "cloud": _CHOICE,
    "nucleus": _CHOICE,
    "includedSite": "name a site with SITE, or none",
    "excludedSite": "name a site with SITE, or none",
    "architecture": "software comes in the image",
    "transUses": "software comes in the image",
    "transHome": "software comes in the image",
    "osInfo": "software comes in the image",
    "multiStepExec": "a job is one command; steps are a script in the image",
    "buildSpec": "software comes in the image; nothing is built first",
    "walltime": "is in units of PanDA; set EXECUTIONDURATION in seconds",
    "cpuTime": "is time of a processor; set EXECUTIONDURATION, which is wall time",
    "cpuTimeUnit": "is time of a processor; set EXECUTIONDURATION, which is wall time",
    "taskPriority": "PRIORITY has bounds of the operator",
    "currentPriority": "PRIORITY has bounds of the operator",
    "maxAttempt": "repeats are decided by the class of a failure",
    "disableAutoRetry": "repeats are decided by the class of a failure",
    "maxFailure": "repeats are decided by the class of a failure",
    "useScout": "there are no scout jobs here",
    "skipScout": "there are no scout jobs here",
    "mergeOutput": "results are kept as the jobs made them",
    "uniqueTaskName": "a repeated request is known by its Idempotency-Key",
    "log": "output and error are kept with the job, under names of the service",
    "useSecrets": "no job gets secrets of PanDA",
    "respectSplitRule": "there are no scout jobs here",
    "cliParams": _BOOKS,
    "prodSourceLabel": _BOOKS,
    "processingType": _BOOKS,
    "taskType": _BOOKS,
    "sourceURL": _BOOKS,
    "noEmail": _BOOKS,
    "fixedSandbox": BESIDE,
}
