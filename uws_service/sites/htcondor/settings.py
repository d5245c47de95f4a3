"""The settings of a site that is an HTCondor pool."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from uws_service.sites.batch.settings import BatchSite
from uws_service.units import Seconds

OURS = frozenset(
    """
    universe executable arguments transfer_executable transfer_input_files transfer_output_files
    should_transfer_files when_to_transfer_output output error log initialdir requirements leave_in_queue
    accounting_group hold queue accounting_group_user job_lease_duration kill_sig environment getenv
    my.uwsattempt my.uwsinstance
    """.split()
)
"""Commands of a submit description that the service itself gives."""


class HTCondorSite(BatchSite):
    """A site that is an HTCondor pool.

    Each attempt of a job is one job of the vanilla universe there.
    """

    kind: Literal["htcondor"] = Field(description="`htcondor`: an HTCondor pool.")
    collector: str = Field(
        description="Host and port of the pool's collector, such as `cm.example.org:9618`. With SciTokens it must be a "
        "name that is in its certificate."
    )
    schedd: str = Field(
        "", description="Name of the schedd that jobs are handed to, such as `submit.example.org`. Unset: the only one."
    )
    tokens: Path | None = Field(
        None,
        description="Folder with IDTOKENS of the pool, as `condor_token_create` makes them, mode 0600 each: it is read "
        "again at each connection, so a token is renewed by replacing its file.",
    )
    scitoken: Path | None = Field(
        None,
        description="File with a SciToken or WLCG token, read again at each connection. It needs `ca`, or a CA of "
        "the system.",
    )
    ca: Path | None = Field(None, description="File with the CA certificates of the pool's daemons.")
    accounting_group: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*)?$",
        description="The pool's accounting group for the service's jobs; within it the pool shares fairly between "
        "their owners. Unset: all count as the token's user.",
    )
    requirements: str = Field(
        "",
        description='What machines must have, as a ClassAd expression, such as `HasSingularity && Arch == "X86_64"`.',
    )
    submit: dict[str, str] = Field(
        {}, description="More commands of the submit description, such as `+ProjectName: '\"SRC\"'`."
    )
    configuration: dict[str, str] = Field(
        {},
        description="More of HTCondor's own settings for the connection, such as `SEC_DEFAULT_ENCRYPTION: REQUIRED`.",
    )
    lease: Seconds = Field(
        300,
        ge=10,
        description="Seconds without its shadow after which a machine ends a job, and after which the pool counts one "
        "as lost whose machine does not answer (`job_lease_duration`).",
    )
    vacate: Seconds = Field(
        600,
        ge=10,
        description="Seconds from SIGTERM to SIGKILL for the agent, which ends the command and hands results over "
        "meanwhile; the machines of a pool may allow less.",
    )

    @field_validator("collector")
    @classmethod
    def _collector(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?", value):
            raise ValueError("must be HOST or HOST:PORT, such as cm.example.org:9618")
        return value

    @field_validator("requirements")
    @classmethod
    def _requirements(cls, value: str) -> str:
        if value.count("(") != value.count(")") or value.count('"') % 2 or "\n" in value:
            raise ValueError("must be one ClassAd expression; its brackets or quotes do not match")
        return value.strip()

    @field_validator("submit")
    @classmethod
    def _submit(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"(\+|[Mm][Yy]\.)?[A-Za-z_][A-Za-z0-9_]*", name) or "\n" in text:
                raise ValueError(f"{name!r} is no command of a submit description on one line")
            if name.lower().replace("+", "my.") in OURS:
                raise ValueError(f"{name!r} is given by the service itself")
        return value

    @field_validator("configuration")
    @classmethod
    def _configuration(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name) or "\n" in text:
                raise ValueError(f"{name!r} is no setting of HTCondor on one line")
        return value

    @model_validator(mode="after")
    def _identity(self) -> HTCondorSite:
        if (
            self.tokens is None
            and self.scitoken is None
            and "SEC_CLIENT_AUTHENTICATION_METHODS" not in self.configuration
        ):
            raise ValueError("one of `tokens` and `scitoken` must be set: the pool must know who submits")
        return self

    @property
    def methods(self) -> str:
        """Return the ways to authenticate, the first that works is taken."""
        pairs = ((self.scitoken, "SCITOKENS"), (self.tokens, "IDTOKENS"))
        return ", ".join(method for path, method in pairs if path is not None)

    def library_configuration(self) -> dict[str, str]:
        """Return HTCondor's own settings for the connection.

        Authenticated, encrypted, and nothing of the machine's.
        """
        values = {
            "COLLECTOR_HOST": self.collector,
            "SEC_CLIENT_AUTHENTICATION_METHODS": self.methods,
            "SEC_DEFAULT_AUTHENTICATION": "REQUIRED",
            "SEC_DEFAULT_ENCRYPTION": "REQUIRED",
            "SEC_DEFAULT_INTEGRITY": "REQUIRED",
            "ENABLE_KERNEL_TUNING": "False",
            "LOCAL_CONFIG_DIR": "",
        }
        if self.tokens is not None:
            values["SEC_TOKEN_DIRECTORY"] = str(self.tokens.absolute())
        if self.scitoken is not None:
            values["SCITOKENS_FILE"] = str(self.scitoken.absolute())
        if self.ca is not None:
            values["AUTH_SSL_CLIENT_CAFILE"] = str(self.ca.absolute())
        return values | self.configuration

    def problem(self) -> str:
        """Return why this machine can't use the site.

        Empty if it can.
        """
        if importlib.util.find_spec("htcondor2") is None:
            return "HTCondor's Python binding is not installed: pip install 'uws-service[htcondor]'"
        if self.tokens is not None:
            return _tokens_problem(self.tokens)
        if self.scitoken is not None and not self.scitoken.is_file():
            return f"scitoken: there is no file {self.scitoken}"
        return ""


def _tokens_problem(folder: Path) -> str:
    """Return what is wrong with a folder of tokens: the library itself only says that it can't authenticate."""
    if not folder.is_dir():
        return f"tokens: there is no folder {folder}"
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    if not files:
        return f"tokens: the folder {folder} has no token"
    for path in files:
        if path.stat().st_mode & 0o077:
            return f"tokens: others can read {path}; HTCondor leaves it out then (chmod 600)"
    return ""
