"""Messages for the APEL server of EGI and WLCG: individual jobs, summaries, sync records (ACC-001…ACC-015).

Pure: records and sums to texts. A message is a header, then blocks of ``Key: value`` lines, each ended by ``%%``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from uws_service.accounting.identities import Outside, plain
from uws_service.domain.usage_record import UsageRecord
from uws_service.store.usage import Sum

RECORDS_OF_MESSAGE = 1000
"""Records of a message, as APEL's own client sends them (ACC-001)."""
INDIVIDUAL = "APEL-individual-job-message: v0.3"
INDIVIDUAL_WITH_BENCHMARK = "APEL-individual-job-message: v0.4"
SUMMARY = "APEL-summary-job-message: v0.2"
NORMALISED_SUMMARY = "APEL-normalised-summary-message: v0.4"
SYNC = "APEL-sync-message: v0.1"
SUMMARY_BY = (
    "site", "owner", "group", "application", "processors", "benchmark", "benchmark_value",
)  # fmt: skip
"""What the sums are split by of which summaries are made, in the order of `summary_keys`."""
SUMMARY_MEASURES = ("attempts", "wall_s", "cpu_s", "earliest_end", "latest_end")
"""What is summed up for them."""


def block(fields: Mapping[str, object]) -> str:
    """Return a record.

    A field without a value is left out (ACC-004).
    """
    lines = [f"{name}: {plain(str(value))}" for name, value in fields.items() if value not in (None, "")]
    return "\n".join([*lines, "%%", ""])


def messages(header: str, blocks: Sequence[str]) -> list[str]:
    """Return messages of one type, none of them too long."""
    parts = range(0, len(blocks), RECORDS_OF_MESSAGE)
    return [f"{header}\n{''.join(blocks[first : first + RECORDS_OF_MESSAGE])}" for first in parts]


def individual(records: Iterable[UsageRecord], outside: Outside) -> list[str]:
    """Return the messages of attempts.

    Those whose command never started are no jobs here (ACC-070).

    Without a benchmark of their site they are of version 0.3: version 0.4 can't do without (ACC-011).
    """
    blocks: dict[str, list[str]] = {INDIVIDUAL: [], INDIVIDUAL_WITH_BENCHMARK: []}
    for record in records:
        if record.is_job:
            blocks[INDIVIDUAL_WITH_BENCHMARK if record.benchmark else INDIVIDUAL].append(_individual(record, outside))
    return [message for header, bodies in blocks.items() for message in messages(header, bodies)]


def _individual(record: UsageRecord, outside: Outside) -> str:
    """Return an attempt, its keys in the order of ACC-007."""
    assert record.started is not None
    organisation, site = outside.organisation(record.group), outside.site(record.site)
    benchmark = f"{{{record.benchmark}: {record.benchmark_value:g}}}" if record.benchmark else None
    return block(
        {
            "Site": site.name,
            "SubmitHost": outside.submit_host(record.application),
            "MachineName": record.site or "none",
            "Queue": record.application,
            "LocalJobId": record.id,
            "GlobalUserName": outside.user(record.owner),
            "FQAN": organisation.fqan,
            "VO": None if organisation.fqan else organisation.vo,
            "WallDuration": record.wall_s,
            "CpuDuration": record.cpu_s,
            "Processors": record.processors,
            "NodeCount": 1,
            "StartTime": record.started // 1000,
            "EndTime": max(record.started, record.ended) // 1000,
            "InfrastructureDescription": "uws-service",
            "InfrastructureType": site.infrastructure,
            "MemoryReal": record.peak_memory // 1024 or None,
            "ServiceLevel": benchmark,
        }
    )


class SummaryKey(NamedTuple):
    """What the server tells summaries of a month apart by (ACC-014)."""

    site: str
    infrastructure: str
    user: str
    vo: str
    vo_group: str
    vo_role: str
    submit_host: str
    processors: int
    benchmark: str


@dataclass(slots=True)
class _Total:
    jobs: int = 0
    wall: int = 0
    cpu: int = 0
    scores: dict[float, tuple[int, int]] = field(default_factory=dict)
    """Seconds of wall and CPU time by the score of the cores: whole numbers, the same in any order."""
    ends: tuple[int, int] = (0, 0)

    def add(self, part: Sum, score: float) -> None:
        values = {name: value or 0 for name, value in part.values.items()}
        wall, cpu = values["wall_s"], values["cpu_s"]
        ends = values["earliest_end"] // 1000, values["latest_end"] // 1000
        self.ends = (min(self.ends[0], ends[0]), max(self.ends[1], ends[1])) if self.scores else ends
        self.jobs += values["attempts"]
        self.wall += wall
        self.cpu += cpu
        before = self.scores.get(score, (0, 0))
        self.scores[score] = before[0] + wall, before[1] + cpu

    def normalised(self, index: int) -> int:
        """Return wall (0) or CPU time (1) times the scores of the cores (ACC-060)."""
        return round(sum(score * seconds[index] for score, seconds in sorted(self.scores.items())))


def summary_keys(part: Sum, outside: Outside) -> tuple[SummaryKey, float]:
    """Return the server's key of a sum that is split by `SUMMARY_BY`, and the score of its cores."""
    site, owner, group, application, processors, benchmark, score = part.key
    organisation, place = outside.organisation(group), outside.site(site)
    key = SummaryKey(
        place.name,
        place.infrastructure,
        outside.user(owner),
        organisation.vo,
        organisation.vo_group,
        organisation.vo_role,
        outside.submit_host(application),
        int(processors),
        benchmark,
    )
    return key, float(score)


class Summaries:
    """The messages of a whole month: summaries, then a sync record for each endpoint (ACC-012…ACC-015).

    What is the same to the server is one summary: another one with the same key would replace it. Memory is needed for
    each summary, not for each sum or record.
    """

    def __init__(self, month: int, outside: Outside) -> None:
        self.month = month
        self.outside = outside
        self.jobs = 0
        self._totals: dict[SummaryKey, _Total] = defaultdict(_Total)
        self._counts: dict[tuple[str, str], int] = defaultdict(int)

    def add(self, sums: Iterable[Sum]) -> None:
        """Add sums of attempts that have started, split by `SUMMARY_BY`, in any order."""
        for part in sums:
            key, score = summary_keys(part, self.outside)
            jobs = part.values["attempts"] or 0
            self._totals[key].add(part, score)
            self._counts[key.site, key.submit_host] += jobs
            self.jobs += jobs

    def messages(self) -> list[str]:
        """Return the messages, the same for the same records."""
        blocks: dict[str, list[str]] = {SUMMARY: [], NORMALISED_SUMMARY: []}
        for key, total in sorted(self._totals.items(), key=lambda item: item[0]):
            if total.jobs:
                blocks[NORMALISED_SUMMARY if key.benchmark else SUMMARY].append(_summary(self.month, key, total))
        parts = [message for header, bodies in blocks.items() for message in messages(header, bodies)]
        return parts + sync(self.month, {place: count for place, count in self._counts.items() if count})


def _summary(month: int, key: SummaryKey, total: _Total) -> str:
    common = {
        "Site": key.site,
        "Month": month % 100,
        "Year": month // 100,
        "GlobalUserName": key.user,
        "VO": key.vo,
        "VOGroup": key.vo_group,
        "VORole": key.vo_role,
        "SubmitHost": key.submit_host,
    }
    counted = {
        "NodeCount": 1,
        "Processors": key.processors,
        "EarliestEndTime": total.ends[0],
        "LatestEndTime": total.ends[1],
        "WallDuration": total.wall,
        "CpuDuration": total.cpu,
    }
    if not key.benchmark:
        return block({**common, "InfrastructureType": key.infrastructure, **counted, "NumberOfJobs": total.jobs})
    normalised = {
        "NormalisedWallDuration": f"{{{key.benchmark}: {total.normalised(0)}}}",
        "NormalisedCpuDuration": f"{{{key.benchmark}: {total.normalised(1)}}}",
    }
    return block({**common, "Infrastructure": key.infrastructure, **counted, **normalised, "NumberOfJobs": total.jobs})


def _sync(month: int, place: tuple[str, str], count: int) -> str:
    """Return the number of jobs of an endpoint in a month, which the portal compares (ACC-015)."""
    return block(
        {
            "Site": place[0],
            "SubmitHost": place[1],
            "NumberOfJobs": count,
            "Month": month % 100,
            "Year": month // 100,
        }
    )


def sync(month: int, counts: Mapping[tuple[str, str], int]) -> list[str]:
    """Return the sync records of individual jobs that were sent, by site and endpoint."""
    return messages(SYNC, [_sync(month, place, count) for place, count in sorted(counts.items())])
