"""The part of a container application in its descriptor: parameters, results, upper bounds. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from uws_service.applications.model import Application
from uws_service.applications.parameters import Checked
from uws_service.applications.standard import Standard
from uws_service.containers.inputs import inputs_of
from uws_service.containers.needs import Maximum, needs_of
from uws_service.domain.attempt import Input, Launch
from uws_service.domain.job import Parameter
from uws_service.units import parse_size


def _parameter(name: str, description: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "arraysize": "*", "description": description, **fields}


_TEMPLATE: Mapping[str, Any] = {
    "command": ["{COMMAND}"],
    "parameters": [
        _parameter("IMAGE", "The container image: registry, repository, and tag or digest.", required=True),
        _parameter(
            "COMMAND",
            "A word of the command line, in order: the program first. ${UWS_INPUT_DIR} and ${UWS_OUTPUT_DIR} stand for "
            "the two folders; empty words can't be given.",
            required=True,
            repeated=True,
        ),
        _parameter("ENV", "An environment variable: NAME=value.", repeated=True),
        _parameter(
            "INPUT",
            "A file to bring: its path below the input folder, a comma, and an http(s) URL or param:part for a file "
            "part of the same form.",
            repeated=True,
        ),
        _parameter(
            "DATASET",
            "A data set, such as scope:name, whose files lie in ${UWS_INPUT_DIR}/data/DATASET.",
            repeated=True,
            dataset=True,
            size="50GiB",
        ),
        _parameter("INPUT_MOUNT", "An absolute path in the container at which the input folder appears too."),
        _parameter(
            "OUTPUT",
            "A file below the output folder that is a result; * stands for any part of a name. Without it all files "
            "of the folder itself are results.",
            repeated=True,
        ),
        {"name": "CPU", "datatype": "double", "minimum": 0, "description": "Cores."},
        _parameter("MEMORY", "Memory, such as 512MiB or 4GB; a job that takes more is ended."),
        _parameter("DISK", "Room for working files, such as 10GB."),
        {"name": "GPUS", "datatype": "int", "minimum": 0, "description": "Graphics processors."},
        _parameter("SITE_KIND", "The kind of site to run at, such as kubernetes."),
        _parameter("METADATA", "Text that is kept with the job, and means nothing to it."),
    ],
    "results": [{"id": "output", "path": "*", "media_type": "application/octet-stream", "required": False}],
    "resources": {"cpu": 1, "memory": "1GiB", "disk": "1GiB"},
    "limits": {
        "execution_duration": {"default": "1h", "maximum": "1d"},
        "retention": {"default": "7d", "maximum": "30d"},
        "output": "10GiB",
        "sync_duration": "60s",
    },
}


def maximum_of(application: Application) -> Maximum:
    """Return the most that a job of an application may ask for."""
    return application.section if isinstance(application.section, Maximum) else Maximum()


class ContainerStandard(Standard):
    """A command in an image, in a descriptor."""

    __slots__ = ()

    def read_section(self, raw: Mapping[str, Any]) -> Maximum:
        """Return the section ``maximum``."""
        sizes = {name: parse_size(raw[name]) for name in ("memory", "disk", "input") if name in raw}
        return Maximum(**{**raw, **sizes})

    def problems(self, application: Application) -> Iterator[tuple[list[Any], str]]:
        """Yield what a job gets by default, and may not ask for."""
        maximum, usual = maximum_of(application), application.resources
        for name in ("cpu", "memory", "disk", "gpus"):
            default, highest = getattr(usual, name), getattr(maximum, name)
            if default > highest:
                yield ["maximum", name], f"{highest:g} is below the {default:g} of `resources` that each job gets"

    def check(self, application: Application, values: Mapping[str, tuple[str, ...]]) -> None:
        """Raise `UsageError` unless a job may ask for this."""
        needs_of(values, application.resources, maximum_of(application))

    def inputs(self, application: Application, by_name: Mapping[str, Sequence[Parameter]]) -> Sequence[Input]:
        """Return the files of INPUT."""
        return inputs_of(by_name, maximum_of(application).input)

    def shape(self, application: Application, checked: Checked, launch: Launch) -> Launch:
        """Return the launch with the job's own image, environment, results and resources."""
        needs = needs_of(checked.values, application.resources, maximum_of(application))
        return replace(
            launch,
            image=str(needs.image),
            needs_image=True,
            environment={"UWS_JOB_ID": launch.job_id, **needs.environment},
            results=needs.outputs,
            cpu=needs.resources.cpu,
            memory=needs.resources.memory,
            disk=needs.resources.disk,
            gpus=needs.resources.gpus,
            site_kind=needs.site_kind,
            mounts=needs.mounts,
        )


CONTAINER = ContainerStandard(
    "container",
    template=_TEMPLATE,
    section="maximum",
    part_parameters=("UPLOAD", "INPUT"),
    names_image=True,
)
