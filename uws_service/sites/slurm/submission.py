"""What a batch job is created with, for slurmrestd and for ``sbatch``. Pure.

The script is complete in itself: it brings the agent and the ticket along, so no shared file system is needed.
"""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Mapping
from typing import Any

from uws_service.sites.batch.driver import BatchSpec
from uws_service.sites.slurm.jobs import Comment
from uws_service.sites.slurm.settings import SlurmSite

PATH = "/usr/local/bin:/usr/bin:/bin"
NOTICE_SECONDS = 60
"""Seconds before Slurm's own limit at which the agent is asked to end."""
MEBIBYTE_BYTES = 2**20
_SCRIPT = """\
#!/bin/sh
umask 077
folder=$(mktemp -d "${{SLURM_TMPDIR:-${{TMPDIR:-/tmp}}}}/uws-work-XXXXXXXX") && cd "$folder" || exit 1
{files}{command} &
agent=$!
trap 'kill -TERM "$agent" 2>/dev/null' TERM INT
wait "$agent"
code=$?
while kill -0 "$agent" 2>/dev/null; do
    wait "$agent"
    code=$?
done
cd / && rm -rf "$folder"
exit "$code"
"""


def batch_script(spec: BatchSpec) -> str:
    """Return the script.

    It makes a folder of its own, writes the files there, and passes signals to the agent.
    """
    files = "".join(_here_document(name, content) for name, content in spec.files.items())
    return _SCRIPT.format(files=files, command=shlex.join(spec.command))


def _here_document(name: str, content: bytes) -> str:
    return f"base64 -d >{shlex.quote(name)} <<'END' || exit 1\n{base64.encodebytes(content).decode()}END\n"


def job_description(spec: BatchSpec, site: SlurmSite, instance: str) -> dict[str, Any]:
    """Return the description of a held job, as slurmrestd takes it.

    It is never run a second time by Slurm itself: a lost node is the attempt's end.
    """
    log = f"{site.log_folder}/{spec.name}.log" if site.log_folder else "/dev/null"
    variables = {"PATH": PATH, "LANG": "C.UTF-8", **site.environment}
    description: dict[str, Any] = {
        "name": spec.name,
        "comment": Comment(instance, spec.key).text,
        "hold": True,
        "requeue": False,
        "kill_on_node_fail": True,
        "tasks": 1,
        "nodes": "1",
        "cpus_per_task": max(1, math.ceil(spec.cpu)),
        "current_working_directory": "/tmp",
        "standard_output": log,
        "standard_error": log,
        "environment": [f"{name}={value}" for name, value in variables.items()],
    }
    if spec.memory:
        description["memory_per_node"] = {"set": True, "number": math.ceil(spec.memory / MEBIBYTE_BYTES)}
    if spec.duration:
        description["time_limit"] = {"set": True, "number": math.ceil((spec.duration + NOTICE_SECONDS) / 60)}
        description["kill_warning_flags"] = ["BATCH_JOB"]
        description["kill_warning_signal"] = "SIGTERM"
        description["kill_warning_delay"] = {"set": True, "number": NOTICE_SECONDS}
    if spec.gpus:
        description["tres_per_node"] = f"gres/gpu:{spec.gpus}"
    named = {
        "account": site.account_of(spec.group),
        "partition": site.partition,
        "qos": site.qos,
        "constraints": site.constraint,
        "reservation": site.reservation,
        "wckey": spec.account_user if site.wckey else "",
    }
    return description | {name: value for name, value in named.items() if value}


_OPTIONS: Mapping[str, str] = {
    "name": "job-name",
    "comment": "comment",
    "nodes": "nodes",
    "tasks": "ntasks",
    "cpus_per_task": "cpus-per-task",
    "current_working_directory": "chdir",
    "standard_output": "output",
    "standard_error": "error",
    "account": "account",
    "partition": "partition",
    "qos": "qos",
    "constraints": "constraint",
    "reservation": "reservation",
    "wckey": "wckey",
    "tres_per_node": "gres",
}
"""Fields of a description by the option of ``sbatch`` that says the same."""


def sbatch_words(description: Mapping[str, Any]) -> list[str]:
    """Return the call of ``sbatch`` that makes the same job; the script comes by standard input."""
    words = ["sbatch", "--parsable", "--hold", "--no-requeue"]
    words += [f"--{option}={description[field]}" for field, option in _OPTIONS.items() if field in description]
    words.append(f"--export={','.join(description['environment'])}")
    if "memory_per_node" in description:
        words.append(f"--mem={description['memory_per_node']['number']}M")
    if "time_limit" in description:
        words.append(f"--time={description['time_limit']['number']}")
        words.append(f"--signal=B:TERM@{description['kill_warning_delay']['number']}")
    return [word.replace("--gres=gres/gpu:", "--gres=gpu:") for word in words]
