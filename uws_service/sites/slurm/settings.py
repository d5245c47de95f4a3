"""The settings of a site that is a Slurm cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from uws_service.sites.batch.settings import BatchSite

NAME = r"^[A-Za-z0-9_.-]*$"


class SlurmSite(BatchSite):
    """A site that is a Slurm cluster.

    Each attempt of a job is one batch job there.
    """

    kind: Literal["slurm"] = Field(description="`slurm`: a Slurm cluster.")
    url: str | None = Field(
        None,
        description="URL of the cluster's slurmrestd, such as `https://slurm.example.org:6820`. Unset: the cluster is "
        "used by Slurm's own commands, see `login`.",
    )
    api: str = Field(
        "v0.0.42", pattern=r"^v0\.0\.\d{2}$", description="Version of slurmrestd's API: `v0.0.41` or later."
    )
    ca: Path | None = Field(None, description="File with the CA certificates that verify `url`. Unset: the system's.")
    user: str = Field(
        "uws", pattern=r"^[a-z_][a-z0-9_-]{0,31}$", description="The cluster's user that the jobs run as."
    )
    token: Path | None = Field(
        None,
        description="File with a JWT for the user, as `scontrol token` prints it, without `SLURM_JWT=`, or from the "
        "cluster's issuer. It is read at each request, so it is renewed by replacing the file.",
    )
    jwt_key: Path | None = Field(
        None,
        description="File with the cluster's key (`jwt_hs256.key`): the service makes its own tokens of a few minutes. "
        "Whoever has it can be any user of the cluster; `token` gives less away.",
    )
    login: tuple[str, ...] = Field(
        (),
        description="Without `url`: words before each of Slurm's commands, such as `[ssh, -oBatchMode=yes, "
        "uws@login.example.org]`. Unset: the commands are on this machine.",
    )
    account: str = Field("", pattern=NAME, description="The account that jobs count to. Unset: the user's default.")
    accounts: dict[str, str] = Field(
        {},
        description="Accounts for owners of these groups: the cluster shares fairly between them. They must exist, and "
        "have the user as a member. Owners of other groups count to `account`.",
    )
    wckey: bool = Field(
        False,
        description="Give each job a WCKey made of its owner, so that the cluster's accounting tells owners apart. The "
        "cluster must track WCKeys, and take new ones.",
    )
    partition: str = Field("", pattern=NAME, description="The partition. Unset: the cluster's default.")
    qos: str = Field("", pattern=NAME, description="The quality of service. Unset: the account's default.")
    constraint: str = Field("", pattern=r"^[A-Za-z0-9_.,&|!()\[\]*-]*$", description="Features that nodes must have.")
    reservation: str = Field("", pattern=NAME, description="The reservation that jobs run in.")
    environment: dict[str, str] = Field(
        {}, description="Variables of the agent's environment, such as `APPTAINER_CACHEDIR: /scratch/images`."
    )
    log_folder: str = Field(
        "",
        pattern=r"^(/[^\s%'\"]*)?$",
        description="Folder of the nodes for what agents say to operators, a file for each job. Unset: it is not kept.",
    )

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("must be a URL that begins with https:// (or http:// in a closed network), without a user")
        return value.rstrip("/")

    @field_validator("accounts", "environment")
    @classmethod
    def _one_line(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not name or any(character in "\n\0," for character in text):
                raise ValueError(f"{name!r} must have a value of one line, without commas")
        return value

    @model_validator(mode="after")
    def _way_in(self) -> Self:
        if self.url is not None and (self.token is None) == (self.jwt_key is None):
            raise ValueError("with `url`, one of `token` and `jwt_key` must be set")
        if self.url is None and (self.token is not None or self.jwt_key is not None):
            raise ValueError("`token` and `jwt_key` are for slurmrestd: `url` must be set")
        if self.url is not None and self.login:
            raise ValueError("`login` is for Slurm's commands: `url` must not be set")
        return self

    def account_of(self, group: str) -> str:
        """Return the account that jobs of an owner's group count to; empty: the user's default."""
        return self.accounts.get(group, self.account)
