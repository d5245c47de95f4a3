"""What SRCNet's client of a computing broker posts, as parameters of a container application. Pure.

Nothing of it is left out in silence: what has no meaning here is an error that names it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Never
from urllib.parse import urlsplit

from uws_service.domain.errors import UsageError
from uws_service.domain.job import MAX_DURATION, Parameter

INPUT_MOUNT = "/srcnet/input"
"""Where a command finds its input area, by the broker's contract."""
MEGABYTE_BYTES = 2**20
"""Of ``--memory``, as HTCondor and Slurm count."""
MAX_DATASETS = 1000
MAX_METADATA_BYTES = 64 * 1024
WORKFLOW_TYPES = ("py", "snakemake")
FIELDS = (
    "job_id", "request_id", "workflow_type", "workflow_type_version", "workflow_engine_parameters", "workflow_params",
    "data_location_hints",
)  # fmt: skip
UNSUPPORTED = {
    "--output": "results are taken from $UWS_OUTPUT_DIR and can be fetched from the job",
    "--dask": "there are no Dask clusters here; run a scheduler inside the job",
    "--dask-workers": "there are no Dask clusters here",
    "--dask-worker-cpu": "there are no Dask clusters here",
    "--dask-worker-memory": "there are no Dask clusters here",
}
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_OWN_ID = re.compile(r"[0-9a-f]{32}")
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_INTEGER = re.compile(r"\d{1,15}", re.ASCII)
_FILE_NAME = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as the client wants it."""

    job_id: str
    parameters: tuple[Parameter, ...]
    duration: int | None = None
    """Seconds; None: the client does not say."""
    notices: tuple[str, ...] = ()


def parse_submission(body: bytes) -> Submission:
    """Return the job of a posted document.

    Raises
    ------
    UsageError
        Names the member, what is wrong with it and what is allowed.
    """
    document = _object(_json(body), "The body")
    if unknown := [name for name in document if name not in FIELDS]:
        raise UsageError(f"{unknown[0][:64]!r} is not known; possible: {', '.join(FIELDS)}.")
    kind = document.get("workflow_type", WORKFLOW_TYPES[0])
    if kind not in WORKFLOW_TYPES:
        raise UsageError(f"workflow_type={_shown(kind)} is not run here; possible: {', '.join(WORKFLOW_TYPES)}.")
    _scalar("workflow_type_version", document.get("workflow_type_version", ""))
    engine = _object(document.get("workflow_engine_parameters"), "workflow_engine_parameters")
    values = {name: _scalar(name, value) for name, value in engine.items()}
    parameters, duration = _engine(values)
    metadata, datasets = _metadata(document)
    notices: tuple[str, ...] = ()
    if metadata:
        text = json.dumps(metadata, ensure_ascii=False, sort_keys=True)
        if len(text.encode()) > MAX_METADATA_BYTES:
            raise UsageError(f"workflow_params and data_location_hints have at most {MAX_METADATA_BYTES} bytes.")
        parameters.append(Parameter("METADATA", text))
        notices = (f"{', '.join(metadata)}: kept with the job as METADATA; nothing here acts on it.",)
    parameters += [Parameter("DATASET", dataset) for dataset in datasets]
    return Submission(_client_id(document), tuple(parameters), duration, notices)


def is_client_id(text: str) -> bool:
    """Return whether a text has the form of a client's ids, or of this service's own."""
    return _CLIENT_ID.fullmatch(text) is not None


def is_own_id(text: str) -> bool:
    """Return whether a text has the form of this service's own job ids."""
    return _OWN_ID.fullmatch(text) is not None


# --- values -------------------------------------------------------------------------------------------------------


def _json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_pairs)
    except UnicodeDecodeError:
        raise UsageError("The body must be JSON in UTF-8.") from None
    except RecursionError:
        raise UsageError("The body is nested too deeply.") from None
    except ValueError as error:
        raise UsageError(f"The body is no JSON: {str(error)[:200]}.") from None


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is no number of JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise UsageError(f"{twice[:64]!r} is there twice.")
    return members


def _shown(value: Any) -> str:
    return repr(value)[:80]


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{place} must be an object; it is {_shown(value)}.")
    for name in value:
        _text(place, name)
    return value


def _text(place: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{place[:64]} must be a text; it is {_shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{place[:64]} is no text: it has a lone surrogate.") from None
    if "\0" in value:
        raise UsageError(f"{place[:64]} must have no NUL.")
    return value


def _scalar(place: str, value: Any) -> str:
    """Return a text or a number as a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{place[:64]} must be a text or a number; it is {_shown(value)}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{place[:64]} must be a finite number.")
    return _text(place, value if isinstance(value, str) else repr(value))


def _client_id(document: Mapping[str, Any]) -> str:
    ids = {_text(name, document[name]) for name in ("job_id", "request_id") if document.get(name) is not None}
    if len(ids) != 1:
        raise UsageError(
            "job_id and request_id must be the same." if ids else "job_id or request_id is required: the job's id."
        )
    client_id = ids.pop()
    if not _CLIENT_ID.fullmatch(client_id) or is_own_id(client_id):
        raise UsageError(
            f"job_id={client_id[:80]!r} must have 1 to 64 letters, digits, '.', '_', ':' and '-', begin with a letter "
            "or digit, and not be 32 hex digits, which are ids of this service's own."
        )
    return client_id


# --- engine parameters --------------------------------------------------------------------------------------------


def _engine(values: Mapping[str, str]) -> tuple[list[Parameter], int | None]:
    """Return the parameters of the application, and the duration."""
    for name in values:
        if name in UNSUPPORTED:
            raise UsageError(f"{name} is not supported: {UNSUPPORTED[name]}.")
        if name not in _READERS:
            raise UsageError(f"{name[:64]!r} is not known; supported: {', '.join(_READERS)}.")
    for name in ("--image", "--cmd"):
        if not values.get(name, "").strip():
            raise UsageError(f"{name} is required.")
    if "--cores" in values and values.get("--cpu", values["--cores"]) != values["--cores"]:
        raise UsageError("--cpu and --cores are the same thing; give one of them.")
    parameters: list[Parameter] = []
    for name, value in values.items():
        if name != "--timeout" and not (name == "--cores" and "--cpu" in values):
            parameters += [Parameter(*pair) for pair in _READERS[name](name, value)]
    timeout = values.get("--timeout")
    return parameters, None if timeout is None else _seconds(timeout)


def _seconds(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not 0 < int(text) <= MAX_DURATION:
        raise UsageError(f"--timeout={text[:40]!r} must be a whole number of seconds, from 1 to {MAX_DURATION}.")
    return int(text)


Pairs = list[tuple[str, str]]


def _image(name: str, value: str) -> Pairs:
    return [("IMAGE", value)]


def _command(name: str, value: str) -> Pairs:
    """Return the words that let a shell of the image run a command line."""
    return [("COMMAND", "/bin/sh"), ("COMMAND", "-c"), ("COMMAND", value)]


def _cores(name: str, value: str) -> Pairs:
    if not _NUMBER.fullmatch(value) or float(value) == 0:
        raise UsageError(f"{name}={value[:40]!r} must be a number of cores above 0.")
    return [("CPU", value)]


def _memory(name: str, value: str) -> Pairs:
    if not _NUMBER.fullmatch(value) or float(value) == 0:
        raise UsageError(f"{name}={value[:40]!r} must be a number of megabytes above 0, without a unit.")
    return [("MEMORY", str(int(float(value) * MEGABYTE_BYTES)))]


def _gpus(name: str, value: str) -> Pairs:
    if not _INTEGER.fullmatch(value) or int(value) > 1000:
        raise UsageError(f"{name}={value[:40]!r} must be a whole number of GPUs.")
    return [("GPUS", str(int(value)))]


def _disk(name: str, value: str) -> Pairs:
    if not re.fullmatch(r"\d{1,15}(\.\d{1,9})?\s*[KMGTkmgt]([Ii]?[Bb])?", value, re.ASCII):
        raise UsageError(f"{name}={value[:40]!r} must be a number with a unit, such as 500MB or 10GiB.")
    return [("DISK", value)]


def _environment(name: str, value: str) -> Pairs:
    """Return variables of a JSON object, or of ``NAME=value,NAME=value``."""
    if value.lstrip().startswith("{"):
        try:
            members = json.loads(value, parse_constant=_refuse_constant, object_pairs_hook=_pairs)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name} is no JSON: {str(error)[:200]}.") from None
        pairs = [(key, _scalar(f"{name}: {key}", member)) for key, member in _object(members, name).items()]
    else:
        pairs = [(key, member) for key, _, member in (item.partition("=") for item in value.split(","))]
        if any("=" not in item for item in value.split(",")):
            raise UsageError(f"{name} must be a JSON object of texts, or NAME=value pairs joined by commas.")
    if wrong := [key for key, _ in pairs if not key or "=" in key]:
        raise UsageError(f"{name}: {wrong[0][:40]!r} is no name of a variable.")
    return [("ENV", f"{key}={member}") for key, member in pairs]


def _input(name: str, value: str) -> Pairs:
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise UsageError(f"{name}: the URL can't be read: {error}.") from None
    if parts.scheme.lower() not in ("http", "https"):
        raise UsageError(
            f"{name}={value[:80]!r} is not supported: it takes the http(s) URL of a file here; name data sets by "
            "rucio_dids."
        )
    file = _FILE_NAME.sub("_", parts.path.rstrip("/").rpartition("/")[2])[:100].lstrip(".") or "input"
    return [("INPUT", f"{file},{value}"), ("INPUT_MOUNT", INPUT_MOUNT)]


def _pilot(name: str, value: str) -> Pairs:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", value):
        raise UsageError(f"{name}={value[:40]!r} must be a kind of site, such as kubernetes.")
    return [("SITE_KIND", value)]


def _clean(name: str, value: str) -> Pairs:
    if value != "always":
        raise UsageError(f"{name}={value[:40]!r} is not supported: what a job leaves at its site is always removed.")
    return []


_READERS: Mapping[str, Callable[[str, str], Pairs]] = {
    "--image": _image,
    "--cmd": _command,
    "--cpu": _cores,
    "--cores": _cores,
    "--memory": _memory,
    "--gpu": _gpus,
    "--disk": _disk,
    "--env": _environment,
    "--input": _input,
    "--timeout": lambda name, value: [],
    "--pilot-resource": _pilot,
    "--clean": _clean,
}


# --- what else there is -------------------------------------------------------------------------------------------


def _metadata(document: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what is only kept with the job, and the data sets."""
    posted_params = document.get("workflow_params")
    params = dict(_object(posted_params, "workflow_params")) if posted_params is not None else {}
    datasets = params.pop("rucio_dids", [])
    if not isinstance(datasets, list) or len(datasets) > MAX_DATASETS:
        raise UsageError(f"rucio_dids must be a list of at most {MAX_DATASETS} data identifiers, scope:name each.")
    for dataset in datasets:
        scope, colon, name = _text("rucio_dids", dataset).partition(":")
        if not scope or not colon or not name or len(dataset) > 500:
            raise UsageError(f"rucio_dids: {dataset[:80]!r} is no data identifier, which is scope:name.")
    hints = document.get("data_location_hints")
    metadata: dict[str, Any] = {**params}
    if hints is not None:
        metadata["data_location_hints"] = _object(hints, "data_location_hints")
    _require_encodable(metadata)
    return metadata, datasets


def _require_encodable(metadata: Mapping[str, Any]) -> None:
    try:
        json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError):
        raise UsageError("workflow_params and data_location_hints must hold texts and finite numbers.") from None
