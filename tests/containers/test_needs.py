"""What a job may ask for, and what comes of it at the sites."""

from __future__ import annotations

from collections.abc import Sequence

import kubernetes_validate
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store import samples
from uws_service.agent import folder as layout
from uws_service.applications import CONTAINER as DESCRIPTOR
from uws_service.applications import Application, check, launch
from uws_service.applications.files import load_application
from uws_service.domain.attempt import Launch
from uws_service.domain.errors import UsageError, UwsError
from uws_service.domain.job import Parameter
from uws_service.protocol.broker_request import parse_submission
from uws_service.sites.kubernetes.manifest import job_manifest
from uws_service.sites.kubernetes.settings import KubernetesSite
from uws_service.sites.local.containment import contained
from uws_service.sites.local.settings import LocalSite
from uws_service.web.faces.registry import STANDARDS

Pairs = Sequence[tuple[str, str]]
BASE: Pairs = (("IMAGE", "ghcr.io/skao/tool:1"), ("COMMAND", "run"))
CLUSTER = KubernetesSite.model_validate(
    {"name": "c", "kind": "kubernetes", "agent_url": "http://service", "agent_image": "agent:1"}
)


@pytest.fixture(scope="module")
def application() -> Application:
    """Return the application that ships."""
    return load_application(DESCRIPTOR, STANDARDS)


def launched(application: Application, *pairs: tuple[str, str]) -> Launch:
    """Return what a job with these parameters runs."""
    parameters = [Parameter(*pair) for pair in (*BASE, *pairs)]
    return launch(application, samples.job("a"), check(application, parameters), 1)


def test_the_launch_is_the_jobs_own(application: Application) -> None:
    plan = launched(
        application,
        ("COMMAND", "--option={not a placeholder}"),
        ("ENV", "A=b=c"),
        ("INPUT", "data/a.fits,https://example.org/a.fits"),
        ("INPUT_MOUNT", "/srcnet/input"),
        ("OUTPUT", "out/*.fits"),
        ("CPU", "2.5"),
        ("MEMORY", "512MiB"),
        ("DISK", "2GB"),
        ("SITE_KIND", "kubernetes"),
    )
    assert plan.command == ("run", "--option={not a placeholder}")
    assert plan.environment == {"UWS_JOB_ID": plan.job_id, "A": "b=c"}
    assert (plan.image, plan.needs_image) == ("ghcr.io/skao/tool:1", True)
    assert (plan.cpu, plan.memory, plan.disk, plan.gpus) == (2.5, 512 * 2**20, 2 * 10**9, 0)
    assert [(item.path, item.url) for item in plan.inputs] == [("data/a.fits", "https://example.org/a.fits")]
    assert [(result.path, result.required) for result in plan.results] == [("out/*.fits", True)]
    assert (plan.mounts, plan.site_kind) == (("/srcnet/input",), "kubernetes")


def test_defaults_are_those_of_the_descriptor(application: Application) -> None:
    plan = launched(application)
    assert (plan.cpu, plan.memory, plan.disk, plan.gpus) == (1.0, 2**30, 2**30, 0)
    assert [(result.path, result.required) for result in plan.results] == [("*", False)]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("CPU", "0"), "CPU=0 is not allowed; a job may have at most 4 cores"),
        (("CPU", "NaN"), "CPU"),
        (("CPU", "Inf"), "CPU"),
        (("CPU", "4.01"), "CPU=4.01 is not allowed; a job may have at most 4 cores"),
        (("GPUS", "1"), "GPUS=1 is not allowed"),
        (("MEMORY", "512"), "MEMORY='512' is 512 bytes"),
        (("MEMORY", "17GiB"), "MEMORY='17GiB' is 18253611008 bytes; a job may have at least"),
        (("MEMORY", "9" * 400), "MEMORY="),
        (("MEMORY", "much"), "MEMORY='much' is no size"),
        (("DISK", "51GiB"), "DISK='51GiB' is"),
        (("ENV", "A"), "ENV='A' must be NAME=value"),
        (("ENV", "1A=b"), "ENV='1A=b' must be NAME=value"),
        (("ENV", "A B=c"), "ENV='A B=c' must be NAME=value"),
        (("ENV", "UWS_OUTPUT_DIR=/"), "ENV: UWS_OUTPUT_DIR is not for jobs to set"),
        (("ENV", "ld_preload=x"), "ENV: ld_preload is not for jobs to set"),
        (("ENV", "GLIBC_TUNABLES=x"), "ENV: GLIBC_TUNABLES is not for jobs to set"),
        (("ENV", "A=\0"), "ENV: the value of A must be text"),
        (("ENV", "A=\ud800"), "ENV: the value of A must be text"),
        (("ENV", "A=" + "x" * 65537), "ENV: the value of A must be text of at most 65536 bytes"),
        (("COMMAND", "a\0b"), "COMMAND: the word"),
        (("COMMAND", "\ud800"), "COMMAND: the word"),
        (("COMMAND", "x" * 100_001), "COMMAND has 100001 bytes; at most 100000"),
        (("INPUT", "a"), "INPUT='a' must be a path, a comma and a URL"),
        (("INPUT", "/etc/a,https://x.org/a"), "INPUT: '/etc/a' must be a path below the input folder"),
        (("INPUT", "../a,https://x.org/a"), "INPUT: '../a' must be a path below"),
        (("INPUT", "a/../../b,https://x.org/a"), "INPUT: 'a/../../b' must be a path below"),
        (("INPUT", "a//b,https://x.org/a"), "INPUT: 'a//b' must be a path below"),
        (("INPUT", ".,https://x.org/a"), "INPUT: '.' must be a path below"),
        (("INPUT", "parameters.json,https://x.org/a"), "INPUT: 'parameters.json' must be a path below"),
        (("INPUT", f"{layout.TOKEN},https://x.org/a"), "INPUT: '.bearer_token' must be a path below"),
        (("INPUT", f"{layout.TOKEN}/x,https://x.org/a"), "INPUT: '.bearer_token/x' must be a path below"),
        (("INPUT", "a,file:///etc/passwd"), "INPUT=a: URLs of the scheme 'file' are not taken"),
        (("INPUT", "a,param:absent"), "INPUT refers to the file part 'absent', which was not sent"),
        (("OUTPUT", "../x"), "OUTPUT='../x' must be a path below the output folder"),
        (("OUTPUT", "/x"), "OUTPUT='/x' must be a path below"),
        (("OUTPUT", "**/x"), "OUTPUT='**/x' must be a path below"),
        (("INPUT_MOUNT", "data"), "INPUT_MOUNT='data' must be an absolute path"),
        (("INPUT_MOUNT", "/"), "INPUT_MOUNT='/' must be an absolute path"),
        (("INPUT_MOUNT", "/uws/bin"), "INPUT_MOUNT='/uws/bin' must be an absolute path"),
        (("INPUT_MOUNT", "/a/../uws"), "INPUT_MOUNT='/a/../uws' must be"),
        (("INPUT_MOUNT", "//uws"), "INPUT_MOUNT='//uws' must be"),
        (("INPUT_MOUNT", "/var/run/uws-service"), "INPUT_MOUNT='/var/run/uws-service' must be"),
        (("IMAGE", "other:2"), "IMAGE was given 2 different values"),
    ],
)
def test_wishes_that_are_refused(application: Application, pair: tuple[str, str], message: str) -> None:
    """The message names the parameter, what was given and what is allowed."""
    with pytest.raises(UsageError) as error:
        launched(application, pair)
    assert error.value.message.startswith(message), error.value.message


def test_wishes_that_are_at_odds(application: Application) -> None:
    for pairs, message in (
        ((("ENV", "A=1"), ("ENV", "A=2")), "ENV sets A twice"),
        ((("INPUT", "a,https://x.org/a"), ("INPUT", "a,https://x.org/b")), "INPUT: 'a' and 'a' are the same file"),
        ((("INPUT", "a,https://x.org/a"), ("INPUT", "a/b,https://x.org/b")), "INPUT: 'a/b' and 'a' are the same"),
        ((("DATASET", "a:b"), ("INPUT", "data,https://x.org/a")), "INPUT: 'data' is where the files of DATASET lie"),
        ((("DATASET", "a:b"), ("INPUT", "data/DATASET/b,https://x.org/a")), "INPUT: 'data/DATASET/b' is where"),
        (tuple(("ENV", f"V{n}={'x' * 60_000}") for n in range(3)), "ENV has 180"),
        (tuple(("COMMAND", "x" * 90_000) for _ in range(6)), "COMMAND has 540"),
        (tuple(("INPUT", f"{n},https://x.org/a") for n in range(51)), "INPUT is there 51 times"),
        (tuple(("OUTPUT", str(n)) for n in range(51)), "OUTPUT is there 51 times"),
    ):
        with pytest.raises(UsageError) as error:
            launched(application, *pairs)
        assert error.value.message.startswith(message), error.value.message


def test_the_pod_is_as_restricted_as_any(application: Application) -> None:
    """It asks for what the job asked for; inputs are at both paths, read-only."""
    plan = launched(
        application, ("CPU", "2"), ("MEMORY", "512MiB"), ("INPUT_MOUNT", "/srcnet/input"), ("ENV", "A=$(HOME)")
    )
    kubernetes_validate.validate(job_manifest(plan, CLUSTER, "instance"), "1.34", strict=True)
    usual = job_manifest(samples_launch(), CLUSTER, "instance")["spec"]["template"]["spec"]
    pod = job_manifest(plan, CLUSTER, "instance")["spec"]["template"]["spec"]
    (command,), (usual_command,) = pod["containers"], usual["containers"]
    assert command["image"] == "ghcr.io/skao/tool:1"
    assert command["securityContext"] == usual_command["securityContext"]
    assert pod["securityContext"] == usual["securityContext"]
    for field in ("automountServiceAccountToken", "serviceAccountName", "enableServiceLinks"):
        assert pod[field] == usual[field]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    mounts = {mount["mountPath"]: mount for mount in command["volumeMounts"]}
    assert mounts["/srcnet/input"] == {"name": "input", "mountPath": "/srcnet/input", "readOnly": True}
    assert command["resources"]["limits"]["memory"] == str(512 * 2**20)
    assert command["resources"]["requests"]["cpu"] == "1990m"
    assert {"name": "A", "value": "$$(HOME)"} in command["env"]


def samples_launch() -> Launch:
    """Return a launch of an ordinary application."""
    return Launch("a", 1, "sleep", "", ("run",), "", {}, "{}", (), (), 0, 1.0, 2**30, 2**30)


def test_the_runner_gets_no_variable_of_the_job(application: Application) -> None:
    """They are words for `env`, behind the image."""
    plan = launched(application, ("ENV", "PATH=/evil"), ("ENV", "BASH_ENV=/evil"))
    inside = contained(plan, ("/bin/runner", "image={IMAGE}"), "local")
    assert inside.environment == {"UWS_JOB_ID": plan.job_id}
    assert inside.command[:3] == ("/bin/runner", "image=ghcr.io/skao/tool:1", "env")
    assert inside.command[-3:] == ("PATH=/evil", "BASH_ENV=/evil", "run")


def test_sites_object(application: Application) -> None:
    """A site without images, a runner that can't mount, and a cluster with patterns of its own."""
    plan, mounted = launched(application), launched(application, ("INPUT_MOUNT", "/data"))
    bare, runner = LocalSite(), LocalSite.model_validate({"runner": ["/bin/run", "{IMAGE}"]})
    closed = CLUSTER.model_copy(update={"images": ("registry.example.org/*",)})
    assert bare.objection(plan) == "it runs no container images (its setting `runner` is not set)"
    assert runner.objection(plan) == ""
    assert runner.objection(mounted) == "its runner shows inputs at the path of the input folder alone"
    assert CLUSTER.objection(mounted) == ""
    assert closed.objection(plan).startswith("its image is not allowed there")
    assert bare.objection(samples_launch()) == ""


@given(st.lists(st.tuples(st.sampled_from("ENV INPUT OUTPUT INPUT_MOUNT CPU MEMORY DISK GPUS".split()), st.text())))
def test_any_values_are_taken_or_refused(pairs: list[tuple[str, str]]) -> None:
    """Nothing else happens, and what is taken is within bounds."""
    application = load_application(DESCRIPTOR, STANDARDS)
    try:
        plan = launched(application, *pairs)
    except UsageError:
        return
    assert 0 < plan.cpu <= 4 and plan.memory <= 2**34 and plan.gpus == 0
    assert not any(item.path.startswith("/") or ".." in item.path.split("/") for item in plan.inputs)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)
)


@given(JSON, st.sampled_from("job_id workflow_engine_parameters workflow_params data_location_hints".split()))
def test_any_document_is_taken_or_refused(value: object, name: str) -> None:
    import json

    document = {"job_id": "a", "workflow_engine_parameters": {"--image": "a", "--cmd": "b"}, name: value}
    try:
        parse_submission(json.dumps(document).encode("utf-8", "surrogatepass"))
    except UwsError as error:
        assert error.status < 500
