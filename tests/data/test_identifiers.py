"""Data identifiers as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uws_service.data.identifiers import Form, file_name, parse_identifier
from uws_service.domain.errors import UsageError


@pytest.mark.parametrize(
    ("text", "form", "scope", "name"),
    [
        ("ska:obs-1.fits", Form.DID, "ska", "obs-1.fits"),
        ("user.alice:a/b/c_1.fits", Form.DID, "user.alice", "a/b/c_1.fits"),
        (f"{'s' * 25}:{'n' * 250}", Form.DID, "s" * 25, "n" * 250),
        ("ivo://test.skao/datasets/fits?testing/test-file.fits", Form.IVOID, "", ""),
        ("IVO://org.example?x", Form.IVOID, "", ""),
        ("https://example.org/a.fits?x=1", Form.URL, "", ""),
        ("HTTP://example.org:8080/a", Form.URL, "", ""),
    ],
)
def test_forms(text: str, form: Form, scope: str, name: str) -> None:
    identifier = parse_identifier(text)
    assert (identifier.form, identifier.text, identifier.scope, identifier.name) == (form, text, scope, name)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("", "scope:name"),
        ("obs-1.fits", "scope:name"),
        (":name", "scope has 1 to 25"),
        ("scope:", "name has 1 to 250"),
        (f"{'s' * 26}:n", "scope has 1 to 25"),
        (f"s:{'n' * 251}", "name has 1 to 250"),
        ("s p:n", "scope"),
        ("s:n n", "name"),
        ("s:é", "name"),
        ("s:.hidden", "name"),
        ("s:a/../../etc/passwd", "'..'"),
        ("s:a/./b", "'..'"),
        ("s:/", "'..'"),
        ("s:a:b", "name"),
        ("s:a\n", "name"),
        ("ivo://x", "authority"),
        ("ivo://", "authority"),
        ("ivo://org.example/a b", "authority"),
        ("https://", "host"),
        ("https://example.org:99999999/", "URL"),
        ("https://[::1/a", "URL"),
        ("https://example.org/a b", "spaces"),
        ("https://me:secret@example.org/a", "password"),
        ("https://example.org/" + "a" * 2000, "2000"),
        ("file:///etc/passwd", "scheme"),
        ("root://example.org//a", "scheme"),
    ],
)
def test_others_are_refused_with_what_is_allowed(text: str, allowed: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_identifier(text, "DATA")
    assert raised.value.message.startswith("DATA=")
    assert allowed in raised.value.message
    assert "secret" not in raised.value.message or "secret@" in text


@given(st.text(max_size=300))
def test_any_text_is_an_identifier_or_refused(text: str) -> None:
    try:
        identifier = parse_identifier(text)
    except UsageError:
        return
    assert identifier.text == text


@given(st.text(max_size=400))
def test_file_names_never_leave_their_folder(text: str) -> None:
    try:
        name = file_name(text)
    except ValueError:  # a URL that is none
        return
    assert 0 < len(name) <= 200
    assert "/" not in name
    assert "\0" not in name
    assert not name.startswith(".")
