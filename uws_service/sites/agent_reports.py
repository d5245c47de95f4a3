"""What agents report, checked value by value: nothing is taken for true that was not handed over."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from uws_service.agent import folder as layout
from uws_service.agent.error_file import parse_error
from uws_service.depot import Depot
from uws_service.domain.agent import AgentIdentity
from uws_service.domain.attempt import CommandEnd, CommandError, Launch, Output, Reason, Report
from uws_service.domain.errors import UsageError
from uws_service.domain.ids import now_ms
from uws_service.domain.record import StagedFile

_RESULT = re.compile(r"[A-Za-z0-9._-]{1,220}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
REASONS = frozenset({Reason.STAGE_IN, Reason.STAGE_OUT, Reason.OUTPUT_TOO_LARGE})
"""The ends that an agent can tell of; the command's own end is in its pod's status."""
COMMAND_REASONS = REASONS | {
    Reason.EXIT_CODE,
    Reason.OUT_OF_MEMORY,
    Reason.TOO_MANY_PROCESSES,
    Reason.DEADLINE,
    Reason.ABORTED,
    Reason.COMMAND,
    Reason.IMAGE,
    Reason.AGENT_LOST,
}
"""The ends that an agent can tell of that runs the command itself."""
LOGS = ("stdout", "stderr")
TAIL_LENGTH = 4096
OUTPUTS_MAX = 1_000
NUMBER_MAX = 2**53
"""Of numbers in a report; more is nonsense, and databases do not hold much more."""


async def parse_report(depot: Depot, agent: AgentIdentity, plan: Launch, content: Mapping[str, Any]) -> Report:
    """Return an agent's report.

    Raises
    ------
    UsageError
        It makes no sense, or names what was not handed over.
    """
    entries = _entries(content, "outputs")
    media_types = {result.media_type for result in plan.results}
    outputs: list[Output] = []
    settled: list[str] = []
    for entry in entries:
        try:
            size, sha256, kind = int(entry["size"]), str(entry["sha256"]), str(entry["media_type"])
            key = output_key(agent, str(entry["id"]), sha256)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError("outputs: each needs id, media_type, size and sha256.") from None
        if any(output.id == entry["id"] for output in outputs):
            raise UsageError(f"outputs: {entry['id']} is named twice.")
        if kind not in media_types:
            raise UsageError(f"outputs: {entry['id']}: wrong media type.")
        stored = await depot.head(key)
        if stored is None or stored.size != size:
            raise UsageError(f"outputs: {entry['id']} was not handed over with {size} bytes and this digest.")
        outputs.append(Output(str(entry["id"]), key, kind, size, sha256))
        if entry.get("settled") is True:
            settled.append(str(entry["id"]))
    reason = None
    if content.get("reason") is not None:
        reasons = COMMAND_REASONS if agent.heartbeat else REASONS
        if not isinstance(content["reason"], str) or content["reason"] not in reasons:
            raise UsageError(f"reason: must be one of {', '.join(sorted(reasons))}, or null.")
        reason = Reason(content["reason"])
    return Report(
        tuple(outputs),
        tuple(settled),
        reason,
        layout.clean(str(content.get("message", "")), 2000),
        int(number(content, "bytes_in")),
        float(number(content, "cpu")),
        int(number(content, "peak_memory")),
        inputs=_staged(content.get("inputs", []), plan),
        bytes_moved=int(number(content, "bytes_moved")),
        end=await _parse_end(depot, agent, content) if agent.heartbeat else None,
    )


def _staged(entries: object, plan: Launch) -> tuple[StagedFile, ...]:
    """Return what an agent says of the files that it fetched: of inputs of this launch, each once."""
    if not isinstance(entries, list) or len(entries) > len(plan.inputs):
        raise UsageError("inputs: must be a list of the inputs that were fetched.")
    paths = {item.path for item in plan.inputs if item.url is not None}
    staged: dict[str, StagedFile] = {}
    for entry in entries:
        try:
            file = StagedFile(str(entry["path"]), int(entry["size"]), str(entry["sha256"]))
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError("inputs: each needs path, size and sha256.") from None
        if file.path not in paths or not _SHA256.fullmatch(file.sha256) or not 0 <= file.size < 2**63:
            raise UsageError(f"inputs: {file.path[:100]!r} is no fetched input with a size and a digest.")
        staged[file.path] = file
    return tuple(staged.values())


async def _parse_end(depot: Depot, agent: AgentIdentity, content: Mapping[str, Any]) -> CommandEnd:
    """Return how the command ended.

    Clocks of nodes may be wrong, so nothing is later than now.
    """
    ended = min(int(number(content, "ended")), now_ms())
    logs = []
    for entry in _entries(content, "logs"):
        try:
            size, sha256, name = int(entry["size"]), str(entry["sha256"]), str(entry["id"])
            key = log_key(agent, name, sha256)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError("logs: each needs id, size and sha256.") from None
        stored = await depot.head(key)
        if name not in LOGS or stored is None or stored.size != size:
            raise UsageError(f"logs: {name[:64]} was not handed over with {size} bytes and this digest.")
        logs.append(Output(name, key, "text/plain", size, sha256))
    is_number = content.get("exit_code") is not None
    error = content.get("error")
    parsed = parse_error(json.dumps(error)) if isinstance(error, Mapping) else None
    return CommandEnd(
        ended,
        min(int(number(content, "started")), ended) if content.get("started") is not None else None,
        int(number(content, "exit_code")) % 256 if is_number else None,
        tuple({entry.id: entry for entry in logs}.values()),
        layout.clean(str(content.get("tail", "")), TAIL_LENGTH),
        layout.clean(str(content.get("warning", "")), 1000),
        CommandError(**parsed) if parsed is not None else None,
    )


def output_key(agent: AgentIdentity, result_id: str, sha256: str) -> str:
    """Return where an output lies."""
    if not _RESULT.fullmatch(result_id) or not result_id.strip("."):
        raise UsageError(f"{result_id[:64]!r} can't be the name of a result.")
    if not _SHA256.fullmatch(sha256):
        raise UsageError(f"{result_id}: its SHA-256 must be 64 hexadecimal digits.")
    return f"{agent.folder}/{sha256}/{result_id}"


def log_key(agent: AgentIdentity, name: str, sha256: str) -> str:
    """Return where a log lies.

    No result can have such a name.
    """
    if not _SHA256.fullmatch(sha256):
        raise UsageError(f"{name[:64]}: its SHA-256 must be 64 hexadecimal digits.")
    return f"{agent.folder}/{sha256}/~{name}"


def _entries(content: Mapping[str, Any], name: str) -> Sequence[Any]:
    entries = content.get(name, [])
    if not isinstance(entries, Sequence) or isinstance(entries, str) or len(entries) > OUTPUTS_MAX:
        raise UsageError(f"{name}: must be a list of at most {OUTPUTS_MAX}.")
    return entries


def number(content: Mapping[str, Any], name: str) -> float:
    """Return a number of a report."""
    value = content.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= NUMBER_MAX:
        raise UsageError(f"{name}: must be a number from 0 to {NUMBER_MAX}.")
    return value
