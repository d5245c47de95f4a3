"""What `sites rights` prints for a namespace."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.server import ROOT
from uws_service.sites.kubernetes.rights import RULES, documents, rights
from uws_service.sites.kubernetes.settings import KubernetesSite

CHART = ROOT / "k8s" / "uws-service" / "templates" / "rbac.yaml"


def site(**changes: Any) -> KubernetesSite:
    values = {"name": "a", "kind": "kubernetes", "namespace": "astro-jobs", "agent_url": "https://uws.example.org"}
    return KubernetesSite(**{**values, "agent_image": "uws", **changes})


def chart_rules() -> list[dict[str, Any]]:
    """Return the rules of the chart's Role, those of Kueue too."""
    block = re.search(r"kind: Role\n.*?\nrules:\n(.*?)\n---", CHART.read_text(), re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if "{{" not in line]
    rules: list[dict[str, Any]] = yaml.safe_load("\n".join(lines))
    return rules


def test_the_role_is_that_of_the_chart() -> None:
    (role,) = (entry for entry in documents(site(queue="astro")) if entry["kind"] == "Role")
    assert role["rules"] == chart_rules()
    (role,) = (entry for entry in documents(site()) if entry["kind"] == "Role")
    assert role["rules"] == list(RULES) == chart_rules()[:3]


def test_a_queue_for_each_group() -> None:
    objects = documents(site(queue="astro", queues={"surveys": "first", "others": "astro"}))
    names = [entry["metadata"]["name"] for entry in objects if entry["kind"] == "LocalQueue"]
    assert names == ["astro", "first"]
    assert all(entry["metadata"].get("namespace", "astro-jobs") == "astro-jobs" for entry in objects)


def test_accounts_of_pods_have_no_rights() -> None:
    objects = documents(site(service_account="jobs"))
    accounts = {entry["metadata"]["name"] for entry in objects if entry["kind"] == "ServiceAccount"}
    (binding,) = (entry for entry in objects if entry["kind"] == "RoleBinding")
    assert accounts == {"jobs", "uws-service"}
    assert [subject["name"] for subject in binding["subjects"]] == ["uws-service"]


def test_a_token_for_a_service_elsewhere(tmp_path: Any) -> None:
    assert len(rights(site())) == 1
    printed = rights(site(kubeconfig=tmp_path / "kubeconfig"))
    assert "create token uws-service" in printed[1].text
    assert next(yaml.safe_load_all(printed[0].text))["kind"] == "Namespace"
