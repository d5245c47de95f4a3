"""The schemas themselves: they refuse what they must."""

from __future__ import annotations

import pytest

from tests.protocol.samples import FULL, PENDING, document
from tests.schemas import validate

JOB = document(FULL)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"uws:jobId>", b"uws:id>"),
        (b'<uws:ownerId xsi:nil="true"/>', b""),
        (b'<uws:endTime xsi:nil="true"/>', b""),
        (b'<uws:quote xsi:nil="true"/>', b"<uws:quote>-1</uws:quote>"),
        (b"<uws:executionDuration>0<", b"<uws:executionDuration>2147483648<"),
        (b"<uws:executionDuration>0<", b"<uws:executionDuration>1.0<"),
        (b"<uws:results/>", b""),
        (b"<uws:results/>", b"<uws:results/><uws:parameters/>"),
        (b"<uws:phase>PENDING<", b"<uws:phase> PENDING<"),
        (b"http://www.ivoa.net/xml/UWS/v1.0", b"http://www.ivoa.net/xml/UWS/v1.1"),
    ],
)
def test_broken_jobs_are_refused(old: bytes, new: bytes) -> None:
    """U-006, U-070…U-073, U-139."""
    content = document(PENDING)
    validate(content)
    assert old in content
    with pytest.raises(AssertionError, match="not valid"):
        validate(content.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'percent="42.5"', b'percent="142.5"'),
        (b"<info:attempt>2<", b"<info:attempt>0<"),
        (b'algorithm="SHA-256"', b""),
        (b"info:site", b"info:sight"),
    ],
)
def test_job_info_is_checked_inside_a_job(old: bytes, new: bytes) -> None:
    """U-087: lax for others' elements, but ours are known."""
    assert old in JOB
    with pytest.raises(AssertionError, match="not valid"):
        validate(JOB.replace(old, new))
    validate(JOB.replace(b"<info:info ", b"<x>any</x><info:info "))


def test_other_documents_are_refused() -> None:
    """An HTML page or half a document must not pass as valid."""
    with pytest.raises(AssertionError, match="not valid"):
        validate(b"<html/>")
    with pytest.raises(AssertionError, match="not XML"):
        validate(JOB[:-20])
