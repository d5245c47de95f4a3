"""References of images, and the list of those that are allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from uws_service.containers import AllowedImage, Containers, Reference, parse_reference
from uws_service.domain.errors import UsageError

DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "f" * 64


@pytest.mark.parametrize(
    ("text", "written_out"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("tools/app", "docker.io/tools/app:latest"),
        ("index.docker.io/library/busybox:1", "docker.io/library/busybox:1"),
        ("docker.io/busybox:1", "docker.io/library/busybox:1"),
        ("GHCR.io/skao/tool:1", "ghcr.io/skao/tool:1"),
        ("localhost/app", "localhost/app:latest"),
        ("registry.example.org:5000/a/b_c/d.e--f:v1", "registry.example.org:5000/a/b_c/d.e--f:v1"),
        (f"ghcr.io/skao/tool@{DIGEST}", f"ghcr.io/skao/tool@{DIGEST}"),
        (f"ghcr.io/skao/tool:1@{DIGEST}", f"ghcr.io/skao/tool:1@{DIGEST}"),
    ],
)
def test_references_are_written_out(text: str, written_out: str) -> None:
    """As containerd does it, so that no node's configuration decides what a name means."""
    assert str(parse_reference(text)) == written_out


@pytest.mark.parametrize(
    "text",
    [
        "", " busybox", "busybox ", "-v", "--privileged", "Busybox", "ghcr.io/Skao/tool", "ghcr.io//tool", "ghcr.io/",
        "ghcr.io/../etc", "ghcr.io/a/./b", "http://ghcr.io/skao/tool", "ghcr.io/a:", "ghcr.io/a:b:c", "ghcr.io/a:-b",
        "ghcr.io/a@sha256:abc", f"ghcr.io/a@{DIGEST.upper()}", f"ghcr.io/a@{DIGEST}@{DIGEST}",
        f"ghcr.io/a@sha512:{'0' * 128}",
        "user:password@ghcr.io/a", "ghcr.io/a\n", "ghcr.io/a\0", "ghcr.io/ä", "g\u0131thub.com/a", "a" * 600, "-x.io/a",
        "ghcr.io:port/a",
    ],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError, match="IMAGE"):
        parse_reference(text)


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_an_error(text: str) -> None:
    """What is taken reads back as itself."""
    try:
        reference = parse_reference(text)
    except UsageError:
        return
    assert parse_reference(str(reference)) == reference


def allowed(*rules: dict[str, object]) -> Containers:
    """Return a list of allowed images."""
    return Containers.model_validate({"images": rules})


@pytest.mark.parametrize(
    ("rule", "image", "matches"),
    [
        ({"repository": "ghcr.io/skao/tool"}, "ghcr.io/skao/tool:1", True),
        ({"repository": "ghcr.io/skao/tool"}, f"ghcr.io/skao/tool@{DIGEST}", True),
        ({"repository": "ghcr.io/skao/tool"}, "ghcr.io/skao/tool-evil:1", False),
        ({"repository": "ghcr.io/skao/tool"}, "ghcr.io/skao/tool/evil:1", False),
        ({"repository": "ghcr.io/skao/*"}, "ghcr.io/skao/tool:1", True),
        ({"repository": "ghcr.io/skao/*"}, "ghcr.io/skao/deep/tool:1", True),
        ({"repository": "ghcr.io/skao/*"}, "ghcr.io/skao-evil/tool:1", False),
        ({"repository": "ghcr.io/skao/*"}, "ghcr.io/skao:1", False),
        ({"repository": "ghcr.io/*"}, "ghcr.io/skao/tool:1", True),
        ({"repository": "ghcr.io/*"}, "ghcr.io.evil.org/skao/tool:1", False),
        ({"repository": "ghcr.io/*"}, "ghcr.io:444/skao/tool:1", False),
        ({"repository": "ghcr.io/skao/tool"}, "skao/tool", False),
        ({"repository": "docker.io/busybox"}, "busybox:1", True),
        ({"repository": "docker.io/library/*"}, "busybox:1", True),
        ({"repository": "docker.io/library/*"}, "evil/busybox:1", False),
        ({"repository": "index.docker.io/*"}, "evil/busybox:1", True),
        ({"repository": "ghcr.io/a", "tags": ["1.*"]}, "ghcr.io/a:1.2", True),
        ({"repository": "ghcr.io/a", "tags": ["1.*"]}, "ghcr.io/a:2.1.1", False),
        ({"repository": "ghcr.io/a", "tags": ["1.*"]}, "ghcr.io/a", False),
        # The digest is what runs: a tag beside it says nothing.
        ({"repository": "ghcr.io/a", "tags": ["1.*"]}, f"ghcr.io/a:1.2@{OTHER}", False),
        ({"repository": "ghcr.io/a", "digests": [DIGEST]}, f"ghcr.io/a@{DIGEST}", True),
        ({"repository": "ghcr.io/a", "digests": [DIGEST]}, f"ghcr.io/a:any@{DIGEST}", True),
        ({"repository": "ghcr.io/a", "digests": [DIGEST]}, f"ghcr.io/a@{OTHER}", False),
        ({"repository": "ghcr.io/a", "digests": [DIGEST]}, "ghcr.io/a:1", False),
        ({"repository": "ghcr.io/a", "tags": ["1"], "digests": [DIGEST]}, "ghcr.io/a:1", True),
        ({"repository": "ghcr.io/a", "tags": ["1"], "digests": [DIGEST]}, f"ghcr.io/a:2@{DIGEST}", True),
    ],
)
def test_rules(rule: dict[str, object], image: str, matches: bool) -> None:
    assert AllowedImage.model_validate(rule).matches(parse_reference(image)) is matches


@pytest.mark.parametrize(
    "rule",
    [
        {}, {"repository": "*"}, {"repository": "busybox"}, {"repository": "skao/*"}, {"repository": "ghcr.io/*/a"},
        {"repository": "ghcr.io/skao*"}, {"repository": f"ghcr.io/a@{DIGEST}"}, {"repository": "ghcr.io/a:1"},
        {"repository": "ghcr.io/a", "digests": ["abc"]}, {"repository": "ghcr.io/a", "tag": "1"},
        {"repository": "ghcr.io/A"}, {"repository": "ghcr.io"},
    ],
)  # fmt: skip
def test_rules_that_are_refused(rule: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AllowedImage.model_validate(rule)


def test_a_list_that_is_empty_is_refused() -> None:
    with pytest.raises(ValidationError):
        Containers.model_validate({"images": []})


def test_sites_of_all_rules_that_match() -> None:
    """One without sites is for all of them; rules of other groups do not count."""
    containers = allowed(
        {"repository": "ghcr.io/a", "sites": ["one"]},
        {"repository": "ghcr.io/*", "sites": ["two"], "groups": ["/team"]},
        {"repository": "ghcr.io/a", "groups": ["/all"]},
    )
    image = Reference("ghcr.io/a", "1")
    assert containers.sites_for(image, frozenset()) == frozenset({"one"})
    assert containers.sites_for(image, frozenset({"/team"})) == frozenset({"one", "two"})
    assert containers.sites_for(image, frozenset({"/all"})) is None
    with pytest.raises(UsageError, match=r"allowed for you: ghcr\.io/a at one\.$"):
        containers.sites_for(Reference("ghcr.io/b", "1"), frozenset())
