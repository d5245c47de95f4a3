"""The digest of the image that a job really runs in is recorded with it."""

from __future__ import annotations

from typing import Any

import pytest

from uws_service.domain.attempt import Observation, Seen
from uws_service.sites.kubernetes.verdict import Patience, observe
from uws_service.sites.kubernetes.views import pod_view

DIGEST = "sha256:" + "0123456789abcdef" * 4


def pod(image_id: str, state: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as the API server shows it."""
    return {
        "metadata": {
            "name": "uws-a-1-xyz",
            "uid": "u",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"uws-service/job": "a", "uws-service/attempt": "1"},
        },
        "spec": {"nodeName": "n"},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "job", "imageID": image_id, "state": state}],
        },
    }


def seen(image_id: str, state: dict[str, Any]) -> Observation:
    """Return what the site's controller makes of such a pod."""
    view = pod_view(pod(image_id, state))
    assert view is not None
    return observe(("a", 1), None, [view], None, 0, Patience())


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"ghcr.io/skao/tool@{DIGEST}", DIGEST),
        (f"docker-pullable://ghcr.io/skao/tool@{DIGEST}", DIGEST),
        (DIGEST, DIGEST),
        ("", ""),
        ("something else", ""),
        ("ghcr.io/skao/tool@sha256:short", ""),
    ],
)
def test_the_end_tells_the_digest(image_id: str, digest: str) -> None:
    ended = {"exitCode": 0, "startedAt": "2026-01-01T00:00:01Z", "finishedAt": "2026-01-01T00:00:02Z"}
    observation = seen(image_id, {"terminated": ended})
    assert (observation.seen, observation.image) == (Seen.SUCCEEDED, digest)
    assert observation.pulled == (f"ghcr.io/skao/tool@{DIGEST}" if digest and "@" in image_id else "")
