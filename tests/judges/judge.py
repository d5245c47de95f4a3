"""Judge provenance and crates with what others wrote; runs in the judges' own environment.

``prov FILE`` prints what ``prov`` reads in a PROV-JSON document, ``voprov FILE`` the same with voprov's classes,
``crate FOLDER|FILE LEVEL`` what ``rocrate-validator`` finds in a crate. Nothing is fetched from the network.
"""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

RUN_TERMS = (
    "ParameterConnection ContainerImage DockerImage SIFImage connection sourceParameter targetParameter md5 sha1 "
    "sha256 sha512 environment registry tag containerImage resourceUsage"
)
CONTEXTS = ("https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context")


def read_prov(path: str) -> dict[str, Any]:
    """Return the records of a document, and its PROV-N."""
    from prov.model import ProvDocument

    return _described(ProvDocument.deserialize(path, format="json"))


def read_voprov(path: str) -> dict[str, Any]:
    """Return the records of a document as voprov reads them, with the IVOA types that it knows."""
    from voprov.models import constants
    from voprov.models.model import VOProvDocument

    document = VOProvDocument.deserialize(path, format="json")
    described = _described(document)
    known = {str(value) for name, value in vars(constants).items() if name.startswith("VOPROV_")}
    types = sorted({str(kind) for record in document.get_records() for kind in record.get_asserted_types()})
    described["ivoa"] = [kind for kind in types if kind in known]
    described["foreign"] = [kind for kind in types if kind.startswith("voprov:") and kind not in known]
    described["classes"] = sorted({type(record).__name__ for record in document.get_records()})
    return described


def _described(document: Any) -> dict[str, Any]:
    from prov.model import ProvActivity, ProvAgent, ProvEntity

    nodes: dict[str, list[str]] = {"entity": [], "activity": [], "agent": []}
    relations = []
    for record in document.get_records():
        for kind, model in (("entity", ProvEntity), ("activity", ProvActivity), ("agent", ProvAgent)):
            if isinstance(record, model):
                nodes[kind].append(str(record.identifier))
        if record.is_relation():
            ends = [str(value) for _, value in record.formal_attributes if value is not None][:2]
            relations.append([record.get_type().localpart, *ends])
    return {
        **{kind: sorted(names) for kind, names in nodes.items()},
        "relations": sorted(relations),
        "bundles": {str(bundle.identifier): _described(bundle) for bundle in _bundles(document)},
        "provn": document.get_provn(),
    }


def _bundles(document: Any) -> Any:
    """Return the bundles of a document.

    A bundle has none.
    """
    return document.bundles if document.is_document() else ()


def judge_crate(place: str, level: str) -> dict[str, Any]:
    """Return the checks of the profile that a crate fails."""
    from rocrate_validator import services
    from rocrate_validator.models import Severity
    from rocrate_validator.utils.http import HttpRequester

    class Answer:
        """An answer with a context."""

        status_code = 200
        ok = True

        def __init__(self, url: str) -> None:
            self.headers = {"Content-Type": "application/ld+json"}
            self.url = url
            self.content = self.text = context(url)

        def json(self) -> Any:
            return json.loads(self.text)

        def raise_for_status(self) -> None: ...

    HttpRequester.get = HttpRequester.head = lambda self, url, **options: Answer(url)
    settings = services.ValidationSettings(
        rocrate_uri=place,
        profile_identifier="process-run-crate-0.5",
        requirement_severity=Severity[level],
        abort_on_first=False,
        metadata_only=Path(place).is_file(),
    )
    result = services.validate(settings)
    issues = [
        {"check": str(issue.check.identifier), "severity": issue.severity.name, "message": str(issue.message)}
        for issue in result.get_issues(Severity[level])
    ]
    return {"passed": result.passed(Severity[level]), "issues": issues}


def context(url: str) -> str:
    """Return a JSON-LD context.

    Of any other address nothing is known here.
    """
    if url == CONTEXTS[0]:
        return files("rocrate").joinpath("data/ro-crate.jsonld").read_text(encoding="utf-8")
    if url == CONTEXTS[1]:
        base = "https://w3id.org/ro/terms/workflow-run#"
        return json.dumps({"@context": {term: f"{base}{term}" for term in RUN_TERMS.split()}})
    raise OSError(f"{url} is not fetched here")


if __name__ == "__main__":
    action, *words = sys.argv[1:]
    if action == "crate":
        judged = judge_crate(*words)
    else:
        judged = read_voprov(*words) if action == "voprov" else read_prov(*words)
    json.dump(judged, sys.stdout)
