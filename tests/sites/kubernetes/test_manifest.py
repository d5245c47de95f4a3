"""The Job that an attempt becomes.

Golden files, the cluster's own schema, and what must never be in it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from uws_service.data.replicas import bind, data_path
from uws_service.domain.attempt import ExpectedResult, Input, Launch
from uws_service.domain.dataset import DataFile, DataParameter, DataSet, Replica
from uws_service.domain.errors import UsageError
from uws_service.sites.kubernetes.manifest import attempt_of_pod, job_manifest, job_name, merge_patch
from uws_service.sites.kubernetes.settings import KubernetesSite

GOLDEN = Path(__file__).parent / "golden"
DATA = (
    DataParameter(
        "MS",
        ("ska:night-1", "ska:night-2"),
        2**40,
        several=True,
        sets=(
            DataSet(
                "ska:night-1",
                (
                    DataFile(
                        "a.ms", 5 * 2**30, {"md5": "0" * 32},
                        (Replica("ES", "davs://es.example.org/a.ms", "ska/a.ms"), Replica("UK", "", "ska/aa/bb/a.ms")),
                    ),
                ),
            ),
            DataSet("ska:night-2", (DataFile("b.ms", 7, {}, (Replica("ES", "davs://es.example.org/b.ms", "b.ms"),)),)),
        ),
    ),
    DataParameter(
        "SKY", ("ska:sky.fits",), 100,
        sets=(DataSet("ska:sky.fits", (DataFile("x/sky.fits", 9, {}, (Replica("UK", "", "sky.fits"),)),), True),),
    ),
)  # fmt: skip
STORAGE = (
    {"area": "FAR"},
    {"area": "UK", "volume": {"persistentVolumeClaim": {"claimName": "lake", "readOnly": True}}, "path": "/pool/uk/"},
)
JOB = "0192f0c1a2b37abc8def0123456789ab"
SITE = KubernetesSite(
    name="a", kind="kubernetes", namespace="jobs", agent_url="https://uws.example.org/", agent_image="uws-service:1"
)
LAUNCH = Launch(
    job_id=JOB,
    number=2,
    application="crossmatch",
    owner="ivo://auth.example.org/people?ada",
    command=("python", "-m", "app", "--table=${UWS_INPUT_DIR}/uploads/t", "--radius=5"),
    image="",
    environment={"UWS_PARAM_RADIUS": "5"},
    parameters='{"RADIUS": "5"}',
    inputs=(Input("t", "uploads/t", depot_key="jobs/x/uploads/t", max_size=1000),),
    results=(ExpectedResult("result", "result.vot", "application/x-votable+xml"),),
    duration=600,
    cpu=1.0,
    memory=512 * 2**20,
    max_output=100 * 2**20,
    disk=2**30,
)
AT_STORAGE = KubernetesSite.model_validate({**SITE.model_dump(), "storage": STORAGE})
CASES: dict[str, tuple[Launch, KubernetesSite]] = {
    "plain": (LAUNCH, SITE),
    "queue": (
        replace(LAUNCH, group="survey", gpus=2, duration=0),
        SITE.model_copy(update={"queue": "astro", "priority_classes": {"group:survey": "high"}, "cpu_limit": True}),
    ),
    "data": (
        bind(
            replace(LAUNCH, data=DATA, command=("run", data_path("MS"), f"--sky={data_path('SKY')}")),
            AT_STORAGE.storage_areas(),
        ),
        AT_STORAGE,
    ),
    "everything": (
        replace(LAUNCH, image="registry.example.org/astro/app:3", owner=""),
        SITE.model_copy(
            update={
                "node_selector": {"disk": "ssd"},
                "tolerations": ({"key": "batch", "operator": "Exists", "effect": "NoSchedule"},),
                "image_pull_secrets": ("registry",),
                "images": ("registry.example.org/astro/*",),
                "agent_ca": "uws-ca",
                "priority_classes": {"*": "low"},
                "service_account": "uws-agent",
                "volumes": ({"name": "data", "persistentVolumeClaim": {"claimName": "data"}, "mountPath": "/data"},),
                "patch": {"spec": {"template": {"spec": {"schedulerName": "batch"}}, "ttlSecondsAfterFinished": None}},
            }
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """What is committed is what is made.

    `UWS_TEST_GOLDEN=write` writes it anew, for a person to look at.
    """
    launch, site = CASES[name]
    text = yaml.safe_dump(job_manifest(launch, site, "0a1b2c"), sort_keys=True, width=120)
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UWS_TEST_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("version", ["1.34", "1.36"])
def test_schema(name: str, version: str) -> None:
    """Kubernetes' own schema takes it, unknown fields forbidden."""
    manifest = job_manifest(*CASES[name], "0a1b2c")
    kubernetes_validate.validate(manifest, version, strict=True)


def _pod(name: str = "plain") -> dict[str, Any]:
    pod: dict[str, Any] = job_manifest(*CASES[name], "0a1b2c")["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", CASES)
def test_restricted(name: str) -> None:
    """Both containers keep Kubernetes' "restricted" standard, and more."""
    pod = _pod(name)
    assert pod["automountServiceAccountToken"] is False and pod["restartPolicy"] == "Never"
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & pod.keys()
    for container in (*pod["containers"], *pod["initContainers"]):
        rights = container["securityContext"]
        assert rights["runAsNonRoot"] and rights["readOnlyRootFilesystem"] and rights["runAsUser"] > 0
        assert rights["allowPrivilegeEscalation"] is False and rights["capabilities"] == {"drop": ["ALL"]}
        assert rights["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["limits"]["memory"]


def test_only_the_agent_has_the_token() -> None:
    """The user's container mounts no token.

    It does not have the agent's folder either, and can't write its inputs.
    """
    pod = _pod()
    (command,) = pod["containers"]
    (agent,) = pod["initContainers"]
    mounts = {mount["name"]: mount for mount in command["volumeMounts"]}
    assert "token" not in mounts and "agent" not in mounts and mounts["input"]["readOnly"] and mounts["bin"]["readOnly"]
    assert {mount["name"]: mount.get("readOnly", False) for mount in agent["volumeMounts"]} == {
        "input": False, "output": True, "progress": True, "agent": False, "bin": False, "token": True,
    }  # fmt: skip
    assert agent["restartPolicy"] == "Always" and "startupProbe" in agent
    token = next(volume for volume in pod["volumes"] if volume["name"] == "token")["projected"]["sources"][0]
    assert token["serviceAccountToken"]["audience"] == "uws-service"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
def test_values_are_left_alone(value: str) -> None:
    """Kubernetes expands ``$(NAME)`` and halves ``$$``.

    What the command gets is what the user sent.
    """
    launch = replace(LAUNCH, command=("app", value), environment={"UWS_PARAM_X": value})
    (command,) = job_manifest(launch, SITE, "i")["spec"]["template"]["spec"]["containers"]
    sent_value = next(variable["value"] for variable in command["env"] if variable["name"] == "UWS_PARAM_X")
    assert _expanded(sent_value) == value
    folders = value.replace("${UWS_INPUT_DIR}", "/uws/input").replace("${UWS_OUTPUT_DIR}", "/uws/output")
    assert _expanded(command["command"][3]) == folders


def _expanded(text: str) -> str:
    """Expand as the kubelet does, without variables.

    See k8s.io/kubernetes/third_party/forked/golang/expansion.
    """
    out, index = "", 0
    while index < len(text):
        if text[index] == "$" and index + 1 < len(text):
            following = text[index + 1]
            if following == "$":
                out, index = out + "$", index + 2
                continue
            assert following != "(", "a reference to a variable"
        out, index = out + text[index], index + 1
    return out


def test_images_outside_the_list_are_refused() -> None:
    """An application brings allowed images only.

    The message says which are.
    """
    site = SITE.model_copy(update={"images": ("registry.example.org/*",)})
    with pytest.raises(UsageError, match=r"'evil:1'.*registry\.example\.org/\*"):
        job_manifest(replace(LAUNCH, image="evil:1"), site, "i")
    assert job_manifest(LAUNCH, site, "i")  # the site's own image needs no entry


def test_a_patch_can_not_hide_the_job() -> None:
    """A patch leaves the labels alone.

    The Job and its pod are found by them.
    """
    patch = {"metadata": {"name": "x", "labels": None}, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}
    manifest_of_job = job_manifest(LAUNCH, SITE.model_copy(update={"patch": patch}), "i")
    assert manifest_of_job["metadata"]["name"] == job_name(JOB, 2)
    for part in (manifest_of_job["metadata"], manifest_of_job["spec"]["template"]["metadata"]):
        assert part["labels"]["uws-service/job"] == JOB and part["labels"]["uws-service/instance"] == "i"
    assert manifest_of_job["spec"]["template"]["metadata"]["labels"]["a"] == "b"


def test_merge_patch() -> None:
    """The example of RFC 7386 §3."""
    target = {"title": "Goodbye!", "author": {"given": "John", "family": "Doe"}, "tags": ["a"], "content": "x"}
    patch = {"title": "Hello!", "phone": "1", "author": {"family": None}, "tags": ["b"]}
    assert merge_patch(target, patch) == {
        "title": "Hello!", "author": {"given": "John"}, "tags": ["b"], "content": "x", "phone": "1",
    }  # fmt: skip


def test_names() -> None:
    """Only a complete pod name gives an attempt."""
    assert attempt_of_pod(f"{job_name(JOB, 12)}-x7k2p") == (JOB, 12)
    for wrong in (job_name(JOB, 1), f"x{job_name(JOB, 1)}-abcde", f"uws-{JOB[:-1]}-1-abcde", f"uws-{JOB}-0-abcde", ""):
        assert attempt_of_pod(wrong) is None
    assert len(f"{job_name(JOB, 9999)}-abcde") <= 63


def test_data_are_mounted_file_by_file_and_nothing_else_of_their_area() -> None:
    """Both containers have the site's own files, read-only, below the area's folder alone; others are fetched."""
    launch, site = CASES["data"]
    pod = job_manifest(launch, site, "0a1b2c")["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        mounts = {
            mount["mountPath"]: mount["subPath"]
            for mount in container["volumeMounts"]
            if mount["name"].startswith("storage-")
        }
        assert mounts == {
            "/uws/data/1": "pool/uk/ska/aa/bb/a.ms",
            "/uws/data/3": "pool/uk/sky.fits",
        }
        assert all(mount["readOnly"] for mount in container["volumeMounts"] if mount["name"].startswith("storage-"))
    assert [volume["name"] for volume in pod["volumes"] if volume["name"].startswith("storage-")] == ["storage-1"]
    (fetched,) = [item for item in launch.inputs if item.mount is None and item.url]
    assert (fetched.path, fetched.url) == ("data/MS/b.ms", "https://es.example.org/b.ms")
    size = next(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if volume["name"] == "input")
    assert int(size) < 2**30, "what is mounted takes no room"


@pytest.mark.parametrize("path", ["../other", "a/../../other", "a/./b", "a//b"])
def test_data_never_come_from_outside_their_area(path: str) -> None:
    with pytest.raises(ValueError, match="below the storage area"):
        KubernetesSite.model_validate(
            {**SITE.model_dump(), "storage": [{"area": "UK", "volume": {"hostPath": {"path": "/x"}}, "path": path}]}
        )
    parameter = DataParameter(
        "A", ("ska:a",), 9, sets=(DataSet("ska:a", (DataFile("a", 1, {}, (Replica("UK", "", path),)),), is_file=True),)
    )
    with pytest.raises(ValueError, match="below the storage area"):
        bind(replace(LAUNCH, data=(parameter,)), AT_STORAGE.storage_areas())


def test_more_files_than_can_be_mounted_are_fetched() -> None:
    files = tuple(
        DataFile(f"f{number}", 1, {}, (Replica("UK", f"https://uk.example.org/f{number}", f"f{number}"),))
        for number in range(300)
    )
    parameter = DataParameter("A", ("ska:a",), 1000, sets=(DataSet("ska:a", files),))
    launch = bind(replace(LAUNCH, data=(parameter,), command=("run", data_path("A"))), AT_STORAGE.storage_areas())
    assert sum(item.mount is not None for item in launch.inputs) == 200
    assert launch.command == ("run", "${UWS_INPUT_DIR}/data/A")
    assert len(job_manifest(launch, AT_STORAGE, "0a1b2c")["spec"]["template"]["spec"]["containers"]) == 1


def test_groups_have_queues_of_their_own() -> None:
    """So that Kueue's fair sharing, which is between LocalQueues, is between groups."""
    site = KubernetesSite.model_validate(
        {**SITE.model_dump(), "queue": "astro", "queues": {"survey": "survey-queue", "both": "b"}, "margin": 3}
    )
    named = site.with_groups(lambda name: [f"{name}@x", f"{name}@y"] if name == "both" else [name])
    queues = {
        group: job_manifest(replace(LAUNCH, group=group), named, "i")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
        for group in ("survey", "both@y", "both", "")
    }
    assert queues == {"survey": "survey-queue", "both@y": "b", "both": "astro", "": "astro"}
    assert named.all_queues == ("astro", "survey-queue", "b")


@pytest.mark.parametrize("fields", [{"queues": {"survey": "s"}}, {"margin": 3}])
def test_queues_need_one_for_the_others(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need a queue"):
        KubernetesSite.model_validate({**SITE.model_dump(), **fields})
