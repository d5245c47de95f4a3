"""The image that the Containerfile gives, from the archive of a release."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.release.image import buildah, folder, require_image


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """Return a container of the archive's image."""
    image = require_image()
    name = buildah("from", f"--signature-policy={folder()}/policy.json", f"oci-archive:{image}")
    yield name
    buildah("rm", name)


def test_the_archive_is_an_oci_image() -> None:
    """With an index, the entry point, the user and the labels of the Containerfile."""
    with tarfile.open(require_image()) as tar:

        def content(name: str) -> Any:
            file = tar.extractfile(name)
            assert file is not None
            return json.load(file)

        def blob(digest: str) -> Any:
            return content(f"blobs/{digest.replace(':', '/')}")

        (entry,) = content("index.json")["manifests"]
        config = blob(blob(entry["digest"])["config"]["digest"])["config"]
    assert config["User"] == "65534:65534" and config["Entrypoint"] == ["/opt/uws/bin/python", "-m", "uws_service"]


def test_the_service_in_it_runs(container: str) -> None:
    """As an unprivileged user; the applications that ship pass their checks; the launcher of pods is there."""
    assert buildah("run", container, "--", "id", "-u") == "65534"
    assert buildah("run", container, "--", "/opt/uws/bin/python", "-m", "uws_service", "--version").startswith(
        "uws-service "
    )
    checked = buildah("run", container, "--", "/opt/uws/bin/python", "-m", "uws_service", "check-config", "--json")
    names = {entry["name"] for entry in json.loads(checked)["applications"]}
    assert {"crossmatch", "cutout", "sleep", "tap"} <= names
    assert buildah("run", container, "--", "test", "-x", "/opt/uws/bin/uws-launch") == ""
