"""The settings of a service: environment (``UWS_…``), YAML file, defaults.

What comes first wins: arguments of the command line, then the environment, then the file, then the defaults.
With no settings at all the service runs embedded: SQLite, a local folder, local processes.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from uws_service import settings_checks, settings_messages
from uws_service.accounting.settings import Accounting
from uws_service.auth.settings import Auth
from uws_service.containers import Containers
from uws_service.data.catalogues import KINDS as CATALOGUE_KINDS
from uws_service.data.catalogues import Datasets
from uws_service.data.settings import SiteCapabilities
from uws_service.domain.errors import ConfigurationError
from uws_service.placement.settings import Placement
from uws_service.service.limits import Limits
from uws_service.service.notification_settings import NotificationSettings
from uws_service.service.presentation import Presentation
from uws_service.service.publishing import Publishing
from uws_service.sites.kinds import KINDS
from uws_service.sites.local.settings import LocalSite
from uws_service.sites.settings import Fetch, SiteSettings
from uws_service.units import FractionalSeconds, Seconds
from uws_service.viewer.settings import ViewerSettings

if TYPE_CHECKING:
    Site = SiteSettings
else:  # the union of the settings of all kinds, those of other packages too
    Site = Annotated[Union[tuple(kind.settings for kind in KINDS.values())], Field(discriminator="kind")]  # noqa: UP007


class Settings(BaseSettings):
    """All settings of the service."""

    model_config = SettingsConfigDict(env_prefix="UWS_", env_nested_delimiter="__", extra="forbid")

    base_url: str | None = Field(
        None,
        description="The public URL of the service's root. Unset: taken from each request (Host header, and the "
        "X-Forwarded headers of trusted proxies).",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names by which the service may be called at a loopback address, such as those that a proxy on "
        "this machine passes on, beside `localhost`, this machine's name and that of `base_url`; `*`: any.",
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
    viewers: ViewerSettings = Field(default_factory=ViewerSettings, description="Looking into results on pages.")
    builtin_applications: bool | tuple[str, ...] = Field(
        True,
        description="Offer the applications that ship with the service: `true`, `false`, or a list of their names. "
        "With `true`, `sleep` is left out where `base_url` says that the service is public: it is for trials.",
    )
    presentation: Presentation = Field(
        default_factory=Presentation,
        description="What the service says of itself: title, contact, banner, terms, logo.",
    )
    containers: Containers | None = Field(
        None, description="Applications in which a job names its own container image. Unset: there are none."
    )
    srcnet_broker: str | None = Field(
        None,
        description="The application, such as `container`, that SRCNet's client of a computing broker drives at "
        "`/v1/jobs`. Unset: there is nothing at those paths.",
    )
    sites: tuple[Site, ...] = Field((LocalSite(),), min_length=1, description="Where jobs run.")
    public_network: bool = Field(
        False,
        description="Whether everybody may read the page `/network`: sites, what waits and runs there, failures. "
        "False: administrators alone.",
    )
    placement: Placement = Field(default_factory=Placement, description="How the site of a job is chosen.")
    accounting: Accounting = Field(
        default_factory=Accounting, description="Accounts: identities, prices, budgets, publication, retention."
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Origins whose pages may call the service from a browser; none by default. `*`: any, but for "
        "callers whom their address or a proxy lets in; their jobs are made from the service's own pages.",
    )
    limits: Limits = Field(default_factory=Limits, description="Limits of requests.")
    site_capabilities: SiteCapabilities | None = Field(
        None,
        description="SRCNet's Site Capabilities API, which is asked for down times and storage areas of the sites "
        "whose `facts` name their compute element there.",
    )
    notifications: NotificationSettings = Field(
        default_factory=NotificationSettings, description="How callers learn of events."
    )
    datasets: Datasets = Field(default_factory=Datasets, description="Data sets as inputs of jobs.")
    provenance: Publishing = Field(default_factory=Publishing, description="Provenance and crates of jobs.")
    fetch: Fetch = Field(default_factory=Fetch, description="What jobs may fetch from the network.")
    auto_migrate: bool | None = Field(
        None, description="Bring the database's schema up to date at start. Unset: only for SQLite."
    )
    controller: bool = Field(True, description="Run the sites' controllers in this process.")
    reap_interval: FractionalSeconds = Field(
        5.0, gt=0, description="Seconds between two looks for jobs whose time is over."
    )
    orphan_interval: FractionalSeconds = Field(
        3600.0, gt=0, description="Seconds between two searches for orphans in the depot."
    )
    orphan_age: FractionalSeconds = Field(
        3600.0,
        ge=0,
        description="Seconds that an object of no job must be old to be removed; the same in all processes.",
    )
    event_retention: Seconds = Field(90 * 86400, ge=0, description="Seconds for which the history of jobs is kept.")
    log_format: Literal["json", "text"] = Field("text", description="Form of the log lines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    @field_validator("base_url")
    @classmethod
    def _base_url(cls, value: str | None) -> str | None:
        return settings_checks.check_public_url(value) if value is not None else None

    @field_validator("database")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        return settings_checks.check_database(value) if value else None

    @field_validator("depot")
    @classmethod
    def _depot(cls, value: str | None) -> str | None:
        return settings_checks.check_depot(value) if value else None

    @field_validator("trusted_proxies")
    @classmethod
    def _trusted_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return settings_checks.check_networks(value)

    @field_validator("hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return settings_checks.check_hosts(value)

    @field_validator("cors_origins")
    @classmethod
    def _cors_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return settings_checks.check_origins(value)

    @field_validator("identity_header")
    @classmethod
    def _identity_header(cls, value: str | None) -> str | None:
        return settings_checks.check_header_name(value)

    @field_validator("root_path")
    @classmethod
    def _root_path(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("must begin with /")
        return value.rstrip("/")

    @field_validator("sites", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        """Make sites without a kind local."""
        if not isinstance(value, list | tuple):
            return value
        return [{"kind": "local", **site} if isinstance(site, dict) else site for site in value]

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
        """Return arguments, environment, then the YAML file of `load`."""
        return (init_settings, env_settings, _FileSource(settings_cls))

    @classmethod
    def load(cls, config: Path | None = None, **overrides: Any) -> Settings:
        """Read the file and the environment.

        Raises
        ------
        ConfigurationError
            Names the file or variable, the field, what was given and what is allowed.
        """
        _FileSource.values, document = _read(config) if config is not None else ({}, None)
        arguments = {key: value for key, value in overrides.items() if value is not None}
        environment = {name.upper(): value for name, value in os.environ.items()}
        origin = settings_messages.Origin(config, document, environment, arguments.keys())
        if problems := settings_messages.unknown_variables(environment, cls):
            raise ConfigurationError("\n".join(problems))
        try:
            return cls(**arguments)
        except ValidationError as error:
            raise ConfigurationError(settings_messages.describe(error, cls, origin)) from None
        except SettingsError as error:
            raise ConfigurationError(settings_messages.unreadable_variable(error, environment)) from None
        finally:
            _FileSource.values = {}

    @property
    def database_url(self) -> str:
        """Return the database, by default SQLite."""
        return self.database or f"sqlite:///{self.data.absolute() / 'uws.db'}"

    @property
    def depot_url(self) -> str:
        """Return the depot, by default a folder."""
        return self.depot or str(self.data.absolute() / "depot")

    @property
    def work_folder(self) -> Path:
        """Return the folder in which local jobs run."""
        return (self.work or self.data / "work").absolute()

    @property
    def catalogue_folder(self) -> Path:
        """Return the folder of tables that have no place of their own."""
        return (self.catalogues or self.data / "catalogues").absolute()

    @property
    def is_public(self) -> bool:
        """Return whether ``base_url`` names a place that others reach: no private address, and not this machine."""
        host = (urlsplit(self.base_url).hostname or "") if self.base_url else ""
        try:
            return not ipaddress.ip_address(host).is_private
        except ValueError:
            return host not in ("", "localhost")

    @property
    def migrate_at_start(self) -> bool:
        """Return whether `serve` migrates the database."""
        if self.auto_migrate is not None:
            return self.auto_migrate
        return self.database_url.startswith("sqlite")


class _FileSource(PydanticBaseSettingsSource):
    """The values of the YAML file."""

    values: dict[str, Any] = {}  # noqa: RUF012 -- set by Settings.load for the length of one call

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(self.values)


def make_absolute(section: Any, model: Any, folder: Path) -> None:
    """Make the paths of a settings group absolute, those of the groups in its lists too."""
    for name, field in model.model_fields.items() if isinstance(section, dict) else ():
        value = section.get(name)
        if isinstance(value, str) and field.annotation in (Path, Path | None):
            section[name] = str(folder / value)
        elif isinstance(value, list) and (members := get_args(field.annotation)):
            for item in value if hasattr(members[0], "model_fields") else ():
                make_absolute(item, members[0], folder)


def _make_accounting_absolute(content: dict[str, Any], folder: Path) -> None:
    """Make the paths in the sections ``accounting`` absolute."""
    sites = content.get("sites")
    owners = [(content, "publish", "folder")]
    owners += [(site, "carbon", "file") for site in (sites if isinstance(sites, list) else ())]
    for owner, group, name in owners:
        accounting = owner.get("accounting") if isinstance(owner, dict) else None
        section = accounting.get(group) if isinstance(accounting, dict) else None
        if isinstance(section, dict) and isinstance(section.get(name), str):
            section[name] = str(folder / section[name])


def _read(config: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """Return the mapping in a YAML file, and its nodes.

    Relative paths are relative to the file's folder; they become absolute.
    """
    try:
        text = config.read_text(encoding="utf-8")
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigurationError(f"{config}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{config}: must be UTF-8: {error.reason} at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        raise ConfigurationError(f"{config}{line}: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        return {}, None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{config}:1: must be a mapping of setting names to values")
    if repeated := [
        f"{config}:{settings_messages.line_of(document, path)}: {settings_messages.field_name(path)}: is there twice"
        for path in settings_messages.repeated_fields(document)
    ]:
        raise ConfigurationError("\n".join(repeated))
    make_absolute(content.get("presentation"), Presentation, config.parent)
    for name in ("data", "work", "catalogues"):
        if isinstance(content.get(name), str):
            content[name] = str(config.parent / content[name])
    datasets = content.get("datasets")
    catalogues = datasets.get("catalogues") if isinstance(datasets, dict) else None
    for sections, kinds, usual in ((content.get("sites"), KINDS, "local"), (catalogues, CATALOGUE_KINDS, "")):
        for section in sections if isinstance(sections, list) else ():
            kind = kinds.get(str(section.get("kind", usual))) if isinstance(section, dict) else None
            if kind is not None:
                make_absolute(section, kind.settings, config.parent)
    _make_accounting_absolute(content, config.parent)
    if isinstance(content.get("applications"), list):
        content["applications"] = [str(config.parent / str(path)) for path in content["applications"]]
    return content, document
