"""What a pod's status makes of its containers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agent.api.pods import runnable_pod
from agent.api.pods.spec import RunnablePod
from agent.kube import Object
from agent.lab.kubernetes.states import ContainerState, Ended, Running, Waiting, first_states, phase, pod_status

AT = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
TEXT = "2026-01-31T12:00:00Z"
WAITS = ContainerState(Waiting("ContainerCreating"))
RUNS = ContainerState(Running("id", AT), is_started=True, is_ready=True)
DONE = ContainerState(Ended("id", 0, AT, AT))
FAILED = ContainerState(Ended("id", 1, AT, AT))
BACK_OFF = FAILED.waiting(Waiting("CrashLoopBackOff"))


def a_pod(policy: str = "Always", init: tuple[Object, ...] = ()) -> RunnablePod:
    container = {"name": "main", "command": ["true"]}
    spec = {"containers": [container], "initContainers": list(init), "restartPolicy": policy, "nodeName": "node-1"}
    metadata = {"name": "web", "namespace": "shop", "uid": "u-1"}
    return runnable_pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "test")


def the_status(state: ContainerState, before: Object | None = None, now: str = TEXT) -> Object:
    times = {"startTime": TEXT, "now": now}
    return pod_status(a_pod(), {"main": state}, ["10.0.0.1"], ["10.70.0.11"], times, before or {})


@pytest.mark.parametrize(
    ("policy", "state", "expected"),
    [
        ("Always", WAITS, "Pending"),
        ("Always", RUNS, "Running"),
        ("Always", BACK_OFF, "Running"),
        ("Always", DONE, "Running"),
        ("OnFailure", DONE, "Succeeded"),
        ("OnFailure", FAILED, "Running"),
        ("Never", DONE, "Succeeded"),
        ("Never", FAILED, "Failed"),
    ],
)
def test_the_phase_follows_the_containers_and_the_restart_policy(
    policy: str, state: ContainerState, expected: str
) -> None:
    assert phase(a_pod(policy), {"main": state}) == expected


def test_a_pod_whose_init_container_failed_for_good_has_failed() -> None:
    pod = a_pod("Never", ({"name": "first", "command": ["false"]},))
    assert phase(pod, {"first": FAILED, "main": WAITS}) == "Failed"


def test_a_pod_waits_for_its_init_containers() -> None:
    pod = a_pod(init=({"name": "first", "command": ["true"]},))
    assert first_states(pod)["main"] == ContainerState(Waiting("PodInitializing"))


def test_a_container_that_runs_is_told_with_its_start() -> None:
    assert the_status(RUNS)["containerStatuses"] == [
        {
            "name": "main",
            "image": "",
            "imageID": "",
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": TEXT}},
            "containerID": "runc://id",
        }
    ]


def test_a_container_that_waits_for_its_next_start_tells_how_it_ended() -> None:
    (found,) = the_status(BACK_OFF)["containerStatuses"]
    ended = {"exitCode": 1, "reason": "Error", "startedAt": TEXT, "finishedAt": TEXT, "containerID": "runc://id"}
    assert found["state"] == {"waiting": {"reason": "CrashLoopBackOff"}}
    assert found["lastState"] == {"terminated": ended}


def conditions(status: Object) -> dict[str, tuple[str, str]]:
    return {found["type"]: (found["status"], found["lastTransitionTime"]) for found in status["conditions"]}


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    ready = the_status(RUNS)
    later = "2026-01-31T13:00:00Z"
    assert conditions(the_status(RUNS, ready, later))["Ready"] == ("True", TEXT)
    assert conditions(the_status(BACK_OFF, ready, later))["Ready"] == ("False", later)
    assert conditions(the_status(BACK_OFF, ready, later))["Initialized"] == ("True", TEXT)


def test_a_pod_that_is_not_ready_says_which_container_is_not() -> None:
    ready = next(found for found in the_status(BACK_OFF)["conditions"] if found["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [main]",
    )
