"""A job as an RO-Crate: Process Run Crate 0.5 on RO-Crate 1.1 (P-040…P-043). Pure.

``{job}/crate`` is the metadata alone, in which files are URLs; the metadata of ``{job}/crate.zip`` names the files
beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from uws_service.domain.job import Parameter, Phase
from uws_service.domain.record import InputRecord
from uws_service.protocol.provenance.record import JobRecord

METADATA = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = ("https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context")
MEDIA_TYPE = 'application/ld+json; profile="https://w3id.org/ro/crate"'
_DOCKER_IMAGE = "https://w3id.org/ro/terms/workflow-run#DockerImage"
_STATUS = {
    Phase.COMPLETED: "http://schema.org/CompletedActionStatus",
    Phase.ARCHIVED: "http://schema.org/CompletedActionStatus",
    Phase.ERROR: "http://schema.org/FailedActionStatus",
    Phase.ABORTED: "http://schema.org/FailedActionStatus",
}

Entity = dict[str, Any]


class Publisher(NamedTuple):
    """Who gives the crate, and under which licence.

    What no job knows.
    """

    name: str = ""
    url: str = ""
    licence: str = ""


class CrateFile(NamedTuple):
    """A file that lies in the crate, and where the depot has it."""

    path: str
    key: str
    size: int


def result_path(result_id: str) -> str:
    """Return the path of a result in the crate."""
    return f"results/{_segment(result_id)}"


def input_path(record: InputRecord) -> str:
    """Return the path of an input in the crate."""
    return f"inputs/{'/'.join(map(_segment, record.path.split('/')))}"


def _segment(name: str) -> str:
    """Return a name as a part of a path in an archive that leads nowhere else."""
    return quote(name, safe="._-~@+,=", errors="replace") if name.strip(".") else name.replace(".", "%2E")


def crate_json(record: JobRecord, base: str, publisher: Publisher, files: Sequence[CrateFile] = ()) -> bytes:
    """Return the metadata of a job's crate.

    Parameters
    ----------
    base
        The service's public URL without a slash at the end.
    files
        Those that lie in the crate; the others are on the web.
    """
    crate = _Crate(record, base, publisher, frozenset(file.path for file in files))
    document = {"@context": list(CONTEXT), "@graph": crate.entities()}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


class _Crate:
    """The entities of one crate."""

    def __init__(self, record: JobRecord, base: str, publisher: Publisher, paths: frozenset[str]) -> None:
        self.record = record
        self.job = record.job
        self.base = base
        self.publisher = publisher
        self.paths = paths
        self.url = f"{base}/{quote(self.job.application, safe='')}/async/{self.job.id}"
        self.tool = f"{base}/{quote(self.job.application, safe='')}"
        self.parts: list[Entity] = []
        self.others: list[Entity] = []

    def entities(self) -> list[Entity]:
        """Return all entities, the descriptor and the root first."""
        action = self._action()
        root = self._root()
        descriptor = {
            "@id": METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        }
        profile = {"@id": PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
        entities = [descriptor, root, profile, action, self._instrument(), *self.parts, *self.others]
        return list({entity["@id"]: _plain(entity) for entity in entities}.values())

    def _root(self) -> Entity:
        phase = self.job.phase.value
        title = self.record.application.title if self.record.application is not None else self.job.application
        published = self.job.ended if self.job.ended is not None else self.job.created
        publisher = {
            "@id": self.publisher.url or f"{self.base}/",
            "@type": "Organization",
            "name": self.publisher.name or self.base.partition("://")[2],
            "url": self.publisher.url or f"{self.base}/",
        }
        self.others.append(publisher)
        return {
            "@id": "./",
            "@type": "Dataset",
            "name": f"{title}: job {self.job.id}",
            "description": f"A job of the application {self.job.application} that ended in the phase {phase}: its "
            "parameters, inputs and results, and what it ran with.",
            "datePublished": _time(published),
            "license": {"@id": self._licence()},
            "conformsTo": {"@id": PROFILE},
            "identifier": self.url,
            "url": self.url,
            "publisher": {"@id": publisher["@id"]},
            "author": self._person(publisher["@id"]),
            "hasPart": [{"@id": part["@id"]} for part in self.parts],
            "mentions": {"@id": self.url},
        }

    def _licence(self) -> str:
        licence = self.publisher.licence
        entity = {"@id": licence or "#licence", "@type": "CreativeWork"}
        if licence:
            entity |= {"name": licence, "description": "The licence that the service states for its crates."}
        else:
            entity |= {"name": "No licence is stated", "description": "Ask the author before you use it."}
        self.others.append(entity)
        return str(entity["@id"])

    def _person(self, affiliation: str) -> Any:
        """Return the reference to the job's owner.

        None for an anonymous one.
        """
        if not self.job.owner:
            return None
        person = {
            "@id": f"urn:uws-service:user:{quote(self.job.owner, safe='', errors='replace')}",
            "@type": "Person",
            "name": self.job.owner,
            "affiliation": {"@id": affiliation},
        }
        self.others.append(person)
        return {"@id": person["@id"]}

    def _instrument(self) -> Entity:
        application = self.record.application
        version = self.job.info.versions.get("application") or (application.version if application else "")
        return {
            "@id": self.tool,
            "@type": "SoftwareApplication",
            "name": application.title if application is not None else self.job.application,
            "description": self.record.descriptor.description if self.record.descriptor is not None else None,
            "softwareVersion": version or None,
            "url": self.tool,
        }

    # --- the action -----------------------------------------------------------------------------------------------

    def _action(self) -> Entity:
        reason, message = self.record.failure()
        failed = _STATUS.get(self.job.phase) == _STATUS[Phase.ERROR]
        objects = [*(self._file(item) for item in self.record.inputs()), *self._values()]
        owner = self.job.owner
        return {
            "@id": self.url,
            "@type": "CreateAction",
            "name": f"Run of {self.job.application} as job {self.job.id}",
            "description": self.record.comment() or f"Job {self.job.id} of the application {self.job.application}",
            "instrument": {"@id": self.tool},
            "startTime": _time(self.job.started),
            "endTime": _time(self.job.ended),
            "actionStatus": _STATUS.get(self.job.phase),
            "error": f"{reason}: {message}" if failed and message else None,
            "agent": {"@id": f"urn:uws-service:user:{quote(owner, safe='', errors='replace')}"} if owner else None,
            "object": [{"@id": entity} for entity in objects],
            "result": [{"@id": entity} for entity in self._results()],
            "containerImage": self._image(),
            "resourceUsage": [{"@id": entity} for entity in self._usage()],
        }

    def _values(self) -> list[str]:
        """Add the parameters; return their ids."""
        ids = []
        for value in self.record.values():
            path = f"{value.name}/{value.number}" if value.number > 1 else value.name
            group = "parameters" if value.number else "defaults"
            entity = {
                "@id": f"#{group}/{quote(path, safe='/', errors='replace')}",
                "@type": "PropertyValue",
                "name": value.name,
                "value": value.value,
                "description": None if value.number else "chosen by the service",
            }
            self.others.append(entity)
            ids.append(str(entity["@id"]))
        return ids

    def _file(self, record: InputRecord) -> str:
        """Add an input; return its id."""
        path = input_path(record)
        upload = self.record.upload_of(record)
        part = upload.name if upload is not None else record.parameter
        own = f"{self.url}/parameters/{quote(part, safe='', errors='replace')}"
        if path in self.paths:
            place = path
        elif "://" in record.source:
            place = record.source
        else:
            place = f"#data/{quote(f'{record.parameter}/{record.source}', safe='/:')}" if record.source else own
        name = record.path.rpartition("/")[2] or record.source or record.parameter
        is_file = not place.startswith("#")
        entity = {
            "@id": place,
            "@type": "File" if is_file else "PropertyValue",
            "name": name,
            "description": f"The input of {record.parameter}",
            "contentSize": None if record.size is None else str(record.size),
            "encodingFormat": _media_type(upload) if is_file else None,
            "sdDatePublished": self._seen_at() if is_file and place != path else None,
            "sha256": record.checksums.get("sha256"),
            "identifier": record.source or None,
        }
        if not is_file:
            entity |= {"value": record.source, "contentSize": None}
        self._add(entity, is_file)
        return place

    def _seen_at(self) -> str | None:
        """Return when what is on the web was as the record says."""
        return _time(self.job.ended if self.job.ended is not None else self.job.created)

    def _add(self, entity: Entity, is_file: bool) -> None:
        collection = self.parts if is_file else self.others
        if all(entity["@id"] != present["@id"] for present in collection):
            collection.append(entity)

    def _results(self) -> list[str]:
        """Add the results; return their ids."""
        ids = []
        for result in self.record.results():
            path = result_path(result.id)
            url = self.record.location(result) or f"{self.url}/results/{quote(result.id, safe='', errors='replace')}"
            entity = {
                "@id": path if path in self.paths else url,
                "@type": "File",
                "name": result.id,
                "description": f"The result {result.id}",
                "contentSize": str(result.size),
                "encodingFormat": result.media_type,
                "sha256": result.sha256,
                "url": None if path not in self.paths else url,
                "sdDatePublished": None if path in self.paths else self._seen_at(),
            }
            self._add(entity, True)
            ids.append(str(entity["@id"]))
        return ids

    def _image(self) -> Any:
        versions = self.job.info.versions
        digest, reference = versions.get("digest", ""), versions.get("image", "")
        if not (digest or reference):
            return None
        name = reference or digest
        host, slash, path = name.partition("@")[0].partition("/")
        is_host = bool(slash) and ("." in host or ":" in host or host == "localhost")
        repository, _, tag = (path if is_host else name.partition("@")[0]).partition(":")
        entity = {
            "@id": "#image",
            "@type": "ContainerImage",
            "additionalType": {"@id": _DOCKER_IMAGE},
            "registry": host if is_host else "docker.io",
            "name": repository,
            "tag": tag or "latest",
            "sha256": digest.rpartition("sha256:")[2] or None,
        }
        self.others.append(entity)
        return {"@id": "#image"}

    def _usage(self) -> list[str]:
        """Add what the last attempt used.

        Return the ids.
        """
        if not self.record.attempts:
            return []
        usage = self.record.attempts[-1].usage
        measures: Mapping[str, tuple[float, str]] = {
            "wall": (usage.wall, "s"),
            "cpu": (usage.cpu, "s"),
            "peak_memory": (usage.peak_memory, "bytes"),
        }
        ids = []
        for name, (value, unit) in measures.items():
            if value:
                entity = {
                    "@id": f"#usage/{name}",
                    "@type": "PropertyValue",
                    "propertyID": f"urn:uws-service:usage:{name}",
                    "name": name,
                    "value": str(value),
                    "unitText": unit,
                }
                self.others.append(entity)
                ids.append(str(entity["@id"]))
        return ids


def _media_type(upload: Parameter | None) -> str:
    return (upload.media_type if upload is not None else None) or "application/octet-stream"


def _time(ms: int | None) -> str | None:
    """Return an instant with an offset.

    A Z at the end is reported by validators (P-043).
    """
    if ms is None:
        return None
    return (
        datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000).isoformat(timespec="milliseconds")
    )


def _plain(entity: Entity) -> Entity:
    """Return an entity without empty members, and with no list of one element (P-043)."""
    members = {}
    for name, value in entity.items():
        if value is None or value == []:
            continue
        members[name] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return members
