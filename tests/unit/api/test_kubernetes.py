import pytest

from agent.api.kubernetes import Pod, Service, parse, to_pod
from agent.errors import InvalidObjectError
from agent.model import NodeName, PodUid
from agent.model import Pod as MeshPod
from tests.support.objects import Object, a_pod, a_service


def test_a_pod_of_an_api_server_becomes_a_pod_of_the_mesh() -> None:
    given = a_pod(
        ip=("10.0.0.7", "fd00::7"),
        labels={"app": "web", "pod-template-hash": "5d9f8"},
        annotations={"note": "x"},
        owner=("ReplicaSet", "web-5d9f8"),
    )
    parsed = parse(given, "state")
    assert isinstance(parsed, Pod)
    assert to_pod(parsed) == MeshPod(
        uid=PodUid("uid-shop-web-1"),
        name="web-1",
        namespace="shop",
        service_account="web",
        node=NodeName("node-1"),
        addresses=("10.0.0.7", "fd00::7"),
        labels={"app": "web", "pod-template-hash": "5d9f8"},
        annotations={"note": "x"},
        is_ready=True,
        workload_name="web",
        workload_type="deployment",
    )


@pytest.mark.parametrize(
    ("owner", "workload"),
    [
        (None, ("web-1", "pod")),
        (("Deployment", "web"), ("web", "deployment")),
        (("Job", "backup"), ("backup", "job")),
        (("Job", "backup-29012345"), ("backup", "cronjob")),
        (("StatefulSet", "db"), ("db", "pod")),
        (("ReplicaSet", "bare"), ("bare", "pod")),
    ],
)
def test_a_workload_is_named_after_its_owner(owner: tuple[str, str] | None, workload: tuple[str, str]) -> None:
    parsed = parse(a_pod(owner=owner), "state")
    assert isinstance(parsed, Pod)
    pod = to_pod(parsed)
    assert (pod.workload_name, pod.workload_type) == workload


def test_a_finished_and_a_terminating_pod_are_told_apart() -> None:
    ended, ending = parse(a_pod(phase="Succeeded"), ""), parse(a_pod(terminating=True), "")
    assert isinstance(ended, Pod) and isinstance(ending, Pod)
    assert (to_pod(ended).is_finished, to_pod(ended).is_terminating) == (True, False)
    assert (to_pod(ending).is_finished, to_pod(ending).is_terminating) == (False, True)


def test_null_is_absent_and_unknown_fields_are_ignored() -> None:
    given = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "labels": None, "managedFields": [1], "creationTimestamp": None},
        "spec": {"clusterIP": None, "ports": None, "sessionAffinity": "None"},
    }
    parsed = parse(given, "manifest")
    assert isinstance(parsed, Service)
    assert (parsed.full_name, parsed.spec.virtual_addresses) == ("default/web", ())


def test_a_headless_service_has_no_virtual_address() -> None:
    parsed = parse(a_service(ips=("None",)), "state")
    assert isinstance(parsed, Service)
    assert parsed.spec.is_headless
    assert parsed.spec.virtual_addresses == ()


def _pod_with(container: Object) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [container]}}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            a_pod(labels={"istio.io/dataplane-mode": "ambiant"}),
            "f: Pod shop/web-1: metadata.labels: read {'istio.io/dataplane-mode': 'ambiant'}: "
            "label istio.io/dataplane-mode=ambiant: accepted are ambient, none",
        ),
        (
            _pod_with({"name": "c", "ports": [{"containerPort": "80"}]}),
            "f: Pod default/p: spec.containers[0].ports[0].containerPort: read '80': accepted is a valid integer",
        ),
        (
            _pod_with({"name": "c", "readinessProbe": {"periodSeconds": 1}}),
            "f: Pod default/p: spec.containers[0].readinessProbe: read {'periodSeconds': 1}: "
            "accepted is exactly one of tcpSocket, httpGet, exec",
        ),
        (
            a_service(ports=({"port": 80, "targetPort": 0},)),
            "f: Service shop/web: spec.ports[0].targetPort: read 0: "
            "accepted is a number from 1 to 65535, or the name of a container's port",
        ),
        (
            a_service(ips=("10.0.0.300",)),
            "f: Service shop/web: spec.clusterIP: read '10.0.0.300': accepted is an IPv4 or IPv6 address; "
            "spec.clusterIPs[0]: read '10.0.0.300': accepted is an IPv4 or IPv6 address",
        ),
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}},
            "f: Pod default/p: spec: missing; it is required",
        ),
        (
            {"apiVersion": "v1", "kind": "Pod"},
            "f: Pod without a name: metadata: missing; it is required; spec: missing",
        ),
        ({"apiVersion": "v2", "kind": "Pod"}, "f: read apiVersion and kind 'v2 Pod'; accepted are v1 Pod"),
        ({"kind": ["Pod"]}, "f: read apiVersion and kind"),
    ],
)
def test_a_broken_object_is_reported_with_file_object_and_field(given: Object, says: str) -> None:
    with pytest.raises(InvalidObjectError) as caught:
        parse(given, "f")
    assert str(caught.value).startswith(says)


def _deployment(selector: Object, labels: dict[str, str]) -> Object:
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": selector, "template": template},
    }


def test_a_deployment_that_does_not_select_its_own_pods_is_refused() -> None:
    with pytest.raises(InvalidObjectError, match="must be among template"):
        parse(_deployment({"matchLabels": {"app": "a"}}, {"app": "b"}), "f")


def test_a_selector_that_is_not_understood_is_refused_rather_than_ignored() -> None:
    with pytest.raises(InvalidObjectError, match=r"matchExpressions.*accepted are matchLabels"):
        parse(_deployment({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "x"}]}, {"a": "b"}), "f")
