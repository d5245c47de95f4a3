"""A reader of APEL messages that refuses what the APEL server's parser refuses (ACC-001…ACC-015).

Its behaviour was compared with the real parser's, which is in no package.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime

INDIVIDUAL = (
    "Site SubmitHost MachineName Queue LocalJobId LocalUserId GlobalUserName FQAN VO VOGroup VORole WallDuration "
    "CpuDuration Processors NodeCount StartTime EndTime InfrastructureDescription InfrastructureType MemoryReal "
    "MemoryVirtual ServiceLevelType ServiceLevel"
).split()
SUMMARY = (
    "Site Month Year GlobalUserName VO VOGroup VORole SubmitHost InfrastructureType ServiceLevelType ServiceLevel "
    "NodeCount Processors EarliestEndTime LatestEndTime WallDuration CpuDuration NumberOfJobs"
).split()
NORMALISED = (
    "Site Month Year GlobalUserName VO VOGroup VORole SubmitHost Infrastructure InfrastructureDescription NodeCount "
    "Processors EarliestEndTime LatestEndTime WallDuration CpuDuration NormalisedWallDuration NormalisedCpuDuration "
    "NumberOfJobs"
).split()
SYNC = ["Site", "SubmitHost", "NumberOfJobs", "Month", "Year"]
TYPES = {
    "APEL-individual-job-message: v0.3": (INDIVIDUAL, "Site LocalJobId WallDuration CpuDuration StartTime EndTime"),
    "APEL-individual-job-message: v0.4": (
        INDIVIDUAL,
        "Site LocalJobId WallDuration CpuDuration StartTime EndTime ServiceLevel",
    ),
    "APEL-summary-job-message: v0.2": (SUMMARY, "Site Month Year WallDuration CpuDuration NumberOfJobs"),
    "APEL-normalised-summary-message: v0.4": (
        NORMALISED,
        "Site Month Year WallDuration CpuDuration NormalisedWallDuration NormalisedCpuDuration NumberOfJobs",
    ),
    "APEL-sync-message: v0.1": (SYNC, "Site SubmitHost NumberOfJobs Month Year"),
}
INTEGERS = frozenset(
    "WallDuration CpuDuration Processors NodeCount StartTime EndTime MemoryReal MemoryVirtual Month Year "
    "EarliestEndTime LatestEndTime NumberOfJobs".split()
)
SCORES = re.compile(r"\{(hepscore23|hepspec|si2k): (\d+(?:\.\d+)?)\}")
RECORDS_MAX = 1000
TWO_DAYS = 2 * 86400


class Refused(Exception):
    """The server takes no such message."""


def read(text: str) -> tuple[str, list[dict[str, str]]]:
    """Return the type and the records of a message, or raise `Refused`."""
    text.encode("ascii")  # ACC-001
    header, _, body = text.partition("\n")
    if header not in TYPES:
        raise Refused(f"header {header!r}")
    if not body.endswith("%%\n"):
        raise Refused("a record has no end")
    records = [_record(header, block) for block in body.removesuffix("%%\n").split("\n%%\n")]
    if len(records) > RECORDS_MAX:
        raise Refused(f"{len(records)} records")
    return header, records


def _record(header: str, block: str) -> dict[str, str]:
    allowed, mandatory = TYPES[header]
    record: dict[str, str] = {}
    for line in block.strip("\n").split("\n"):
        key, colon, value = line.partition(":")
        value = value.strip()
        if not colon or key not in allowed:
            raise Refused(f"unknown field {key!r}")  # ACC-003
        if key in record:
            raise Refused(f"{key} twice")
        if value.lower() not in ("", "none", "null"):  # ACC-004
            record[key] = value
    if missing := [key for key in mandatory.split() if key not in record]:
        raise Refused(f"missing {missing}")
    for key in INTEGERS & record.keys():
        if not re.fullmatch(r"-?\d+", record[key]):
            raise Refused(f"{key}: {record[key]} is no integer")  # ACC-005
    _check_times(record)
    _check_benchmark(header, record)
    return record


def _check_times(record: Mapping[str, str]) -> None:
    """Check ACC-006 and ACC-012."""
    if "StartTime" in record and not (int(record["StartTime"]) <= int(record["EndTime"]) <= time.time() + TWO_DAYS):
        raise Refused("StartTime, EndTime")
    if "EarliestEndTime" in record:
        for key in ("EarliestEndTime", "LatestEndTime"):
            moment = datetime.fromtimestamp(int(record[key]), UTC)
            if (moment.month, moment.year) != (int(record["Month"]), int(record["Year"])):
                raise Refused(f"{key} is not in the month")
    if "Month" in record:
        today = datetime.now(UTC)
        if not 1 <= int(record["Month"]) <= 12 or (int(record["Year"]), int(record["Month"])) > (
            today.year,
            today.month,
        ):
            raise Refused("Month is in the future")


def _check_benchmark(header: str, record: Mapping[str, str]) -> None:
    """Check ACC-010…ACC-012."""
    dictionaries = [record[key] for key in ("NormalisedWallDuration", "NormalisedCpuDuration") if key in record]
    if header == "APEL-individual-job-message: v0.4":
        dictionaries.append(record["ServiceLevel"])
    names = set()
    for text in dictionaries:
        match = SCORES.fullmatch(text)
        if match is None:
            raise Refused(f"benchmark {text}")
        names.add(match[1])
    if len(names) > 1:
        raise Refused("two benchmarks")
    if header.endswith("v0.3") and ("ServiceLevel" in record) != ("ServiceLevelType" in record):
        raise Refused("half a benchmark")


def organisation(record: Mapping[str, str]) -> tuple[str, str]:
    """Return VO and group as the server stores them: FQAN wins (ACC-008)."""
    fqan = record.get("FQAN", "")
    if fqan.startswith("/"):
        return fqan.split("/")[1], fqan.partition("/Role=")[0]
    return fqan or record.get("VO", ""), record.get("VOGroup", "")
