"""Settings with which a service of containers does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from uws_service.applications.model import Application, Resources
from uws_service.configuration import applications_of
from uws_service.containers.descriptor import maximum_of
from uws_service.domain.errors import ConfigurationError
from uws_service.settings import Settings

RULE = "{repository: ghcr.io/skao/tool}"
OWN = """
name: mine
title: Mine
description: My own.
protocol: container
"""


def offered(folder: Path, text: str, descriptor: str = "") -> dict[str, Application]:
    """Return the applications of a settings file, beside a descriptor."""
    file = folder / "service.yaml"
    file.write_text(text)
    if descriptor:
        (folder / "mine.yaml").write_text(descriptor)
        file.write_text(f"applications: [mine.yaml]\n{text}")
    return dict(applications_of(Settings.load(file)))


def test_it_is_off_by_default(tmp_path: Path) -> None:
    assert "container" not in offered(tmp_path, "")
    assert "container" in offered(tmp_path, f"containers: {{images: [{RULE}]}}")
    assert "container" not in offered(tmp_path, f"containers: {{application: false, images: [{RULE}]}}")


@pytest.mark.parametrize(
    ("text", "descriptor", "message"),
    [
        ("containers: {}", "", "containers.images: images is missing"),
        ("containers: {images: []}", "", "containers.images"),
        ("containers: {images: [{repository: ghcr.io/skao*}]}", "", "containers.images[0].repository"),
        ("containers: {images: [{repository: ghcr.io/a, site: x}]}", "", "did you mean sites?"),
        ("", OWN + "maximum: {}", "containers.images is missing: jobs of mine name container images"),
        (f"containers: {{images: [{RULE}]}}", OWN, "mine.yaml:1: descriptor: maximum is missing"),
        (f"containers: {{images: [{RULE}]}}", OWN + "maximum: {}\nimage: x", "image: image can't be given here"),
        (f"containers: {{images: [{RULE}]}}", OWN + "maximum: {cpu: 0.5}", "maximum.cpu: 0.5 is below the 1 of"),
        (
            "containers: {images: [{repository: ghcr.io/a, sites: [moon]}]}",
            "",
            "containers.images: ghcr.io/a: there is no site 'moon'; there are: local",
        ),
        ("srcnet_broker: container", "", "srcnet_broker: 'container' is no application whose jobs name their image"),
        (f"srcnet_broker: sleep\ncontainers: {{images: [{RULE}]}}", "", "srcnet_broker: 'sleep' is no application"),
        ("sites: [{name: a, runner: [/bin/run]}]", "", "must have {IMAGE} in one of its words"),
        ("sites: [{name: a, runner: [run, '{IMAGE}']}]", "", "must begin with the absolute path of a program"),
    ],
)
def test_what_does_not_start(tmp_path: Path, text: str, descriptor: str, message: str) -> None:
    """The message has the place and what is allowed."""
    with pytest.raises(ConfigurationError) as error:
        offered(tmp_path, text, descriptor)
    assert message in error.value.message, error.value.message


def test_a_descriptor_of_ones_own(tmp_path: Path) -> None:
    """It sets what a job gets, and the most that it may have."""
    descriptor = OWN + "resources: {cpu: 2}\nmaximum: {cpu: 64, memory: 1TiB, gpus: 4}"
    applications = offered(tmp_path, f"containers: {{application: false, images: [{RULE}]}}", descriptor)
    mine = applications["mine"]
    maximum = maximum_of(mine)
    assert (maximum.cpu, maximum.memory, maximum.gpus) == (64, 2**40, 4)
    assert mine.resources == Resources(2, 2**30, 2**30, 0)


def test_names_of_the_face_are_reserved(tmp_path: Path) -> None:
    for name in ("v1", "healthz"):
        descriptor = f"name: {name}\ntitle: T\ndescription: D\ncommand: [x]\nresults: []\n"
        with pytest.raises(ConfigurationError, match="the service uses that path itself"):
            offered(tmp_path, "", descriptor)
