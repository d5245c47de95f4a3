"""The settings of one service: from the environment (``UWS_…``), one YAML file, and defaults that just work.

What comes first wins: arguments of the command line, then the environment, then the file, then the defaults.
With no settings at all the service runs embedded: SQLite, a local folder, local processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from uws_service.errors import ConfigurationError
from uws_service.settings_auth import Auth


class Limits(BaseModel):
    """What one request, one job or one client may ask for."""

    model_config = ConfigDict(extra="forbid")

    @property
    def text(self) -> int:
        """Bytes of all values together, in a request and in a job: they are in memory at once."""
        return 16 * self.value

    body: int = Field(1024**3, ge=1024, description="Largest request body, in bytes.")
    upload: int = Field(512 * 1024**2, ge=1, description="Largest uploaded file, in bytes.")
    value: int = Field(
        1024**2,
        ge=16,
        description="Largest value of one parameter, in bytes; all of a request or a job: 16 times that.",
    )
    parameters: int = Field(1000, ge=1, description="Most parameters in one job.")
    files: int = Field(50, ge=0, description="Most uploaded files in one job.")
    bulk: int = Field(10_000, ge=1, description="Most jobs that one table makes, whatever an application allows.")
    wait: int = Field(50, ge=1, description="Longest WAIT, in seconds; keep it below every proxy's read timeout.")
    waiters: int = Field(50_000, ge=1, description="Most requests that may block in WAIT at once; more return early.")


class Fetch(BaseModel):
    """What stage-in may fetch when a parameter names a URL."""

    model_config = ConfigDict(extra="forbid")

    allow_private: bool = Field(
        False, description="Let jobs fetch from loopback, private and link-local addresses. Only for closed networks."
    )
    allow_hosts: tuple[str, ...] = Field(
        (), description="Host names that may be fetched from even if their address is private."
    )
    timeout: float = Field(60.0, gt=0, description="Seconds without a byte after which a fetch fails.")


_NAME = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


class Access(BaseModel):
    """Which jobs a site takes; what is empty allows all."""

    model_config = ConfigDict(extra="forbid")

    applications: tuple[str, ...] = Field((), description="Only these applications run here.")
    owners: tuple[str, ...] = Field((), description="Only jobs of these owners run here.")
    groups: tuple[str, ...] = Field((), description="Only jobs of members of these groups run here.")
    cpu: float | None = Field(None, gt=0, description="Most CPUs that one job may ask for.")
    memory: int | None = Field(None, gt=0, description="Most bytes of memory that one job may ask for.")
    gpus: int | None = Field(None, ge=0, description="Most GPUs that one job may ask for.")


class LocalSite(BaseModel):
    """A site that runs jobs as processes on this machine."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("local", pattern=_NAME, description="The site's name.")
    kind: Literal["local"] = Field("local", description="`local`: processes on this machine.")
    slots: int = Field(4, ge=1, description="How many jobs run at once.")
    processes: int = Field(1000, ge=1, description="How many processes one job may have at once.")
    access: Access = Field(default_factory=Access, description="Which jobs the site takes.")


class KubernetesSite(BaseModel):
    """A site that is one namespace of a Kubernetes cluster; each attempt of a job is one `batch/v1` Job there."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=_NAME, description="The site's name.")
    kind: Literal["kubernetes"] = Field(description="`kubernetes`: a namespace of a cluster.")
    kubeconfig: Path | None = Field(
        None,
        description="File that says how to reach the cluster. Unset: the service account of the service's own pod.",
    )
    context: str | None = Field(None, description="Context in the kubeconfig. Unset: its current one.")
    namespace: str = Field(
        "default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Where Jobs are made."
    )
    slots: int = Field(
        100,
        ge=1,
        description="How many Jobs may be there at once, those included that wait in the cluster's own queues.",
    )
    access: Access = Field(default_factory=Access, description="Which jobs the site takes.")
    agent_url: str = Field(
        description="The URL under which the site's pods reach this service; agents bring inputs and results there.",
    )
    agent_ca: str | None = Field(
        None, description="ConfigMap of the namespace whose `ca.crt` verifies `agent_url`, if its CA is a private one."
    )
    agent_image: str = Field(description="Image of the agent: the service's own image.")
    image: str | None = Field(
        None, description="Image for applications that name none, such as those that ship. Unset: the agent's image."
    )
    images: tuple[str, ...] = Field(
        ("*",), description="Patterns (`*`, `?`) of the images that applications may use at this site."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When images are pulled."
    )
    image_pull_secrets: tuple[str, ...] = Field((), description="Secrets of the namespace for private registries.")
    service_account: str = Field("default", description="Service account of the pods; it needs no rights at all.")
    audience: str = Field("uws-service", min_length=1, description="Audience of the tokens that agents show.")
    queue: str | None = Field(None, description="Kueue LocalQueue of the namespace. Unset: Jobs start without Kueue.")
    priority_classes: dict[str, str] = Field(
        {},
        description="PriorityClass (with a queue: WorkloadPriorityClass) by `application:NAME`, `group:NAME` or `*`.",
    )
    node_selector: dict[str, str] = Field({}, description="Labels that a node must have.")
    tolerations: tuple[dict[str, Any], ...] = Field((), description="Tolerations, as in a pod's specification.")
    gpu_resource: str = Field("nvidia.com/gpu", description="Resource that an application's `gpus` ask for.")
    request_disk: bool = Field(
        True,
        description="Ask for ephemeral storage. Off for a queue whose quota does not cover it: Kueue would never admit "
        "such a job. What a job may write is limited all the same.",
    )
    cpu_limit: bool = Field(False, description="Also limit the CPU to what was asked for; memory and disk always are.")
    volumes: tuple[dict[str, Any], ...] = Field(
        (),
        description="More volumes of the pods, such as shared data: a pod's `volumes` entries, each with a "
        "`mountPath`, mounted read-only into the command's container.",
    )
    user: int = Field(65534, ge=1, description="User and group id of the containers.")
    grace: int = Field(
        30, ge=2, le=600, description="Seconds between SIGTERM and SIGKILL for a command that is aborted."
    )
    stage_out: int = Field(
        600,
        ge=10,
        le=86400,
        description="Seconds that an agent has to hand over the results after its command's end, outages of this "
        "service included. It is the pods' `terminationGracePeriodSeconds`: who drains a node or preempts a job "
        "waits as long for a command that does not heed SIGTERM.",
    )
    ttl: int = Field(7 * 86400, ge=60, description="Seconds after which the cluster removes an ended Job by itself.")
    patch: dict[str, Any] = Field(
        {}, description="Merged into every Job last (JSON merge patch), for what else a site wants."
    )
    image_patience: int = Field(
        300, ge=0, description="Seconds that the pull of an image may fail before the job does."
    )
    schedule_patience: int = Field(
        0, ge=0, description="Seconds that a pod may wait for a node before the job fails; 0: for ever."
    )
    unknown_after: int = Field(30, ge=1, description="Seconds without the site after which its jobs are UNKNOWN.")
    lost_after: int = Field(
        6 * 3600,
        ge=1,
        description="Seconds without the site after which its jobs are given up there and tried elsewhere.",
    )
    qps: float = Field(100.0, gt=0, description="Most requests a second to the API server, watches not counted.")


Site = Annotated[LocalSite | KubernetesSite, Field(discriminator="kind")]


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(env_prefix="UWS_", env_nested_delimiter="__", extra="forbid")

    base_url: str | None = Field(
        None,
        description="The public URL of the service's root. Unset: taken from each request (Host header, and the "
        "X-Forwarded headers of trusted proxies).",
    )
    root_path: str = Field("", description="Path under which a proxy serves us, if the proxy strips it.")
    trusted_proxies: tuple[str, ...] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks of proxies whose X-Forwarded-* headers are believed.",
    )
    identity_header: str | None = Field(
        None,
        description="Header in which a trusted proxy names the authenticated user; ignored from anyone else. "
        "Unset: every caller is anonymous.",
    )
    auth: Auth = Field(default_factory=Auth, description="Tokens, access and quotas.")
    data: Path = Field(Path("uws-data"), description="Folder for the embedded database, depot and work folders.")
    database: str | None = Field(
        None, description="`sqlite:////absolute/path.db` or `postgresql://…`. Unset: SQLite in the data folder."
    )
    depot: str | None = Field(
        None,
        description="A folder, or `s3://bucket/prefix?endpoint=…` for results, uploads and logs. Unset: a folder in "
        "the data folder.",
    )
    work: Path | None = Field(None, description="Folder in which local jobs run. Unset: in the data folder.")
    applications: tuple[Path, ...] = Field((), description="YAML files or folders that declare applications.")
    catalogues: Path | None = Field(
        None,
        description="Folder of the tables that TAP applications publish which name no place of their own; "
        "`uws-service catalogue` fills it. Unset: in the data folder.",
    )
    query_processes: int = Field(
        2,
        ge=1,
        le=64,
        description="Most warm processes for synchronous queries, for each TAP application and each process that "
        "answers requests.",
    )
    builtin_applications: bool = Field(True, description="Offer the applications that ship with the service.")
    sites: tuple[Site, ...] = Field((LocalSite(),), min_length=1, description="Where jobs run.")
    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may call the service from a browser; none by default."
    )
    limits: Limits = Field(default_factory=Limits, description="Limits of requests.")
    fetch: Fetch = Field(default_factory=Fetch, description="What jobs may fetch from the network.")
    auto_migrate: bool | None = Field(
        None, description="Bring the database's schema up to date at start. Unset: only for SQLite."
    )
    controller: bool = Field(True, description="Run the sites' controllers in this process.")
    reap_interval: float = Field(5.0, gt=0, description="Seconds between two looks for jobs whose time is over.")
    orphan_interval: float = Field(3600.0, gt=0, description="Seconds between two searches for orphans in the depot.")
    orphan_age: float = Field(
        3600.0,
        ge=0,
        description="Seconds that an object of no job must be old to be removed; the same in all processes.",
    )
    event_retention: int = Field(90 * 86400, ge=0, description="Seconds for which the history of jobs is kept.")
    log_format: Literal["json", "text"] = Field("text", description="Form of the log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("root_path")
    @classmethod
    def _root_path(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("must begin with /")
        return value.rstrip("/")

    @field_validator("sites", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        """A site of no kind is a local one."""
        if not isinstance(value, list | tuple):
            return value
        return [{"kind": "local", **one} if isinstance(one, dict) else one for one in value]

    @field_validator("sites")
    @classmethod
    def _sites(cls, value: tuple[Site, ...]) -> tuple[Site, ...]:
        names = [site.name for site in value]
        if len(set(names)) != len(names):
            raise ValueError("two sites have the same name")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, then the YAML file that `load` read."""
        return (init_settings, env_settings, _FileSource(settings_cls))

    @classmethod
    def load(cls, config: Path | None = None, **overrides: Any) -> Settings:
        """Read the file and the environment.

        Raises
        ------
        ConfigurationError
            Names the file or variable, the field, what was given and what is allowed.
        """
        _FileSource.values = _read(config) if config is not None else {}
        given = {key: value for key, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            where = str(config) if config is not None else "settings"
            lines = [
                f"{where}: {'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                + (f" (given: {problem['input']!r})" if _may_be_shown(problem) else "")
                for problem in error.errors()
            ]
            raise ConfigurationError("\n".join(lines)) from None
        finally:
            _FileSource.values = {}

    @property
    def database_url(self) -> str:
        """The database; SQLite in the data folder when none is named."""
        return self.database or f"sqlite:///{self.data.absolute() / 'uws.db'}"

    @property
    def depot_url(self) -> str:
        """The depot; a folder in the data folder when none is named."""
        return self.depot or str(self.data.absolute() / "depot")

    @property
    def work_folder(self) -> Path:
        """Where local jobs run."""
        return (self.work or self.data / "work").absolute()

    @property
    def catalogue_folder(self) -> Path:
        """The tables of TAP applications that name no place."""
        return (self.catalogues or self.data / "catalogues").absolute()

    @property
    def migrate_at_start(self) -> bool:
        """Whether `serve` brings the schema up to date by itself."""
        if self.auto_migrate is not None:
            return self.auto_migrate
        return self.database_url.startswith("sqlite")


def _may_be_shown(problem: Any) -> bool:
    """Whether a wrong value can be repeated in the message: whole sections may hold secrets."""
    secret = any(word in str(part) for part in problem["loc"] for word in ("secret", "key"))
    return problem["type"] != "extra_forbidden" and not secret and not isinstance(problem["input"], dict | list | tuple)


class _FileSource(PydanticBaseSettingsSource):
    """The values of the YAML file; paths in it are relative to the file's folder."""

    values: dict[str, Any] = {}  # noqa: RUF012 -- set by Settings.load for the length of one call

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self.values)


def _read(config: Path) -> dict[str, Any]:
    """The mapping in a YAML file, its relative paths made absolute."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{config}: {error.strerror or error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigurationError(f"{config}{line}: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{config}:1: must be a mapping of setting names to values")
    for name in ("data", "work", "catalogues"):
        if isinstance(content.get(name), str):
            content[name] = str(config.parent / content[name])
    for site in content["sites"] if isinstance(content.get("sites"), list) else ():
        if isinstance(site, dict) and isinstance(site.get("kubeconfig"), str):
            site["kubeconfig"] = str(config.parent / site["kubeconfig"])
    if isinstance(content.get("applications"), list):
        content["applications"] = [str(config.parent / str(path)) for path in content["applications"]]
    return content
