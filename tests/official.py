"""The official XSDs, as STILTS carries them in its jar: each document that a test receives is held against them too.

Where STILTS is not installed there is nothing to compare with; ``tests/clients/test_tools.py`` then says so.
"""

from __future__ import annotations

import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

from lxml import etree

JARS = ("/usr/share/java/starlink-ttools.jar", "/usr/share/java/ttools.jar")
FOLDER = "uk/ac/starlink/ttools/taplint/"
SCHEMAS = {
    "http://www.ivoa.net/xml/UWS/v1.0": "UWS-v1.1.xsd",
    "http://www.ivoa.net/xml/VOSIAvailability/v1.0": "VOSIAvailability-v1.0.xsd",
}


@cache
def _schemas() -> dict[str, etree.XMLSchema]:
    jar = next((Path(name) for name in JARS if Path(name).is_file()), None)
    if jar is None:
        return {}
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if name.startswith(FOLDER) and name.endswith(".xsd"):
                (Path(folder) / name.rpartition("/")[2]).write_bytes(archive.read(name))

        class Local(etree.Resolver):
            """The imports of these schemas name places on the net; the files lie here."""

            def resolve(self, url: str, public_id: str, context: object) -> Any:  # type: ignore[override]
                if "link" in url.lower():
                    return self.resolve_filename(f"{folder}/xlink.xsd", context)  # type: ignore[attr-defined]
                if url.endswith("xml.xsd"):
                    return self.resolve_filename(f"{folder}/xmlnamespace.xsd", context)  # type: ignore[attr-defined]
                return None

        parser = etree.XMLParser(no_network=True)
        parser.resolvers.add(Local())
        return {
            namespace: etree.XMLSchema(etree.parse(f"{folder}/{name}", parser)) for namespace, name in SCHEMAS.items()
        }


def available() -> bool:
    """Return whether STILTS, and so the official schemas, are installed."""
    return bool(_schemas())


def validate(document: bytes) -> None:
    """Raise if a document of a known namespace is not valid against the official schema."""
    root = etree.fromstring(document, etree.XMLParser(no_network=True, resolve_entities=False, huge_tree=True))
    schema = _schemas().get(etree.QName(root).namespace or "")
    if schema is not None:
        schema.assertValid(root)
