"""A job as a provenance graph (IVOA ProvDM 1.0 §2; P-003, P-010…P-013).

A job is an Activity, its application the ActivityDescription, its parameters are Parameters, its files Entities. The
classes that W3C PROV does not have are entities with a type of IVOA's (P-021).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple
from urllib.parse import unquote

from uws_service.applications import Application
from uws_service.applications.model import ParameterSpec
from uws_service.domain.job import Phase
from uws_service.domain.record import InputRecord, ResultRecord
from uws_service.protocol.provenance.graph import Graph, Name, Node, Pairs, Time, Uri, Value, attributes, local
from uws_service.protocol.provenance.internal import FILE, NotProvenance, internal_bundle
from uws_service.protocol.provenance.record import JobRecord, OwnResult, ParameterValue, own_result

_DESCRIBES = (("prov:type", Name("voprov", "DescriptionRelation")),)
_CONFIGURES = (
    ("prov:type", Name("voprov", "ConfigurationRelation")),
    ("voprov:artefactType", "Parameter"),
)
SOFTWARE = Name("software", "uws-service")


class Detail(NamedTuple):
    """How much a document says, by the parameters of OPUS (P-030)."""

    agents: bool = True
    members: bool = True
    descriptions: int = 2
    """0: none; 1: the application; 2: its parameters, inputs and results too."""
    configuration: bool = True


def add_job(graph: Graph, record: JobRecord, detail: Detail = Detail()) -> Name:  # noqa: B008 -- a tuple
    """Add a job with all that belongs to it; return its name."""
    return _JobGraph(graph, record, detail).add()


def add_internal(graph: Graph, record: JobRecord, result_id: str, content: bytes) -> None:
    """Add what the job's own code says of its provenance as the bundle that one of its results is (P-014).

    One that can't be read is a warning of the job's activity, never an error.
    """
    job = job_name(record.job.application, record.job.id)
    name = Name("service", f"{job.local}/results/{local(result_id)}")
    try:
        graph.bundles[name] = internal_bundle(content)
    except NotProvenance as error:
        key, warning = ("activity", job), f"{FILE} of the job is left out: {error}"
        activity = graph.nodes[key]  # type: ignore[index]
        pairs: Pairs = [*activity.attributes, ("uws:warning", warning)]
        graph.nodes[key] = replace(activity, attributes=attributes(pairs))  # type: ignore[index]
        return
    entity = graph.nodes["entity", name]
    graph.nodes["entity", name] = replace(
        entity, attributes=attributes([*entity.attributes, ("prov:type", Name("prov", "Bundle"))])
    )


def job_name(application: str, job_id: str) -> Name:
    """Return the name of a job, which is its URL."""
    return Name("service", f"{local(application)}/async/{local(job_id)}")


def result_name(result: OwnResult) -> Name:
    """Return the name of a result, which is its URL."""
    job = job_name(result.application, result.job_id)
    return Name("service", f"{job.local}/results/{local(unquote(result.result))}")


class _JobGraph:
    """Adds one job to a graph."""

    def __init__(self, graph: Graph, record: JobRecord, detail: Detail) -> None:
        self.graph = graph
        self.record = record
        self.detail = detail
        self.job = record.job
        self.name = job_name(self.job.application, self.job.id)
        self.application = Name("service", local(self.job.application))
        self.descriptor = record.descriptor if detail.descriptions > 1 else None
        self.owner: Name | None = None

    def add(self) -> Name:
        """Add it all."""
        self._activity()
        if self.detail.descriptions:
            self._describe_application()
        if self.detail.agents:
            self._agents()
        if self.detail.configuration:
            for value in self.record.values():
                self._parameter(value)
        self._image()
        sources = self._inputs()
        for result in self.record.results():
            self._result(result, sources)
        self._logs()
        original = self.job.info.original
        if original is not None:
            before = self._stub(job_name(self.job.application, original.job_id))
            self.graph.relate("wasInfluencedBy", self.name, before, [("prov:type", Name("uws", "Repetition"))])
        return self.name

    def _child(self, path: str) -> Name:
        return Name("service", f"{self.name.local}/{path}")

    def _stub(self, name: Name) -> Name:
        """Add an activity that is described elsewhere."""
        return self.graph.add(Node("activity", name))

    def _activity(self) -> None:
        info, (reason, message) = self.job.info, self.record.failure()
        pairs: Pairs = [
            ("prov:type", Name("voprov", "Activity")),
            ("prov:label", f"{self.job.application} {self.job.id}"),
            ("voprov:name", self.job.application),
            ("voprov:comment", self.record.comment()),
            ("uws:phase", self.job.phase.value),
            ("uws:runId", self.job.run_id),
            ("uws:created", Time(self.job.created)),
            ("uws:site", info.site),
            ("uws:attempt", info.attempt),
            ("uws:errorReason", reason),
            ("uws:errorMessage", message),
        ]
        pairs += [(f"uws:{key}Version", info.versions.get(key)) for key in ("service", "application")]
        ended = self.job.ended
        self.graph.add(Node("activity", self.name, attributes(pairs), self.job.started, ended))

    # --- descriptions ---------------------------------------------------------------------------------------------

    def _describe_application(self) -> None:
        application = self.record.descriptor
        version = self.job.info.versions.get("application") or (application.version if application else None)
        pairs: Pairs = [
            ("prov:type", Name("prov", "Plan")),
            ("prov:type", Name("voprov", "ActivityDescription")),
            ("voprov:name", self.job.application),
            ("voprov:version", version),
            ("voprov:docurl", Uri(f"{self.graph.base}/{self.job.application}")),
        ]
        if application is not None:
            pairs += [("prov:label", application.title), ("voprov:description", application.description)]
        self.graph.add(Node("entity", self.application, attributes(pairs)))
        self.graph.relate("wasInfluencedBy", self.name, self.application, _DESCRIBES)

    def _description(self, kind: str, name: str, pairs: Pairs) -> Name:
        """Add a part of the application's description."""
        described = Name("service", f"{self.application.local}#{kind}/{local(name)}")
        self.graph.add(Node("entity", described, attributes(pairs)))
        related: Pairs = [("prov:type", Name("voprov", "RelatedToRelation"))]
        self.graph.relate("wasInfluencedBy", described, self.application, related)
        return described

    def _describe_parameter(self, spec: ParameterSpec) -> Name:
        return self._description(
            "parameter",
            spec.name,
            [
                ("prov:type", Name("voprov", "ParameterDescription")),
                ("voprov:name", spec.name),
                ("voprov:valueType", spec.datatype),
                ("voprov:arraysize", spec.arraysize),
                ("voprov:xtype", spec.xtype),
                ("voprov:unit", spec.unit),
                ("voprov:ucd", spec.ucd),
                ("voprov:utype", spec.utype),
                ("voprov:min", None if spec.minimum is None else f"{spec.minimum:g}"),
                ("voprov:max", None if spec.maximum is None else f"{spec.maximum:g}"),
                ("voprov:default", None if spec.secret else spec.default),
                ("voprov:options", " ".join(spec.options)),
                ("voprov:description", spec.description),
            ],
        )

    def _describe_role(self, kind: str, role: str, of_type: str, description: str) -> Name:
        """Describe a usage or a generation; its role is that of the relation (P-001)."""
        return self._description(
            "usage" if kind == "UsageDescription" else "generation",
            role,
            [
                ("prov:type", Name("voprov", kind)),
                ("voprov:role", role),
                ("voprov:type", of_type),
                ("voprov:description", description),
            ],
        )

    # --- agents ---------------------------------------------------------------------------------------------------

    def _agents(self) -> None:
        plan = self.application if self.detail.descriptions else None
        version = self.job.info.versions.get("service")
        software: Pairs = [("prov:type", Name("prov", "SoftwareAgent")), ("prov:label", "uws-service")]
        self._associate(Node("agent", SOFTWARE, attributes([*software, ("voprov:name", "uws-service")])), "Operator")
        if version:
            self.graph.relate("wasInfluencedBy", self.name, SOFTWARE, [("uws:version", version)])
        if self.job.owner:
            person = Node(
                "agent",
                Name("user", local(self.job.owner)),
                attributes([("prov:type", Name("prov", "Person")), ("voprov:name", self.job.owner)]),
            )
            self.owner = person.name
            self._associate(person, "Creator", plan)
        site = self.job.info.site
        if site:
            pairs: Pairs = [("prov:type", Name("prov", "Organization")), ("voprov:name", site)]
            self._associate(Node("agent", Name("site", local(site)), attributes(pairs)), "Provider")

    def _associate(self, agent: Node, role: str, plan: Name | None = None) -> None:
        self.graph.add(agent)
        self.graph.relate("wasAssociatedWith", self.name, agent.name, [("prov:role", role)], plan=plan)

    # --- what it used ---------------------------------------------------------------------------------------------

    def _parameter(self, value: ParameterValue) -> None:
        number = f"/{value.number}" if value.number > 1 else ""
        pairs: Pairs = [
            ("prov:type", Name("voprov", "Parameter")),
            ("prov:value", value.value),
            ("voprov:name", value.name),
            ("voprov:value", value.value),
            ("uws:source", "service" if value.number == 0 else None),
        ]
        path = "parameters" if value.number else "defaults"
        name = self._child(f"{path}/{local(value.name)}{number}")
        self.graph.add(Node("entity", name, attributes(pairs)))
        self.graph.relate("wasInfluencedBy", self.name, name, _CONFIGURES)
        spec = self.descriptor.parameter(value.name) if self.descriptor is not None else None
        if spec is not None:
            self.graph.relate("wasInfluencedBy", name, self._describe_parameter(spec), _DESCRIBES)

    def _image(self) -> None:
        versions = self.job.info.versions
        digest = versions.get("digest", "")
        reference = self.job.info.image or versions.get("image", "")
        if not (reference or digest):
            return
        pairs: Pairs = [
            ("prov:type", Name("voprov", "Entity")),
            ("voprov:name", versions.get("image") or reference),
            ("uws:kind", "container image"),
            ("uws:digest", digest.rpartition("@")[2]),
            ("uws:reference", self.job.info.image),
        ]
        pinned = reference if "@" in reference else f"{reference}@{digest}" if digest else reference
        name = Name("image", local(pinned.strip("@").replace("@", "/").replace("sha256:", "sha256-")))
        self.graph.add(Node("entity", name, attributes(pairs)))
        self._use(name, "software", "Context")

    def _use(self, entity: Name, role: str, of_type: str) -> None:
        pairs: Pairs = [("prov:role", role), ("prov:type", Name("voprov", "Usage")), ("voprov:type", of_type)]
        self.graph.relate("used", self.name, entity, pairs, time=self.job.started)

    def _inputs(self) -> list[Name]:
        """Add the files and data sets; return their names."""
        names = []
        sets: dict[tuple[str, str], list[InputRecord]] = {}
        for record in self.record.inputs():
            if record.is_data and record.path:
                sets.setdefault((record.parameter, record.source), []).append(record)
                continue
            names.append(self._input(record, self._source_name(record)))
        for (parameter, source), files in sets.items():
            names.append(self._data_set(parameter, source, files))
        return names

    def _source_name(self, record: InputRecord) -> Name:
        """Return the name of an input: its URL or identifier, or else its place below the job."""
        result = own_result(record.source, self.graph.base)
        if result is not None:
            before = self._stub(job_name(result.application, result.job_id))
            self.graph.relate("wasInformedBy", self.name, before)
            return result_name(result)
        name = self.graph.foreign(record.source) if record.source else None
        path = record.path or (f"data/{record.parameter}/{record.source}" if record.is_data else record.parameter)
        return name or self._child(f"inputs/{local(path)}")

    def _input(self, record: InputRecord, name: Name) -> Name:
        pairs = _file_pairs(record)
        upload = self.record.upload_of(record)
        if upload is not None:
            location = f"{self.graph.base}/{self.name.local}/parameters/{local(upload.name)}"
            pairs += [("prov:location", Uri(location)), ("voprov:location", location)]
            pairs.append(("voprov:contentType", upload.media_type))
        self.graph.add(Node("entity", name, attributes(pairs)))
        spec = self.record.spec(record.parameter)
        role = spec.name if spec is not None else "UPLOAD"
        self._use(name, role, "Main")
        self._describe_usage(role, spec)
        return name

    def _describe_usage(self, role: str, spec: ParameterSpec | None) -> None:
        if self.descriptor is not None:
            uploads = self.descriptor.uploads
            words = spec.description if spec is not None else uploads.description if uploads is not None else ""
            self._describe_role("UsageDescription", role, "Main", words)

    def _data_set(self, parameter: str, source: str, files: list[InputRecord]) -> Name:
        """Add a data set as a collection of its files, or as its only file."""
        if len(files) == 1:
            return self._input(files[0], self._source_name(files[0]))
        collection = InputRecord(parameter, "", source, is_data=True)
        name = self._source_name(collection)
        pairs = [*_file_pairs(collection), ("prov:type", Name("prov", "Collection"))]
        self.graph.add(Node("entity", name, attributes(pairs)))
        spec = self.record.spec(parameter)
        self._use(name, spec.name if spec is not None else parameter, "Main")
        self._describe_usage(spec.name if spec is not None else parameter, spec)
        for file in files if self.detail.members else ():
            member = self._child(f"inputs/{local(f'data/{parameter}/{source}/{file.path}')}")
            self.graph.add(Node("entity", member, attributes(_file_pairs(file))))
            self.graph.relate("hadMember", name, member)
        return name

    # --- what it made ---------------------------------------------------------------------------------------------

    def _result(self, result: ResultRecord, sources: list[Name]) -> None:
        name = self._child(f"results/{local(result.id)}")
        location = self.record.location(result) or f"{self.graph.base}/{name.local}"
        info = self.job.info
        pairs: Pairs = [
            ("prov:type", Name("voprov", "DatasetEntity")),
            ("prov:location", Uri(location)),
            ("voprov:name", result.id),
            ("voprov:location", location),
            ("voprov:contentType", result.media_type),
            ("voprov:generatedAtTime", Time(self.job.ended) if self.job.ended is not None else None),
            ("voprov:invalidatedAtTime", Time(info.archived) if info.archived is not None else None),
            ("uws:size", result.size),
            ("uws:sha256", result.sha256),
        ]
        self.graph.add(Node("entity", name, attributes(pairs)))
        self._generated(name, result.id, "Main")
        if self.owner is not None:
            self.graph.relate("wasAttributedTo", name, self.owner, [("prov:role", "Creator")])
        for source in sources:
            self.graph.relate("wasDerivedFrom", name, source)

    def _generated(self, name: Name, result_id: str, of_type: str) -> None:
        application: Application | None = self.record.descriptor
        spec = application.result(result_id) if application is not None else None
        role = spec.id if spec is not None else result_id
        pairs: Pairs = [("prov:role", role), ("prov:type", Name("voprov", "Generation")), ("voprov:type", of_type)]
        self.graph.relate("wasGeneratedBy", name, self.name, pairs, time=self.job.ended)
        if self.descriptor is not None and spec is not None:
            self._describe_role("GenerationDescription", role, of_type, f"{spec.path} ({spec.media_type})")

    def _logs(self) -> None:
        if self.job.phase is Phase.ARCHIVED:
            return
        for log in self.job.info.logs:
            name = self._child(f"logs/{local(log.id)}")
            location = f"{self.graph.base}/{name.local}"
            pairs: Pairs = [
                ("prov:type", Name("voprov", "Entity")),
                ("prov:location", Uri(location)),
                ("voprov:name", log.id),
                ("voprov:location", location),
                ("uws:size", log.size),
            ]
            self.graph.add(Node("entity", name, attributes(pairs)))
            self._generated(name, log.id, "Log")


def _file_pairs(record: InputRecord) -> Pairs:
    """Return what is told of an input."""
    place: Pairs = []
    if record.source:
        uri: Value = Uri(record.source) if "://" in record.source else record.source
        place = [("prov:location", uri), ("voprov:location", record.source)]
    return [
        ("prov:type", Name("voprov", "DatasetEntity")),
        *place,
        ("voprov:name", record.path.rpartition("/")[2] or record.source or record.parameter),
        ("uws:parameter", record.parameter),
        ("uws:size", record.size),
        *((f"uws:{kind}", digits) for kind, digits in sorted(record.checksums.items())),
    ]
