"""A descriptor that fits the schema as an `Application`. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from uws_service.applications.model import (
    AccessSpec,
    Application,
    Bound,
    DataTokenSpec,
    Example,
    Limits,
    MaxrecSpec,
    ParameterSpec,
    Resources,
    ResultSpec,
    UploadSpec,
)
from uws_service.applications.standard import Standard
from uws_service.units import parse_seconds, parse_size


def _text(value: Any) -> str:
    """Return a scalar as its author would write it."""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _parameter(raw: Mapping[str, Any]) -> ParameterSpec:
    values = dict(raw)
    values["options"] = tuple(_text(option) for option in raw.get("options", ()))
    if "default" in raw:
        values["default"] = _text(raw["default"])
    if "arraysize" in raw:
        values["arraysize"] = str(raw["arraysize"])
    values["endings"] = tuple(ending.lower() for ending in raw.get("endings", ()))
    if "size" in raw:
        values["size"] = parse_size(raw["size"])
    return ParameterSpec(**values)


def _memory(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {"memory": parse_size(value)}
    return {
        "memory": parse_size(value["default"]),
        "memory_retry": float(value["retry"].removesuffix("x")),
        "memory_maximum": parse_size(value["maximum"]),
    }


def _bound(raw: Mapping[str, Any] | None, fallback: Bound) -> Bound:
    if raw is None:
        return fallback
    highest = parse_seconds(raw["maximum"]) if "maximum" in raw else fallback.maximum
    default = parse_seconds(raw["default"]) if "default" in raw else fallback.default
    return Bound(min(default, highest) if highest and "default" not in raw else default, highest)


def _result(raw: Mapping[str, Any]) -> ResultSpec:
    values = {"required": True, **raw}
    if "lake" in raw:
        values["lake"] = raw["lake"]["scope"]
    return ResultSpec(**values)


def _data_token(raw: Mapping[str, Any]) -> DataTokenSpec:
    return DataTokenSpec(raw["variable"], raw["audience"], tuple(raw.get("scopes", ())))


def _access(raw: Mapping[str, Any]) -> AccessSpec:
    return AccessSpec(raw.get("anonymous", False), tuple(raw.get("groups", ())), tuple(raw.get("scopes", ())))


def _digest(raw: Mapping[str, Any]) -> str:
    """Return a digest as version of a descriptor without one."""
    text = json.dumps(raw, sort_keys=True, default=str)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def build_application(raw: Mapping[str, Any], standard: Standard) -> Application:
    """Return the application of a valid descriptor."""
    raw = standard.complete(raw)
    limits, resources, uploads = raw.get("limits", {}), raw.get("resources", {}), raw.get("uploads")
    usual_limits, usual = Limits(), Resources()
    return Application(
        name=raw["name"],
        title=raw["title"],
        description=raw["description"].strip(),
        command=tuple(raw["command"]),
        image=raw.get("image", ""),
        version=str(raw.get("version", "")) or _digest(raw),
        parameters=tuple(_parameter(parameter) for parameter in raw.get("parameters", ())),
        uploads=None
        if uploads is None
        else UploadSpec(
            minimum=uploads.get("minimum", 0),
            maximum=uploads.get("maximum", 1),
            size=parse_size(uploads.get("size", "256MiB")),
            description=uploads.get("description", ""),
        ),
        resources=Resources(
            cpu=float(resources.get("cpu", usual.cpu)),
            disk=parse_size(resources.get("disk", usual.disk)),
            gpus=resources.get("gpus", usual.gpus),
            **_memory(resources.get("memory", usual.memory)),
        ),
        limits=Limits(
            execution_duration=_bound(limits.get("execution_duration"), usual_limits.execution_duration),
            retention=_bound(limits.get("retention"), usual_limits.retention),
            output=parse_size(limits.get("output", usual_limits.output)),
            attempts=limits.get("attempts", usual_limits.attempts),
            sync_duration=parse_seconds(limits.get("sync_duration", usual_limits.sync_duration)),
        ),
        results=tuple(_result(result) for result in raw["results"]),
        maxrec=MaxrecSpec(**raw["maxrec"]) if "maxrec" in raw else None,
        examples=tuple(
            Example(
                example["name"],
                example.get("description", "").strip(),
                {
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in example["parameters"].items()
                },
            )
            for example in raw.get("examples", ())
        ),
        bulk=raw.get("bulk", {}).get("maximum", 0),
        refuses_unknown=raw.get("unknown_parameters", "note") == "error",
        archive=raw.get("archive", False),
        access=_access(raw["access"]) if "access" in raw else None,
        standard=standard,
        section=standard.read_section(raw[standard.section]) if standard.section else None,
        data_token=_data_token(raw["data_token"]) if "data_token" in raw else None,
    )
