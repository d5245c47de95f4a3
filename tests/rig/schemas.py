"""JSON schemas of everything that the API server knows, for kubeconform: made from Kubernetes' own description.

kubeconform takes its schemas from the network by default; these come with the module that the API server is built from,
and with Kueue's, so that manifests are checked against just the versions that the test clusters run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.rig import build
from tests.rig.errors import ClusterError
from tests.rig.paths import cache_folder, locked

# Both are written as text or as a number.
NUMBER_OR_TEXT = {"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "null"}]}
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
FORM = 1  # of the files made here: another number has them made anew


def folder() -> Path:
    """Return the folder of the schemas, one file per kind; made if Kubernetes or Kueue changed."""
    kubernetes, kueue = (build.ensure(name)[name].parent for name in ("kubernetes", "kueue"))
    target = cache_folder() / f"schemas-{FORM}-{kubernetes.name}-{kueue.name}"
    with locked(cache_folder() / "schemas.lock"):
        if not target.exists():
            work = Path(tempfile.mkdtemp(prefix=".schemas-", dir=cache_folder()))
            described = json.loads((kubernetes / "api" / "openapi-spec" / "swagger.json").read_text())
            definitions = (kueue / "config" / "components" / "crd" / "bases").glob("*.yaml")
            for name, schema in [*of_kubernetes(described["definitions"]), *of_extensions(definitions)]:
                (work / name).write_text(json.dumps(schema, separators=(",", ":")))
            work.chmod(0o755)
            for old in cache_folder().glob("schemas-*-*"):
                shutil.rmtree(old)
            work.rename(target)
    return target


def check(manifests: str) -> None:
    """Check a text of YAML documents strictly.

    Raises
    ------
    ClusterError
        With what kubeconform says: unknown fields, wrong types, kinds that nobody knows.
    """
    program = build.ensure("kubeconform")["kubeconform"]
    location = str(folder() / "{{ .ResourceKind }}-{{ .Group }}-{{ .ResourceAPIVersion }}.json")
    completed = subprocess.run(
        [str(program), "-strict", "-summary", "-output", "text", "-schema-location", location, "-"],
        input=manifests,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if completed.returncode != 0:
        raise ClusterError(f"not what the API server knows:\n{completed.stdout}{completed.stderr}")


def of_kubernetes(definitions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a file name and a schema for each kind of the API server, from its OpenAPI 2 definitions."""
    strict = {name: _strict(definition) for name, definition in definitions.items()}
    strict[QUANTITY] = dict(NUMBER_OR_TEXT)
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            reached: dict[str, Any] = {}
            _reach(name, strict, reached)
            yield (
                _file(kind["kind"], kind["group"], kind["version"]),
                {
                    "$ref": f"#/definitions/{name}",
                    "definitions": reached,
                },
            )


def of_extensions(files: Iterator[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a file name and a schema for each version of each kind that custom resource definitions bring."""
    for path in files:
        specification = yaml.safe_load(path.read_text())["spec"]
        for version in specification["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            yield _file(specification["names"]["kind"], specification["group"], version["name"]), schema


def _file(kind: str, group: str, version: str) -> str:
    # kubeconform takes the version for the group where there is none.
    return f"{kind}-{group or version}-{version}.json".lower()


def _reach(name: str, definitions: Mapping[str, Any], reached: dict[str, Any]) -> None:
    """Collect a definition and all that it refers to."""
    if name in reached:
        return
    reached[name] = definitions[name]
    for reference in _references(definitions[name]):
        _reach(reference, definitions, reached)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.rpartition("/")[2]
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema that allows no other field.

    An empty field counts as left out, as the API server has it.
    """
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return dict(NUMBER_OR_TEXT)
    strict = {
        key: value
        for key, value in schema.items()
        if key in ("$ref", "type", "enum", "required", "minimum", "maximum", "pattern", "maxLength", "minLength")
    }
    if "enum" in strict and "type" in strict:
        strict["enum"] = [*strict["enum"], None]
    if "properties" in schema:
        strict["properties"] = {name: _strict(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            strict["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        strict["items"] = _strict(schema["items"])
    if "type" in strict:
        strict["type"] = [strict["type"], "null"]
    return strict
