"""Webhooks: CloudEvents 1.0 in structured mode, signed as Standard Webhooks has it (E-021…E-023). Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from uws_service.domain.errors import UsageError

MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
TYPE = "org.srcnet.uws.job.{}.v1"
PREFIX = "whsec_"
SECRET_BYTES = 32
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
"""Of a secret, in bytes."""


def new_secret() -> str:
    """Return a new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def checked_secret(text: str) -> str:
    """Return a secret that a caller has chosen.

    Raises
    ------
    UsageError
        It is not of the form, or too short.
    """
    try:
        raw = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(PREFIX) or not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
        raise UsageError(
            f"SECRET must be {PREFIX} and base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, or left out."
        )
    return text


def cloud_event(data: Mapping[str, Any], number: str) -> bytes:
    """Return an event of a job as a structured CloudEvent; source and id together are unique."""
    event = {
        "specversion": "1.0",
        "id": number,
        "source": data["job"],
        "type": TYPE.format(data["event"]),
        "subject": data["id"],
        "time": data["at"],
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def signed_headers(body: bytes, number: str, seconds: int, keys: Sequence[str]) -> dict[str, str]:
    """Return the headers of a try.

    ``seconds`` since the epoch, a signature by each of the secrets.
    """
    content = b".".join([number.encode(), str(seconds).encode(), body])
    signatures = [
        base64.b64encode(hmac.digest(base64.b64decode(key.removeprefix(PREFIX)), content, "sha256")).decode()
        for key in keys
    ]
    return {
        "webhook-id": number,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
