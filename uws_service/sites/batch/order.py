"""What the agent of a batch job finds beside it: its ticket, and what only the site's settings know. Pure.

Everything else it gets with its claim, so a file that somebody copies says nothing of the job.
"""

from __future__ import annotations

import json
from typing import Any

from uws_service.domain.attempt import Launch
from uws_service.sites.batch.settings import BatchSite
from uws_service.sites.executor import Refused

NAME = "attempt.json"
"""What the file is called in a batch job's folder."""


def attempt_order(launch: Launch, site: BatchSite, ticket: str) -> bytes:
    """Return the file of an attempt.

    It holds a secret.

    Raises
    ------
    Refused
        The site runs no images, or not the one that the launch names.
    """
    return json.dumps(
        {
            "url": site.agent_url,
            "ca": site.agent_ca,
            "ticket": ticket,
            "heartbeat": site.heartbeat,
            "live_log": site.live_log,
            "container": _container(launch, site),
            "commands": site.commands,
            "processes": site.processes,
            "grace": site.grace,
            "stage_out": site.stage_out,
            "max_log": site.max_log,
        },
        separators=(",", ":"),
    ).encode()


def _container(launch: Launch, site: BatchSite) -> dict[str, Any] | None:
    """Return how the command's image is run.

    None: it runs on the node itself.
    """
    image = launch.image if site.container is not None or launch.needs_image else ""
    if image and not site.allows_image(image):
        raise Refused(
            f"The image {image!r} of the application {launch.application!r} is not allowed at the site {site.name}; "
            f"allowed: {', '.join(site.images)}."
        )
    image = image or site.image or ""
    if not image:
        return None
    if site.container is None:
        raise Refused(f"The site {site.name} runs no container images: its setting `container` is not set.")
    return {"program": site.container, "options": list(site.container_options), "image": image_name(site, image)}


def image_name(site: BatchSite, image: str) -> str:
    """Return what the container program is to run for an image; empty for none."""
    if not image:
        return ""
    return site.image_names.get(image, image if "://" in image or image.startswith("/") else f"docker://{image}")
