"""The lab's nodes on a real API server: pods of its controllers run, are probed, are told of, and end."""

from __future__ import annotations

import json
from typing import Any

from agent.lab.session import until
from tests.support.lab_pods import NEVER_ENDS, READY, WEB, Corner, config_map, pod, shell, template

Json = dict[str, Any]


def test_a_pod_waits_for_a_config_map_and_says_so_and_then_sees_its_changes(here: Corner) -> None:
    volume = {"name": "words", "configMap": {"name": "words"}}
    mount = {"name": "words", "mountPath": "/words"}
    here.put(pod("reader", shell(NEVER_ENDS, volumeMounts=[mount]), volumes=[volume]))
    here.until_event("reader", "FailedMount", f"ConfigMap {here.name}/words does not exist")
    here.put(config_map("words", greeting="hello"))
    here.wait(READY, "pod/reader")
    assert here.run("reader", "cat", "/words/greeting") == "hello"
    here.put(config_map("words", greeting="good bye", other="new"))
    here.until_it_says("good bye", "reader", "cat", "/words/greeting")
    assert here.run("reader", "ls", "/words") == "greeting\nother\n"


def test_a_pod_s_token_is_bound_to_it(here: Corner) -> None:
    here.put(pod("bearer", shell(NEVER_ENDS)))
    here.wait(READY, "pod/bearer")
    token = here.run("bearer", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    plane = here.world.plane
    found = json.loads(plane.kubectl("create", "--filename=-", "--output=json", stdin=json.dumps(review)))["status"]
    assert found["user"]["username"] == f"system:serviceaccount:{here.name}:default"
    assert found["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["bearer"]
    node = here.pods("bearer")[0]["spec"]["nodeName"]
    assert found["user"]["extra"]["authentication.kubernetes.io/node-name"] == [node]


def test_a_container_that_keeps_failing_is_started_again_after_a_pause_each_time(here: Corner) -> None:
    here.put(pod("failing", shell("echo no luck; exit 3")))
    here.until_event("failing", "BackOff", "Back-off restarting failed container main")

    def crashed() -> bool:
        status = here.pods("failing")[0]["status"]["containerStatuses"][0]
        reason = status["state"].get("waiting", {}).get("reason")
        return (reason, status["restartCount"] > 1) == ("CrashLoopBackOff", True)

    until("it waits for another start", crashed)
    last = here.pods("failing")[0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (3, "Error")


def test_a_container_that_is_no_longer_alive_is_replaced(here: Corner) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    here.put(pod("dying", shell(f"touch /tmp/alive; {NEVER_ENDS}", livenessProbe=probe)))
    here.wait(READY, "pod/dying")
    here.run("dying", "rm", "/tmp/alive")
    here.until_event("dying", "Killing", "failed liveness probe")
    here.wait("--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "pod/dying")
    here.wait(READY, "pod/dying")


def test_the_api_server_gets_a_container_s_log(here: Corner) -> None:
    here.put(pod("talking", shell(f"echo one; echo two; {NEVER_ENDS}")))
    here.wait(READY, "pod/talking")
    until("both lines are there", lambda: here.kubectl("logs", "talking") == "one\ntwo\n")
    assert here.kubectl("logs", "talking", "--tail=1") == "two\n"


def test_init_containers_run_one_after_the_other_before_the_rest(here: Corner) -> None:
    volume, mount = {"name": "log", "emptyDir": {}}, {"name": "log", "mountPath": "/log"}
    first = shell("sleep 0.3; echo first >> /log/order", volumeMounts=[mount]) | {"name": "first"}
    second = shell("echo second >> /log/order", volumeMounts=[mount]) | {"name": "second"}
    main = shell(f"echo main >> /log/order; {NEVER_ENDS}", volumeMounts=[mount])
    here.put(pod("ordered", main, initContainers=[first, second], volumes=[volume]))
    here.wait(READY, "pod/ordered")
    here.until_it_says("first\nsecond\nmain\n", "ordered", "cat", "/log/order")


def test_a_pod_that_is_deleted_does_its_last_work_before_it_goes(here: Corner) -> None:
    volume = {"name": "kept", "hostPath": {"path": f"/var/{here.name}", "type": "DirectoryOrCreate"}}
    mount = {"name": "kept", "mountPath": "/kept"}
    before = {"preStop": {"exec": {"command": ["sh", "-c", "echo prepared >> /kept/end"]}}}
    work = "trap 'echo asked >> /kept/end; exit' TERM; while :; do sleep 0.1; done"
    here.put(pod("leaving", shell(work, volumeMounts=[mount], lifecycle=before), volumes=[volume]))
    here.wait(READY, "pod/leaving")
    node = here.pods("leaving")[0]["spec"]["nodeName"]
    here.kubectl("delete", "pod", "leaving", "--timeout=20s")
    kept = here.world.lab.folder / node / "root/var" / here.name / "end"
    assert kept.read_text() == "prepared\nasked\n"


def test_a_container_has_the_privileges_that_its_manifest_gives_it(here: Corner) -> None:
    least = {
        "runAsUser": 1234,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    here.put(pod("least", shell(NEVER_ENDS, securityContext=least)))
    here.wait(READY, "pod/least")
    assert here.run("least", "id", "-u") == "1234\n"
    assert "CapBnd:\t0000000000000000" in here.run("least", "cat", "/proc/self/status")
    assert "Read-only file system" in here.run("least", "touch", "/file")


def test_a_daemon_set_with_a_surge_starts_the_new_pod_before_the_old_one_ends(here: Corner) -> None:
    strategy = {"updateStrategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}
    whole = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "daemon"}}
    here.put({**whole, "spec": {**template("daemon", WEB), **strategy}})
    here.kubectl("rollout", "status", "daemonset/daemon", "--timeout=40s")
    old = {found["metadata"]["name"] for found in here.pods("daemon")}
    assert len(old) == 2
    here.put({**whole, "spec": {**template("daemon", {**WEB, "env": [{"name": "VERSION", "value": "2"}]}), **strategy}})
    until("a node has both an old pod and a new one", lambda: len(here.pods("daemon")) > 2, pause=0.02)
    here.kubectl("rollout", "status", "daemonset/daemon", "--timeout=40s")
    until("the old pods are gone", lambda: len(here.get("pods")["items"]) == 2)
    assert not old & {found["metadata"]["name"] for found in here.pods("daemon")}


def test_a_pod_that_asks_for_what_the_lab_has_not_fails_and_says_so(here: Corner) -> None:
    here.put(pod("sharing", shell(NEVER_ENDS), shareProcessNamespace=True))
    here.wait("--for=jsonpath={.status.phase}=Failed", "pod/sharing")
    assert "shareProcessNamespace" in here.pods("sharing")[0]["status"]["message"]
    here.kubectl("delete", "pod", "sharing", "--timeout=20s")
