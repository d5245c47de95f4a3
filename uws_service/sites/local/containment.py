"""A launch in a container image, as a command of this machine. Pure.

The job's own variables are words for ``env`` inside the container: in the environment of the runner, which is outside,
a PATH or a BASH_ENV would run what it likes.
"""

from __future__ import annotations

from dataclasses import replace

from uws_service.domain.attempt import Launch
from uws_service.sites.executor import Refused

FOLDERS = ("UWS_INPUT_DIR=${UWS_INPUT_DIR}", "UWS_OUTPUT_DIR=${UWS_OUTPUT_DIR}")


def contained(launch: Launch, runner: tuple[str, ...], site: str) -> Launch:
    """Return a launch whose command the runner runs in its image.

    Raises
    ------
    Refused
        There is no runner.
    """
    if not runner:
        raise Refused(f"The site {site} runs no container images: its setting `runner` is not set.")
    variables = (f"{name}={value}" for name, value in launch.environment.items())
    words = (word.replace("{IMAGE}", launch.image) for word in runner)
    command = (*words, "env", *FOLDERS, *variables, *launch.command)
    return replace(launch, command=command, environment={"UWS_JOB_ID": launch.job_id})
