"""Documents of SRCNet's client of a computing broker that would cost much."""

from __future__ import annotations

import json
import time

import pytest

from uws_service.domain.errors import UsageError
from uws_service.protocol.broker_request import parse_submission


def test_a_name_that_is_there_twice_among_very_many() -> None:
    """Finding it takes no longer than reading the document."""
    members = "".join(f'"k{number}":0,' for number in range(60_000))
    engine = json.dumps({"--image": "example.org/tool:1", "--cmd": "true"})
    body = f'{{"job_id": "a", "workflow_engine_parameters": {engine}, "workflow_params": {{{members}"k59999":1}}}}'
    began = time.process_time()
    with pytest.raises(UsageError, match="'k59999' is there twice"):
        parse_submission(body.encode())
    assert time.process_time() - began < 5
