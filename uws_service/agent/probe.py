"""A look at a node for whoever sets a site up: what of the agent's needs is there.

Its exit code says what is missing, since that is what every batch system hands back; its words go to standard error.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from uws_service.agent import folder as layout
from uws_service.agent.container import Container

UNREACHABLE, UNTRUSTED, STRANGER, NO_CONTAINER, NO_IMAGE, NO_STORAGE, NO_PROGRAM = (2 << bit for bit in range(7))
"""Bits of the exit code. 1 is left out: a Python that can't run this at all ends with it."""
UNAUTHORIZED = 401
"""What the service answers to an agent without a token."""
TIMEOUT_SECONDS = 20.0
IMAGE_SECONDS = 600.0
"""An image may have to be fetched first."""


def say(words: str) -> None:
    """Say something to the site's operators."""
    print(words, file=sys.stderr, flush=True)


def service_problem(url: str, ca: str | None) -> int:
    """Return what keeps an agent here from the service; 0: nothing."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + "/agent/v1/claim"
    connection: http.client.HTTPConnection
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            connection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, b"{}", {"content-type": "application/json"})
            status = connection.getresponse().status
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        say(f"{url}: its certificate is not trusted: {error.verify_message}")
        return UNTRUSTED
    except (OSError, http.client.HTTPException) as error:
        say(f"{url}: {error}")
        return UNREACHABLE
    if status != UNAUTHORIZED:
        say(f"{url}: something else than the service answers, with {status}")
        return STRANGER
    return 0


def container_problem(described: Mapping[str, Any] | None) -> int:
    """Return what keeps a command here from its image; 0: nothing."""
    if not described:
        return 0
    program = described["program"]
    if not os.access(program, os.X_OK):
        say(f"{program}: there is no such program")
        return NO_CONTAINER
    if not described.get("image"):
        return 0
    work = tempfile.mkdtemp(prefix="uws-probe-")
    try:
        for name in (layout.INPUT, layout.OUTPUT, layout.SCRATCH, layout.PROGRESS):
            os.mkdir(os.path.join(work, name))
        container = Container(program, described.get("options", ()), described["image"], work)
        answer = subprocess.run(
            container.words(["sh", "-c", "exit 0"], ()), capture_output=True, timeout=IMAGE_SECONDS, check=False
        )  # fmt: skip
        if answer.returncode:
            say(f"{described['image']}: {answer.stderr[-500:].decode('utf-8', 'replace').strip()}")
            return NO_IMAGE
    except (OSError, subprocess.SubprocessError) as error:
        say(f"{described['image']}: {error}")
        return NO_IMAGE
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def missing(paths: Any, bit: int) -> int:
    """Return a bit if one of some paths is not there."""
    absent = [path for path in paths if not os.path.exists(path)]
    for path in absent:
        say(f"{path}: is not there")
    return bit if absent else 0


def main(path: str) -> int:
    """Look at all that an order names."""
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    return (
        service_problem(order["url"], order.get("ca"))
        | container_problem(order.get("container"))
        | missing(order.get("storage", ()), NO_STORAGE)
        | missing(order.get("commands", ()), NO_PROGRAM)
    )
