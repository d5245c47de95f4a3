"""What is told of a job when its record is passed on, whatever the form: nothing that is secret (P-011)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uws_service.applications import Application
from uws_service.applications.model import ParameterSpec
from uws_service.domain.attempt import Attempt
from uws_service.domain.job import Job, Parameter, Phase, Result
from uws_service.domain.record import InputRecord, ResultRecord
from uws_service.domain.redaction import bare_url, is_secret_name, redacted, redacted_upload
from uws_service.protocol.uws import numbered

_IVOID = re.compile(r"(?i:ivo)://\S+")
_OWN_RESULT = re.compile(r"/([^/?#]+)/async/([0-9a-f]{32})/results/([^/?#]+)")


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job, its application as it is now, and its attempts."""

    job: Job
    application: Application | None = None
    attempts: Sequence[Attempt] = ()

    @property
    def descriptor(self) -> Application | None:
        """Return the application if it is still that of the job's time: else nobody knows what it took."""
        recorded = self.job.info.versions.get("application")
        if self.application is None or recorded not in (None, self.application.version):
            return None
        return self.application

    def spec(self, name: str) -> ParameterSpec | None:
        """Return how a parameter is declared."""
        return self.application.parameter(name) if self.application is not None else None

    def is_secret(self, name: str) -> bool:
        """Return whether a parameter's values are left out."""
        spec = self.spec(name)
        recorded = any(name.upper() == secret.upper() for secret in self.job.info.secret_names)
        return recorded or (spec is not None and spec.secret) or is_secret_name(name)

    def values(self) -> Iterator[ParameterValue]:
        """Yield the values that may be told, those that the service chose last; files are `inputs`."""
        for parameter, number in numbered(self.job.parameters):
            spec = self.spec(parameter.name)
            is_file = parameter.upload is not None or (spec is not None and spec.file)
            if not is_file and parameter.value != "" and not self.is_secret(parameter.name):
                clean = redacted_upload if parameter.name.upper() == "UPLOAD" else redacted
                yield ParameterValue(parameter.name, number, clean(parameter.value))
        for name, value in self.job.info.defaults.items():
            if not self.is_secret(name):
                yield ParameterValue(name, 0, redacted(value))

    def inputs(self) -> list[InputRecord]:
        """Return the files and data sets that it had, with the data identifiers that are no file of its own."""
        records = [record for record in self.job.info.inputs if not self.is_secret(record.parameter)]
        sources = {record.source for record in records}
        for parameter in self.job.parameters:
            if _is_identifier(parameter) and not self.is_secret(parameter.name):
                identifier = bare_url(parameter.value)
                if identifier not in sources:
                    sources.add(identifier)
                    records.append(InputRecord(parameter.name, "", identifier, is_data=True))
        return records

    def upload_of(self, record: InputRecord) -> Parameter | None:
        """Return the uploaded file that an input is.

        None for any other input, or if nobody can tell.
        """
        digest = record.checksums.get("sha256")
        if record.source or digest is None:
            return None
        digests = self.job.info.digests
        return next((item for item in self.job.parameters if digests.get(item.upload or "") == digest), None)

    def results(self) -> list[ResultRecord]:
        """Return the results, also those of an archived job."""
        if self.job.phase is Phase.ARCHIVED:
            return list(self.job.info.results)
        return [ResultRecord(item.id, item.media_type, item.size, item.sha256) for item in self.job.results]

    def internal(self, path: str) -> Result | None:
        """Return the result in the depot that is declared to be a file of the output folder."""
        names = {spec.id for spec in self.application.results if spec.path == path} if self.application else set()
        return next((item for item in self.job.results if item.id in names and not item.location), None)

    def location(self, result: ResultRecord) -> str:
        """Return where a result lies outside of the service; empty if it does not."""
        places = (item.location for item in self.job.results if item.id == result.id)
        return bare_url(next(places, ""))

    def comment(self) -> str:
        """Return in words which attempt gave the results, and what became of those before it (P-010)."""
        info = self.job.info
        words = []
        if info.attempt is not None and info.site:
            words.append(f"attempt {info.attempt} at the site {info.site}")
        words += [
            f"attempt {lost.number} at {lost.site} was lost ({redacted(lost.message or lost.reason)})"
            for lost in info.lost_attempts
        ]
        return "; ".join(words)

    def failure(self) -> tuple[str, str]:
        """Return reason and message of its error.

        Empty without one.
        """
        error = self.job.error
        return (str(error.reason), redacted(error.message)) if error is not None else ("", "")


class ParameterValue(NamedTuple):
    """A value as it may be told.

    ``number`` is 0 for one that the service chose.
    """

    name: str
    number: int
    value: str


class OwnResult(NamedTuple):
    """A result of a job of this service."""

    application: str
    job_id: str
    result: str


def own_result(url: str, base: str) -> OwnResult | None:
    """Return the result that a URL of this service names; None for any other URL."""
    if not url.startswith(f"{base}/"):
        return None
    match = _OWN_RESULT.fullmatch(url.removeprefix(base).partition("?")[0].partition("#")[0])
    return OwnResult(*match.groups()) if match is not None else None


def _is_identifier(parameter: Parameter) -> bool:
    return parameter.upload is None and _IVOID.fullmatch(parameter.value) is not None
