"""The lab's smaller rules: addresses, tokens, containers, deployments, probes, settings."""

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from agent.api.kubernetes import Deployment, Pod, Probe, parse
from agent.errors import ConfigError, InvalidObjectError, KernelError
from agent.kube import Object
from agent.lab.addresses import Pair, free_pod_address, hardware_address, node_plans
from agent.lab.backoff import next_delay
from agent.lab.cgroups import find_root
from agent.lab.containers import ContainerState, command, environment, expanded, pod_status
from agent.lab.deployments import Create, End, orphans, plan, template_hash
from agent.lab.prerequisites import check
from agent.lab.probes import Readiness
from agent.lab.processes import parse_settings
from agent.lab.tokens import Bearer, Signer, Subject


def a_pod(**container: object) -> Pod:
    found = parse(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {"containers": [{"name": "c", **container}]},
        },
        "test",
    )
    assert isinstance(found, Pod)
    return found


def a_deployment(replicas: int = 2, image: str = "1") -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
        },
    }


def typed(deployment: Object) -> Deployment:
    found = parse(deployment, "test")
    assert isinstance(found, Deployment)
    return found


def made(steps: list[Create | End], *, ready: bool) -> list[Pod]:
    """The pods of the Create steps, as they would be stored."""
    found = []
    for step in steps:
        assert isinstance(step, Create)
        status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
        pod = parse({**step.pod, "status": status}, "test")
        assert isinstance(pod, Pod)
        found.append(pod)
    return found


def test_nodes_have_addresses_of_their_own() -> None:
    first, second = node_plans(2)
    assert (first.name, first.address.texts, str(first.pods_v4)) == (
        "node-1",
        ("10.70.0.11", "fd70::b"),
        "10.244.1.0/24",
    )
    assert second.gateway.texts == ("10.244.2.1", "fd44:244:0:2::1")


def test_a_pod_s_address_is_not_used_again_at_once() -> None:
    node = node_plans(1)[0]
    first = free_pod_address(node, set(), None)
    assert first.texts == ("10.244.1.2", "fd44:244:0:1::2")
    assert free_pod_address(node, set(), first).texts[0] == "10.244.1.3"


def test_addresses_go_round() -> None:
    node = node_plans(1)[0]
    last = Pair(node.pods_v4[254], node.pods_v6[254])
    assert free_pod_address(node, set(), last).texts[0] == "10.244.1.2"


def test_a_mac_follows_from_the_address() -> None:
    assert hardware_address(node_plans(1)[0].address.v4) == "02:57:0a:46:00:0b"


def test_waits_double_up_to_ten_seconds_and_start_anew_after_a_good_run() -> None:
    delays = [0.0]
    for _ in range(5):
        delays.append(next_delay(delays[-1], ran_seconds=0.1))
    assert delays[1:] == [1, 2, 4, 8, 10]
    assert next_delay(10, ran_seconds=31) == 1


@pytest.mark.parametrize(
    "line",
    ["41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "41 31 0:38 / /sys/fs/cgroup rw shared:9 - cgroup2 c rw"],
)
def test_cgroup2_is_found_in_mountinfo(line: str) -> None:
    assert str(find_root(f"31 23 0:28 / /x rw - tmpfs tmpfs rw\n{line}\n")) == "/sys/fs/cgroup"


def test_without_cgroup2_the_error_says_how_to_mount_it() -> None:
    with pytest.raises(KernelError, match="mount -t cgroup2"):
        find_root("")


def test_a_token_is_shaped_like_a_bound_one() -> None:
    signer = Signer(ec.generate_private_key(ec.SECP256R1()))
    subject = Subject("shop", Bearer("web", "sa-uid"), Bearer("web-1", "pod-uid"), Bearer("node-1", "node-uid"))
    token = signer.sign(subject, now=1_000, lifetime_seconds=60)
    key = jwt.PyJWKSet.from_json(json.dumps(signer.jwks()))[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, audience="istio-ca", algorithms=["ES256"], options={"verify_exp": False})
    claims.pop("jti")
    assert claims == {
        "iss": "https://kubernetes.default.svc",
        "aud": ["istio-ca"],
        "iat": 1_000,
        "nbf": 1_000,
        "exp": 1_060,
        "sub": "system:serviceaccount:shop:web",
        "kubernetes.io": {
            "namespace": "shop",
            "serviceaccount": {"name": "web", "uid": "sa-uid"},
            "pod": {"name": "web-1", "uid": "pod-uid"},
            "node": {"name": "node-1", "uid": "node-uid"},
        },
    }


def test_references_are_expanded_as_in_kubernetes() -> None:
    assert expanded("$(A) $(B) $$(A) $$x $y", {"A": "1"}) == "1 $(B) $(A) $x $y"


def test_fields_of_the_pod_get_into_the_environment() -> None:
    pod = a_pod(
        env=[{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}, {"name": "B", "value": "$(IP)"}]
    )
    found = environment(pod, pod.spec.containers[0], ["10.0.0.1", "fd::1"], "10.70.0.11")
    assert (found["IP"], found["B"], found["HOSTNAME"]) == ("10.0.0.1", "10.0.0.1", "web")


def test_a_container_without_a_command_is_refused() -> None:
    pod = a_pod(image="nginx")
    with pytest.raises(InvalidObjectError, match="Pod shop/web: container c: no command"):
        command(pod, pod.spec.containers[0], {})


@pytest.mark.parametrize(
    ("state", "phase", "ready"),
    [
        (ContainerState(), "Pending", "False"),
        (ContainerState(is_running=True), "Running", "False"),
        (ContainerState(is_running=True, is_ready=True), "Running", "True"),
        (ContainerState(restarts=1, exit_code=1), "Running", "False"),
        (ContainerState(is_done=True, exit_code=0), "Succeeded", "False"),
        (ContainerState(is_done=True, exit_code=1), "Failed", "False"),
    ],
)
def test_a_pod_s_phase_follows_from_its_containers(state: ContainerState, phase: str, ready: str) -> None:
    status = pod_status(a_pod(), {"c": state}, ["10.0.0.1"], "10.70.0.11")
    assert (status["phase"], status["conditions"][-1]["status"]) == (phase, ready)


def test_a_deployment_makes_its_replicas() -> None:
    stored = a_deployment()
    pods = [step.pod for step in plan(typed(stored), stored, [], b"") if isinstance(step, Create)]
    assert len({pod["metadata"]["name"] for pod in pods}) == 2
    assert pods[0]["metadata"]["name"].startswith(f"web-{template_hash(stored)}-")
    assert pods[0]["metadata"]["ownerReferences"][0]["name"] == f"web-{template_hash(stored)}"


def test_a_deployment_with_all_its_pods_needs_nothing() -> None:
    stored = a_deployment()
    pods = made(plan(typed(stored), stored, [], b""), ready=True)
    assert plan(typed(stored), stored, pods, b"") == []


def test_old_pods_stay_until_the_new_ones_are_ready() -> None:
    stored = a_deployment(1)
    old = made(plan(typed(stored), stored, [], b""), ready=True)
    changed = a_deployment(1, image="2")
    new = plan(typed(changed), changed, old, b"x")
    assert [type(step) for step in new] == [Create]
    assert plan(typed(changed), changed, [*old, *made(new, ready=True)], b"") == [End(old[0])]


def test_fewer_replicas_end_pods_that_are_not_ready_first() -> None:
    stored = a_deployment()
    first, second = made(plan(typed(stored), stored, [], b""), ready=True)
    waiting = second.model_copy(update={"status": second.status.model_copy(update={"conditions": ()})})
    assert plan(typed(a_deployment(1)), a_deployment(1), [waiting, first], b"") == [End(waiting)]


def test_pods_of_a_deleted_deployment_end() -> None:
    stored = a_deployment(1)
    pods = made(plan(typed(stored), stored, [], b""), ready=True)
    assert orphans([typed(stored)], pods) == []
    assert orphans([], pods) == [End(pods[0])]


def test_readiness_follows_the_probe_s_thresholds() -> None:
    probe = Probe.model_validate({"tcpSocket": {"port": 1}, "successThreshold": 2, "failureThreshold": 2})
    readiness, seen = Readiness(), []
    for succeeded in (True, True, False, False):
        readiness = readiness.after(succeeded=succeeded, probe=probe)
        seen.append(readiness.is_ready)
    assert seen == [False, True, True, False]


def test_settings_are_given_to_a_kind_or_to_one_process() -> None:
    texts = ("proxy:SECRET_TTL=60s", "node-1-node:LOG_LEVEL=DEBUG")
    assert parse_settings(texts, 1) == {"proxy": {"SECRET_TTL": "60s"}, "node-1-node": {"LOG_LEVEL": "DEBUG"}}


@pytest.mark.parametrize("text", ["SECRET_TTL=60s", "proxy:SECRET_TTL", "proxies:A=1", "node-9-proxy:A=1"])
def test_a_setting_of_no_process_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--env"):
        parse_settings((text,), 2)


def test_missing_programs_are_named_with_their_packages() -> None:
    with pytest.raises(ConfigError, match="apt-get install -y nftables"):
        check(0, lambda program: None if program == "nft" else program)


def test_somebody_who_is_not_root_is_told_so() -> None:
    with pytest.raises(ConfigError, match="needs root"):
        check(1000, lambda program: program)
