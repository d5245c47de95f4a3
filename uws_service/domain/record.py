"""What a job's record keeps of its files: enough to explain the job, and to do it anew."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from uws_service.domain.dataset import CHECKSUMS

_RESULT = re.compile(r"/async/([0-9a-f]{32})/results/")


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A file that a job had as its input, or a data set of many files."""

    parameter: str
    """The parameter, or the table that UPLOAD named."""
    path: str
    """Where the command found it, below its input folder; of a data set: the file's name, empty for all files."""
    source: str = ""
    """A URL without its secrets, or a data identifier; empty: it was uploaded."""
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    """In hexadecimal digits, by `uws_service.domain.dataset.CHECKSUMS`; ``list``: SHA-256 of a list of files."""
    is_data: bool = False
    """Whether a catalogue was asked for it."""

    @property
    def checksum(self) -> tuple[str, str] | None:
        """Return kind and digits of the strongest checksum."""
        for kind in (*CHECKSUMS, "list"):
            if kind in self.checksums:
                return kind, self.checksums[kind]
        return None

    @property
    def key(self) -> tuple[str, str, str, bool]:
        """Return what names the input within its job."""
        return self.parameter.upper(), self.path, self.source if self.is_data else "", self.is_data


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file as it was when it was fetched for a command: below the input folder, in bytes, in hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ResultRecord:
    """What is kept of a result whose bytes are gone."""

    id: str
    media_type: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Original:
    """The job that another one does anew, and what must be as it was there."""

    job_id: str
    image: str = ""
    """With its digest; empty: it was not recorded, or none was needed."""
    inputs: tuple[InputRecord, ...] = ()


def source_jobs(values: Iterable[str]) -> set[str]:
    """Return the ids of jobs whose results the values name; of which service, their readers look at."""
    return {job_id for value in values if "/results/" in value for job_id in _RESULT.findall(value)}


def with_digests(records: Sequence[InputRecord], staged: Iterable[StagedFile]) -> tuple[InputRecord, ...]:
    """Return the records with the sizes and digests of files that were fetched."""
    by_path = {file.path: file for file in staged}
    return tuple(
        replace(record, size=file.size, checksums={**record.checksums, "sha256": file.sha256})
        if not record.is_data and (file := by_path.get(record.path)) is not None
        else record
        for record in records
    )


def changed_inputs(before: Iterable[InputRecord], after: Iterable[InputRecord]) -> list[str]:
    """Return a sentence for each input that is not what it was.

    One without a checksum or a size on either side counts as unchanged: nobody can tell.
    """
    present = {record.key: record for record in after}
    sentences = []
    for record in before:
        name = f"{record.parameter}: {record.source or record.path}"
        now = present.get(record.key)
        if now is None:
            sentences.append(f"{name} is no longer there.")
            continue
        kinds = [kind for kind in (*CHECKSUMS, "list") if kind in record.checksums and kind in now.checksums]
        if kinds and record.checksums[kinds[0]] != now.checksums[kinds[0]]:
            sentences.append(f"{name} has another {kinds[0]} than it had.")
        elif None not in (record.size, now.size) and record.size != now.size:
            sentences.append(f"{name} has {now.size} bytes; it had {record.size}.")
    return sentences


def encode_records(records: Sequence[InputRecord | ResultRecord]) -> list[dict[str, Any]]:
    """Return what is stored of records."""
    return [{name: value for name, value in asdict(record).items() if value not in ("", None, {}, False)}
            for record in records]  # fmt: skip


def decode_inputs(stored: Sequence[Mapping[str, Any]]) -> tuple[InputRecord, ...]:
    """Return inputs from what was stored."""
    return tuple(
        InputRecord(
            item.get("parameter", ""),
            item.get("path", ""),
            item.get("source", ""),
            item.get("size"),
            item.get("checksums", {}),
            bool(item.get("is_data")),
        )
        for item in stored
    )


def decode_results(stored: Sequence[Mapping[str, Any]]) -> tuple[ResultRecord, ...]:
    """Return results from what was stored."""
    return tuple(
        ResultRecord(item.get("id", ""), item.get("media_type", ""), item.get("size", 0), item.get("sha256", ""))
        for item in stored
    )


def encode_original(original: Original | None) -> dict[str, Any] | None:
    """Return what is stored of an original."""
    if original is None:
        return None
    return {"job": original.job_id, "image": original.image, "inputs": encode_records(original.inputs)}


def decode_original(stored: Mapping[str, Any]) -> Original:
    """Return an original from what was stored."""
    return Original(stored["job"], stored.get("image", ""), decode_inputs(stored.get("inputs", ())))
