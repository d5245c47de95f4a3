"""Ids of jobs."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor

from uws_service.domain.ids import id_instant, new_id

NOW = 1_700_000_000_123


def test_an_id_is_a_uuid_of_version_7() -> None:
    """Its time comes first, and no two are alike, whichever thread makes them."""
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_id(NOW), range(5000)))
    assert len(set(ids)) == 5000
    for text in ids[:100]:
        parsed = uuid.UUID(text)
        assert parsed.version == 7 and parsed.variant == uuid.RFC_4122 and id_instant(text) == NOW
    assert new_id(NOW) < new_id(NOW + 1)


def test_a_forked_process_makes_ids_of_its_own() -> None:
    """Its random bytes are not those that its parent has in stock."""
    new_id(NOW)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, "".join(new_id(NOW) for _ in range(20)).encode())
        os._exit(0)
    ids = {new_id(NOW) for _ in range(20)}
    os.waitpid(child, 0)
    text = os.read(reader, 20 * 32).decode()
    os.close(reader)
    os.close(writer)
    child_ids = {text[begin : begin + 32] for begin in range(0, len(text), 32)}
    assert len(child_ids) == 20 and not ids & child_ids
