"""Submissions to other systems as requests for a container job: HTCondor, DIRAC, AliEn and PanDA. Pure.

Nothing is left out in silence: each statement is either in the request or named, with the reason.
"""

from __future__ import annotations

import re

from uws_service.client.translate.condor import submit_file
from uws_service.client.translate.draft import MAX_JOBS, Translation
from uws_service.client.translate.jdl import jdl
from uws_service.client.translate.panda import task
from uws_service.domain.errors import UsageError

__all__ = ["MAX_JOBS", "Translation", "translate"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def translate(text: str, *, image: str = "") -> Translation:
    """Return the requests of a submit file, a JDL or a task description.

    Parameters
    ----------
    image
        The container image, where the file names none, or another one.

    Raises
    ------
    UsageError
        It is none of them, or a statement in it can't be read; the message names the place.
    """
    body = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("#", "//")))
    if text.lstrip().startswith("{"):
        translation = task(text, image)
    elif body.lstrip().startswith("[") or re.search(r";\s*$", body, re.MULTILINE) is not None:
        translation = jdl(body, image)
    else:
        translation = submit_file(text, image)
    for name, value in {pair for request in translation.requests for pair in request}:
        if _CONTROL.search(value):
            raise UsageError(f"{name}: {value[:60]!r} has a line break or another control character.")
    return translation
