"""Puts the project's schemas into the distributions: they are one folder up in a checkout, inside in an sdist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class SchemasHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the schemas where the checkout has them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        schemas = Path(self.root).parent / "schemas"
        if (
            version != "editable"
            and schemas.is_dir()
            and not (Path(self.root) / "uws_conformance" / "schemas").exists()
        ):
            build_data["force_include"][str(schemas)] = "uws_conformance/schemas"
