"""INPUT=path,URI of a container application: where a file comes from, and where it lies. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from uws_service.agent import folder as layout
from uws_service.applications.parameters import input_url, upload_of
from uws_service.domain.attempt import Input
from uws_service.domain.errors import UsageError
from uws_service.domain.job import Parameter

MAX_INPUTS = 50
RESERVED = ("parameters.json", layout.TOKEN)
"""Files that the service itself puts into the input folder."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def inputs_of(by_name: Mapping[str, Sequence[Parameter]], max_size: int) -> list[Input]:
    """Return the files to bring.

    Raises
    ------
    UsageError
        A path or URI can't be, or two of them are at odds.
    """
    texts = [parameter.value for parameter in by_name.get("INPUT", ()) if parameter.value]
    if len(texts) > MAX_INPUTS:
        raise UsageError(f"INPUT is there {len(texts)} times; at most {MAX_INPUTS} are taken.")
    inputs: list[Input] = []
    for text in texts:
        path, comma, uri = text.strip().partition(",")
        if not comma or not uri:
            raise UsageError(
                f"INPUT={text[:80]!r} must be a path, a comma and a URL, or param: and a file part's name."
            )
        _check_path(path)
        if by_name.get("DATASET") and (path == "data" or f"{path}/".startswith("data/DATASET/")):
            raise UsageError(f"INPUT: {path[:80]!r} is where the files of DATASET lie; choose another path.")
        for other in (item.path for item in inputs):
            if f"{other}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other}/"):
                raise UsageError(f"INPUT: {path[:80]!r} and {other[:80]!r} are the same file, or one is a folder.")
        if uri.startswith("param:"):
            key = upload_of(by_name, uri[6:], max_size, "INPUT")
            inputs.append(Input(path, path, depot_key=key, max_size=max_size))
        else:
            inputs.append(Input(path, path, url=input_url(uri, f"INPUT={path[:80]}"), max_size=max_size))
    return inputs


def _check_path(path: str) -> None:
    parts = path.split("/")
    normal = posixpath.normpath(path) == path and not path.startswith("/") and ".." not in parts and path != "."
    long = len(path.encode(errors="replace")) > 500 or any(len(part.encode(errors="replace")) > 200 for part in parts)
    if not normal or long or _CONTROL.search(path) or parts[0] in RESERVED:
        raise UsageError(
            f"INPUT: {path[:80]!r} must be a path below the input folder, without '.' and '..', and not "
            f"{' or '.join(RESERVED)}."
        )
    try:
        path.encode()
    except UnicodeEncodeError:  # a lone surrogate
        raise UsageError(f"INPUT: {path[:80]!r} is no text.") from None
