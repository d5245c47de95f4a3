"""What a job's own code says of its provenance: taken if it is PROV-JSON, left out with a reason if not (P-014)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.protocol.provenance.internal import BYTES_MAX, RECORDS_MAX, NotProvenance, internal_bundle

GOOD: dict[str, Any] = {
    "prefix": {"ex": "https://example.org/"},
    "entity": {"ex:a": {"prov:label": "A", "ex:size": 3, "prov:type": {"$": "ex:T", "type": "prov:QUALIFIED_NAME"}}},
    "activity": {"ex:step": {"prov:startTime": "2026-11-28T12:00:00Z"}},
    "used": {"_:u1": {"prov:activity": "ex:step", "prov:entity": "ex:a", "prov:role": ["x", {"$": "y", "lang": "en"}]}},
}


def written(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_all_of_it_is_taken() -> None:
    assert internal_bundle(written()) == GOOD


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * (BYTES_MAX + 1), "more than"),
        (b"\xff{}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"{} {}", "no JSON"),
        (b'{"prefix": {}, "entity": {"prov:a": {"prov:value": NaN}}}', "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "says nothing"),
        (written(bundle={}), "'bundle' is no member"),
        (written(prefix=[]), "prefix must be an object"),
        (written(prefix={"ex": "a b"}), "can't be used"),
        (written(prefix={"ex": "urn:x:", "prov": "urn:y:"}), "prefix prov means"),
        (written(entity=[]), "entity must be an object"),
        (written(entity={"ex:a": 1}), "must be an object"),
        (written(entity={"no:a": {}}), "prefix no is not declared"),
        (written(entity={"a": {}}), "no qualified name"),
        (written(entity={"ex:a b": {}}), "no qualified name"),
        (written(entity={"ex:a": {"label": "x"}}), "no qualified name"),
        (written(entity={"ex:a": {"prov:label": None}}), "no value"),
        (written(entity={"ex:a": {"prov:label": {"$": "x", "type": "xsd:string", "more": 1}}}), "no value"),
        (written(activity={"ex:a": {"prov:startTime": "today"}}), "must be an instant"),
        (written(used={"_:u": {"prov:entity": "ex:a"}}), "used needs prov:activity"),
        (written(used={"_:u": {"prov:activity": ["ex:a"]}}), "no qualified name"),
        (written(used={"_:u u": {"prov:activity": "ex:a"}}), "is no name"),
        (written(entity={f"ex:{number}": {} for number in range(RECORDS_MAX)}), "more than"),
    ],
)
def test_anything_else_has_a_reason(content: bytes, words: str) -> None:
    with pytest.raises(NotProvenance, match=words):
        internal_bundle(content)


def test_secrets_are_left_out() -> None:
    """P-011: what a program logs of its inputs may hold the signature of a URL."""
    url = "https://u:s3cr3tXY@example.org/a?X-Amz-Signature=s3cr3tXY"
    value = {"$": url, "type": "xsd:anyURI"}
    bundle = internal_bundle(written(entity={"ex:a": {"prov:location": value, "prov:label": [f"from {url}", "b"]}}))
    assert "s3cr3tXY" not in json.dumps(bundle) and "example.org/a" in json.dumps(bundle)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["ex:a", "prov:type", "_:b"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*GOOD, "ex:a", "$", "type"]), inner),
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_nothing_else_is_raised(content: bytes) -> None:
    """Whatever a command writes."""
    try:
        bundle = internal_bundle(content)
    except NotProvenance as error:
        assert str(error)
    else:
        assert bundle.keys() - {"prefix"}
