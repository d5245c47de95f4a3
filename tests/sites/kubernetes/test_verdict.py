"""Documents of the API server, read as observations.

Pure, case by case.
"""

from __future__ import annotations

from typing import Any

import pytest

from uws_service.domain.attempt import CommandError, Observation, Reason, Seen
from uws_service.domain.errors import UwsError
from uws_service.sites.kubernetes.cluster import Exists, Missing, SiteBusy, SiteDown, SiteRefuses, refusal
from uws_service.sites.kubernetes.verdict import Patience, no_node_words, observe, waiting_words
from uws_service.sites.kubernetes.views import job_view, pod_view, workload_view

LABELS = {"uws-service/job": "0192f0c1a2b37abc8def0123456789ab", "uws-service/attempt": "1"}
KEY = (LABELS["uws-service/job"], 1)
T0 = 1_790_000_000_000
STARTED, ENDED = "2026-11-23T10:00:05Z", "2026-11-23T10:00:09Z"


def a_job(*, suspend: bool = False, deleting: bool = False, **conditions: tuple[str, str]) -> dict[str, Any]:
    meta = {"name": "j", "uid": "u", "creationTimestamp": "2026-11-23T10:00:00Z", "labels": LABELS}
    conditions_list = [
        {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": ENDED}
        for kind, (reason, message) in conditions.items()
    ]
    if deleting:
        meta["deletionTimestamp"] = ENDED
    return {"metadata": meta, "spec": {"suspend": suspend}, "status": {"conditions": conditions_list}}


def a_pod(
    state: dict[str, Any] | None = None,
    *,
    phase: str = "Running",
    created: str = "2026-11-23T10:00:01Z",
    name: str = "p",
    deleting: bool = False,
    deleted_at: str = "",
    agent: dict[str, Any] | None = None,
    **status: Any,
) -> dict[str, Any]:
    """Return a pod, deleted at ``deleted_at`` if that is given.

    It has until 10:00:40 to end.
    """
    meta: dict[str, Any] = {"name": name, "uid": name, "creationTimestamp": created, "labels": LABELS}
    if deleting:
        meta["deletionTimestamp"] = ENDED
    if deleted_at:
        seconds = 40 - int(deleted_at[-3:-1])
        meta |= {"deletionTimestamp": "2026-11-23T10:00:40Z", "deletionGracePeriodSeconds": seconds}
    return {
        "metadata": meta,
        "spec": {"nodeName": "node"},
        "status": {
            "phase": phase,
            "containerStatuses": [{"name": "job", "state": state or {}}],
            "initContainerStatuses": [{"name": "agent", "started": True, "state": agent or {"running": {}}}],
            **status,
        },
    }


def ended(code: int, reason: str = "Error", started: str = STARTED, message: str = "") -> dict[str, Any]:
    state = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": ENDED, "message": message}
    return {"terminated": state}


RUNNING = {"running": {"startedAt": STARTED}}


def seen(
    job: dict[str, Any] | None, *pods: dict[str, Any], workload: Any = None, now: int = T0, **options: Any
) -> Observation:
    views = [view for view in map(pod_view, pods) if view is not None]
    job_seen = job_view(job) if job is not None else None
    waiting = workload_view(workload) if workload is not None else None
    return observe(KEY, job_seen, views, waiting, now, options.pop("patience", Patience()), **options)


def test_the_way_of_a_good_job() -> None:
    """Waiting, starting, running, ended.

    Start and end are the container's own (U-106).
    """
    assert seen(a_job()).waiting == "the site is making a pod for it"
    assert seen(a_job(), a_pod(phase="Pending")).seen is Seen.STARTING
    running = seen(a_job(), a_pod(RUNNING))
    assert running.seen is Seen.RUNNING and running.started == 1_795_428_005_000
    complete = seen(a_job(), a_pod(ended(0, "Completed")))
    assert (complete.seen, complete.exit_code, complete.ended) == (Seen.SUCCEEDED, 0, 1_795_428_009_000)
    assert complete.reports and not complete.gone
    last = a_pod(ended(0, "Completed"), phase="Succeeded", agent={"terminated": {"reason": "Completed"}})
    assert seen(a_job(), last).gone


def test_conditions_that_only_announce_are_left_alone() -> None:
    """FailureTarget and SuccessCriteriaMet come before the end.

    Nothing is done about them.
    """
    assert seen(a_job(FailureTarget=("BackoffLimitExceeded", "")), a_pod(RUNNING)).seen is Seen.RUNNING
    assert seen(a_job(SuccessCriteriaMet=("CompletionsReached", "")), a_pod(RUNNING)).seen is Seen.RUNNING


@pytest.mark.parametrize(
    ("job", "pod", "reason", "words"),
    [
        (a_job(), a_pod(ended(3)), Reason.EXIT_CODE, "exit code 3"),
        (a_job(), a_pod(ended(137, "OOMKilled")), Reason.OUT_OF_MEMORY, "more memory"),
        (a_job(), a_pod(ended(128, "StartError", "1970-01-01T00:00:00Z")), Reason.COMMAND, "could not be started"),
        (a_job(), a_pod(ended(127, message="uws-launch: solve: No such file or directory")), Reason.COMMAND,
         "could not be started: solve: No such file or directory"),
        (a_job(), a_pod(ended(1, message="uws-launch: not so")), Reason.EXIT_CODE, "exit code 1"),
        (a_job(), a_pod({"waiting": {"reason": "CreateContainerConfigError", "message": "why"}}, phase="Pending"),
         Reason.COMMAND, "why"),
        (a_job(), a_pod({"waiting": {"reason": "CreateContainerConfigError",
                                     "message": 'failed to create subPath directory for volumeMount "storage-0"'}},
                        phase="Pending"),
         Reason.STAGE_IN, "data can't be mounted"),
        (a_job(), a_pod({"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}}, phase="Pending"),
         Reason.IMAGE, "no image"),
        (a_job(Failed=("DeadlineExceeded", "")), a_pod(RUNNING), Reason.DEADLINE, ""),
        (a_job(Failed=("BackoffLimitExceeded", "")), None, Reason.DELETED, "removed"),
        (None, a_pod(phase="Failed", deleting=True), Reason.DELETED, "removed"),
        (a_job(), a_pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
         Reason.EVICTED, "low on resource"),
        (a_job(), a_pod(phase="Failed", reason="Evicted",
                        message='Usage of EmptyDir volume "output" exceeds the limit "10M". '),
         Reason.OUTPUT_TOO_LARGE, "The results are larger than the 10M"),
        (a_job(), a_pod(phase="Failed", conditions=[{"type": "DisruptionTarget", "status": "True",
                                                     "reason": "DeletionByTaintManager"}]),
         Reason.NODE_LOST, "machine"),
        (a_job(), a_pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource"),
         Reason.EVICTED, "did not take it"),
    ],
)  # fmt: skip
def test_bad_ends(job: Any, pod: Any, reason: Reason, words: str) -> None:
    observation = seen(job, *([pod] if pod is not None else []))
    assert observation.seen is Seen.FAILED and observation.reason is reason and words in observation.message


ERROR = """uws-launch: error.json
{"type": "UsageError", "message": "no such image", "detail": "ID=x"}"""


@pytest.mark.parametrize("code", [1, 2, 126, 127])
def test_a_command_says_what_went_wrong(code: int) -> None:
    """The launcher passes ``error.json`` on.

    The exit code does not matter as long as it is not 0.
    """
    failed = seen(a_job(), a_pod(ended(code, message=ERROR)))
    assert failed.reason is Reason.EXIT_CODE
    assert failed.error == CommandError("UsageError", "no such image", "ID=x")
    assert seen(a_job(), a_pod(ended(0, "Completed", message=ERROR))).error is None


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "Error"}', '{"message": 3}', "uws-launch: error.json"])
def test_an_error_that_makes_no_sense(text: str) -> None:
    """It is an exit code like any other."""
    failed = seen(a_job(), a_pod(ended(2, message=f"uws-launch: error.json\n{text}")))
    assert failed.reason is Reason.EXIT_CODE and failed.error is None


def test_killed_from_outside_is_no_exit_code() -> None:
    """143 after a deletion is no exit code.

    The Job's condition tells the rest.
    """
    removed = a_pod(ended(143), deleting=True)
    assert seen(a_job(), removed).seen is Seen.RUNNING
    assert seen(a_job(Failed=("BackoffLimitExceeded", "")), removed).reason is Reason.DELETED
    evicted = a_pod(ended(143), phase="Failed", deleting=True, conditions=[
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "Eviction API"},
    ])  # fmt: skip
    assert seen(a_job(), evicted).reason is Reason.EVICTED
    put_back = seen(a_job(suspend=True), removed)
    assert put_back.seen is Seen.SUSPENDED
    # But what ended by itself counts, also when a new pod was made since.
    newer = a_pod(phase="Pending", name="q", created="2026-11-23T10:00:20Z")
    assert seen(a_job(), a_pod(ended(1), phase="Failed"), newer).reason is Reason.EXIT_CODE
    assert seen(a_job(), removed, newer).seen is Seen.STARTING


BEFORE, DURING, AFTER = (f"2026-11-23T10:00:{second:02}Z" for second in (4, 8, 12))
"""Of a command that ends at 10:00:09."""


def disrupted(reason: str, at: str = DURING, message: str = "why") -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    return {"conditions": [{**condition, "lastTransitionTime": at}]}


COMPLETE = a_job(Complete=("CompletionsReached", ""))
OVERDUE = a_job(Failed=("DeadlineExceeded", "Job was active longer than specified deadline"))
STOPPED_MESSAGE = "uws-launch: stopped from outside\n"


@pytest.mark.parametrize("code", [0, 143], ids=["answers with 0", "ends by the signal"])
@pytest.mark.parametrize(
    ("job", "pod", "reason"),
    [
        pytest.param(a_job(), {"deleted_at": DURING, **disrupted("PreemptionByScheduler")}, Reason.EVICTED,
                     id="preempted by the scheduler"),
        pytest.param(a_job(), {"deleted_at": DURING, **disrupted("EvictionByEvictionAPI")}, Reason.EVICTED,
                     id="evicted, as to drain a node"),
        pytest.param(a_job(), {"deleting": True, **disrupted("EvictionByEvictionAPI")}, Reason.EVICTED,
                     id="with no time to end"),
        pytest.param(a_job(), {"deleted_at": DURING, **disrupted("DeletionByTaintManager")}, Reason.NODE_LOST,
                     id="tainted"),
        pytest.param(a_job(), {"deleted_at": DURING, **disrupted("DeletionByPodGC")}, Reason.NODE_LOST,
                     id="node is gone"),
        pytest.param(a_job(), {"reason": "Evicted", "message": "The node was low on resource: memory.",
                               **disrupted("TerminationByKubelet", AFTER)}, Reason.EVICTED, id="node pressure"),
        pytest.param(a_job(), {"reason": "Evicted", "message": "low on resource"}, Reason.EVICTED,
                     id="node pressure of an old kubelet"),
        pytest.param(a_job(), {"reason": "Terminated", "message": "Pod was terminated in response to imminent node "
                               "shutdown.", **disrupted("TerminationByKubelet", AFTER)}, Reason.EVICTED, id="shutdown"),
        pytest.param(a_job(), {"reason": "Preempting", "message": "for a critical pod"}, Reason.EVICTED,
                     id="preempted by the kubelet"),
        pytest.param(a_job(), disrupted("TerminationByKubelet", AFTER), Reason.EVICTED, id="told after the end"),
        pytest.param(a_job(), {"reason": "Evicted", "message": 'Usage of EmptyDir volume "output" exceeds the limit '
                               '"10M". '}, Reason.OUTPUT_TOO_LARGE, id="too much output"),
        pytest.param(a_job(), {"reason": "DeadlineExceeded"}, Reason.DEADLINE, id="deadline of the pod"),
        pytest.param(OVERDUE, {"deleted_at": DURING}, Reason.DEADLINE, id="deadline of the Job"),
        pytest.param(COMPLETE, {"deleted_at": DURING}, Reason.DELETED, id="deleted, and the Job counts it as complete"),
        pytest.param(COMPLETE, {"deleted_at": DURING, **disrupted("EvictionByEvictionAPI")}, Reason.EVICTED,
                     id="evicted, and the Job counts it as complete"),
        pytest.param(None, {"deleted_at": DURING}, Reason.DELETED, id="deleted with its Job"),
        pytest.param(a_job(deleting=True), {"deleted_at": DURING, **disrupted("EvictionByEvictionAPI")}, Reason.EVICTED,
                     id="evicted while its Job is deleted"),
    ],
)  # fmt: skip
def test_cut_short_whatever_the_exit_code(job: Any, pod: dict[str, Any], reason: Reason, code: int) -> None:
    """What came from outside decides.

    A command may answer SIGTERM with 0.
    """
    phase = "Failed" if code or pod.get("reason") else "Succeeded"
    observation = seen(job, a_pod(ended(code), phase=phase, **pod))
    assert (observation.seen, observation.reason) == (Seen.FAILED, reason), observation


@pytest.mark.parametrize("code", [0, 143])
@pytest.mark.parametrize("pod", [{"deleted_at": DURING}, {"deleted_at": DURING, **disrupted("EvictionByEvictionAPI")}])
def test_suspended_whatever_the_exit_code(pod: dict[str, Any], code: int) -> None:
    """Kueue takes the place back.

    The job goes on later, from its start.
    """
    job = a_job(suspend=True)
    assert seen(job, a_pod(ended(code), phase="Failed" if code else "Succeeded", **pod)).seen is Seen.SUSPENDED


@pytest.mark.parametrize(
    ("job", "pod"),
    [
        pytest.param(a_job(), {"deleted_at": AFTER, **disrupted("EvictionByEvictionAPI", AFTER)}, id="evicted"),
        pytest.param(a_job(), {"deleted_at": AFTER}, id="deleted"),
        pytest.param(a_job(suspend=True), {"deleted_at": AFTER}, id="suspended"),
        pytest.param(a_job(suspend=True), {}, id="suspended, and its pod is not yet deleted"),
        pytest.param(None, {"deleted_at": AFTER}, id="Job deleted"),
    ],
)
def test_ended_before_it_was_to_go(job: Any, pod: dict[str, Any]) -> None:
    """An earlier good end counts.

    The command was not cut short when its pod was asked to leave.
    """
    observation = seen(job, a_pod(ended(0, "Completed"), **pod))
    assert (observation.seen, observation.exit_code) == (Seen.SUCCEEDED, 0)


def test_stopped_without_a_trace() -> None:
    """The launcher reports a signal from outside.

    Nothing else does when the container was stopped on its machine.
    """
    cut = a_pod(ended(143, message=STOPPED_MESSAGE), phase="Failed")
    assert seen(a_job(), cut).reason is Reason.EVICTED
    assert seen(a_job(), a_pod(ended(143, message=STOPPED_MESSAGE))).seen is Seen.RUNNING  # its agent goes on
    assert seen(a_job(suspend=True), cut).seen is Seen.SUSPENDED
    assert seen(OVERDUE, cut).reason is Reason.DEADLINE
    assert seen(a_job(), a_pod(ended(143), phase="Failed")).reason is Reason.EXIT_CODE  # its own doing


@pytest.mark.parametrize("state", [{"reason": "OOMKilled"}, {"message": "uws-launch: out of memory\n"}])
def test_a_process_of_the_command_was_killed(state: dict[str, str]) -> None:
    """A command may end well without a process.

    Its owner hears of it; one that fails failed for that.
    """
    survived = seen(a_job(), a_pod(ended(0, **state)))
    assert survived.seen is Seen.SUCCEEDED and "more memory" in survived.warning
    assert seen(a_job(), a_pod(ended(1, **state))).reason is Reason.OUT_OF_MEMORY
    assert seen(a_job(), a_pod(ended(0, "Completed"))).warning == ""


def test_patience_with_images_and_nodes() -> None:
    """Pulls may fail, and nodes be missing, for a while."""
    pulling = a_pod({"waiting": {"reason": "ImagePullBackOff", "message": "back-off"}}, phase="Pending")
    kind = Patience(image=60)
    assert seen(a_job(), pulling, patience=kind, first_stuck=T0 - 59_000).seen is Seen.STARTING
    assert seen(a_job(), pulling, patience=kind, first_stuck=T0 - 60_000).reason is Reason.IMAGE
    no_node = a_pod(
        phase="Pending",
        conditions=[
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "lastTransitionTime": STARTED,
             "message": "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes"},
        ],
    )  # fmt: skip
    no_node["spec"] = {}
    waits = seen(a_job(), no_node)
    assert waits.waiting == "waiting for a machine with room: 0/1 nodes are available: 1 Insufficient cpu"
    since = 1_795_428_005_000
    assert seen(a_job(), no_node, now=since + 9_000, patience=Patience(schedule=10)).seen is Seen.STARTING
    assert seen(a_job(), no_node, now=since + 10_000, patience=Patience(schedule=10)).reason is Reason.UNSCHEDULABLE


def test_patience_with_volumes() -> None:
    """A volume that is not there shows in nothing but a pod that never gets ready for its containers."""
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": STARTED}
    unready = {"type": "PodReadyToStartContainers", "status": "False"}
    pod = a_pod(phase="Pending", conditions=[placed, unready], initContainerStatuses=[])
    since, patience = 1_795_428_005_000, Patience(volumes=10)
    assert seen(a_job(), pod, now=since + 9_000, patience=patience).seen is Seen.STARTING
    late = seen(a_job(), pod, now=since + 10_000, patience=patience)
    assert late.reason is Reason.UNSCHEDULABLE and "its volumes and its network ready in 10 s" in late.message
    pod["spec"]["volumes"] = [{"name": "input"}, {"name": "storage-0"}]
    assert seen(a_job(), pod, now=since + 10_000, patience=patience).reason is Reason.STAGE_IN
    assert seen(a_job(), pod, now=since + 10_000, patience=Patience(volumes=0)).seen is Seen.STARTING
    pod["status"]["conditions"][1]["status"] = "True"  # its image may take longer
    assert seen(a_job(), pod, now=since + 10_000, patience=patience).seen is Seen.STARTING
    pod["status"]["conditions"] = [placed]  # an older cluster does not say
    assert seen(a_job(), pod, now=since + 10_000, patience=patience).seen is Seen.STARTING


def a_workload(**conditions: tuple[str, str]) -> dict[str, Any]:
    conditions_list = [
        {"type": kind, "status": state, "message": message} for kind, (state, message) in conditions.items()
    ]
    return {
        "metadata": {
            "name": "w",
            "creationTimestamp": STARTED,
            "ownerReferences": [{"kind": "Job", "name": "j"}],
        },
        "spec": {"queueName": "astro"},
        "status": {"conditions": conditions_list},
    }


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed",
         "waiting for 1 more CPU in the queue q"),
        ("pod set main: insufficient unused quota for cpu in flavor default, 500m more needed",
         "waiting for 0.5 more CPUs in the queue q"),
        ("insufficient unused quota for memory in flavor default, 4Gi more needed",
         "waiting for 4Gi more of memory in the queue q"),
        ("ClusterQueue astro is inactive", "the site's queue q does not take jobs at the moment"),
        ("", "waiting for its turn in the queue q"),
    ],
)  # fmt: skip
def test_kueue_in_words(message: str, words: str) -> None:
    view = workload_view(a_workload(QuotaReserved=("False", message)))
    assert waiting_words(view, "q").startswith(words)


def test_held_and_put_back() -> None:
    """Before its first start a held job waits.

    One that was put back is suspended, and says by whom.
    """
    waiting = seen(a_job(suspend=True), workload=a_workload(QuotaReserved=("False", "")), place=3)
    assert waiting.seen is Seen.STARTING and waiting.place == 3
    evicted = a_workload(QuotaReserved=("False", "x"), Evicted=("True", "Preempted to accommodate a workload"))
    back = seen(a_job(suspend=True), workload=evicted)
    assert back.seen is Seen.SUSPENDED and "Preempted" in back.waiting


def test_what_is_none_of_ours() -> None:
    foreign = a_pod()
    foreign["metadata"]["labels"] = {"app": "x"}
    assert pod_view(foreign) is None
    assert no_node_words("") == "none fits"


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (404, 'namespaces "x" not found', SiteDown),
        (404, 'jobs.batch "x" not found', Missing),
        (409, "already exists", Exists),
        (429, "too many requests", SiteBusy),
        (403, 'jobs "x" is forbidden: exceeded quota: q', SiteBusy),
        (403, 'jobs is forbidden: User "u" cannot create resource "jobs"', SiteDown),
        (403, "admission webhook denied the request: no", SiteRefuses),
        (401, "Unauthorized", SiteDown),
        (422, "spec.template: Invalid value", SiteRefuses),
        (500, "etcd", SiteDown),
        (503, "apiserver is shutting down", SiteDown),
    ],
)
def test_answers_of_the_api_server(status: int, message: str, kind: type[Exception]) -> None:
    """Try again later, go elsewhere, or give up.

    Each answer is sorted.
    """
    error = refusal("a", status, message, "7")
    assert isinstance(error, kind)
    if isinstance(error, SiteBusy):
        assert error.retry_after == 7 and not error.sent
    if isinstance(error, UwsError):
        assert message.split()[0] in error.message or "credentials" in error.message


@pytest.mark.parametrize(
    ("kind", "reason", "message", "words"),
    [
        ("QuotaReserved", "WaitingForQuota", "insufficient unused quota for cpu in flavor default, 1 more needed",
         "waiting for 1 more CPU in the queue q"),
        ("QuotaReserved", "ExceedsMaxQuota", "cpu 99 > maximum capacity 64",
         "it asks for more than the site ever has in the queue q: cpu 99 > maximum capacity 64"),
        ("QuotaReserved", "WaitingForPreemptedWorkloads", "any text", "room is being made for it in the queue q"),
        ("QuotaReserved", "AdmissionGated", "", "held until what it needs is there in the queue q"),
        ("QuotaReserved", "Pending", "insufficient unused quota for cpu in flavor default, 2 more needed",
         "waiting for 2 more CPUs in the queue q"),
        ("Admitted", "UnsatisfiedAdmissionChecks", "checks", "it has its place; machines are being made ready for it"),
    ],
)  # fmt: skip
def test_kueues_typed_reasons(kind: str, reason: str, message: str, words: str) -> None:
    """The reason comes before the text, which may change; older versions have the text alone."""
    workload = a_workload(
        **({"QuotaReserved": ("True", "")} if kind == "Admitted" else {}), **{kind: ("False", message)}
    )
    for condition in workload["status"]["conditions"]:
        if condition["type"] == kind:
            condition["reason"] = reason
    assert waiting_words(workload_view(workload), "q").startswith(words)
