"""The network of the lab's nodes on a real API server: Services, readiness, the API server's own address, CNI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.lab.session import until
from tests.support.lab_pods import NEVER_ENDS, READY, WEB, Corner, pod, shell, template

Json = dict[str, Any]
# It sees the node's own /run/weft, as a plugin of a real node does.
REFUSING = """#!/bin/sh
case "$CNI_COMMAND;$CNI_ARGS;" in
  "ADD;"*";K8S_POD_NAMESPACE={namespace};"*)
    [ -e /run/weft/{namespace} ] || {{ echo '{{"code": 11, "msg": "not yet"}}'; exit 1; }} ;;
esac
"""
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "web"}},
}


@pytest.fixture
def refusing_plugin(here: Corner) -> Iterator[Path]:
    """node-1 has a CNI plugin that lets no pod of the namespace start until this file is there."""
    root = here.world.lab.folder / "node-1/root"
    program, chain = root / "opt/cni/bin/refusing", next((root / "etc/cni/net.d").glob("*.conflist"))
    program.write_text(REFUSING.format(namespace=here.name))
    program.chmod(0o755)
    before = chain.read_text()
    found = json.loads(before)
    chain.write_text(json.dumps({**found, "plugins": [*found["plugins"], {"type": "refusing"}]}))
    yield root / "run/weft" / here.name
    chain.write_text(before)
    program.unlink()
    (root / "run/weft" / here.name).unlink(missing_ok=True)


def a_service(app: str) -> Json:
    ports = [{"port": 80, "targetPort": "http"}]
    metadata = {"name": app}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": {"app": app}, "ports": ports},
    }


def a_deployment(app: str, replicas: int, *containers: Json, **more: object) -> Json:
    whole = {"replicas": replicas, **template(app, *containers, **more)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app}, "spec": whole}


def addresses_of(here: Corner, service: str, *, ready: bool = True) -> set[str]:
    """The addresses of a service's endpoints that are ready, or that are not."""
    slices = here.get("endpointslices", f"--selector=kubernetes.io/service-name={service}")["items"]
    every = [endpoint for found in slices for endpoint in found["endpoints"] or []]
    return {
        address for endpoint in every if endpoint["conditions"]["ready"] is ready for address in endpoint["addresses"]
    }


def test_a_deployment_becomes_available_on_both_nodes_and_answers_by_its_service(here: Corner) -> None:
    here.put(a_deployment("web", 2, WEB, topologySpreadConstraints=[SPREAD]), a_service("web"))
    here.wait("--for=condition=Available", "deployment/web")
    names = [found["metadata"]["name"] for found in here.pods("web")]
    assert [found["spec"]["nodeName"] for found in here.pods("web")] == ["node-1", "node-2"]
    for caller in names:
        answers = here.run(caller, "sh", "-c", "for i in $(seq 24); do curl -s -m 2 http://web/; done")
        assert set(answers.split()) == {*names}  # chosen at random, so one may be left out, once in 2**23 runs


def test_a_pod_that_is_not_ready_gets_no_traffic_until_it_is_again(here: Corner) -> None:
    probe = {"exec": {"command": ["test", "-e", "/state/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    state = {"name": "state", "emptyDir": {}}
    mount = {"name": "state", "mountPath": "/state"}
    container = shell(f"touch /state/ready; {NEVER_ENDS}", readinessProbe=probe, volumeMounts=[mount])
    container["ports"] = [{"name": "http", "containerPort": 8080}]
    here.put(pod("fickle", container, volumes=[state]), a_service("fickle"))
    here.wait(READY, "pod/fickle")
    address = here.pods("fickle")[0]["status"]["podIP"]
    until("the endpoint is ready", lambda: addresses_of(here, "fickle") == {address})
    here.run("fickle", "rm", "/state/ready")
    until("the endpoint is not ready", lambda: addresses_of(here, "fickle", ready=False) == {address})
    here.until_event("fickle", "Unhealthy", "Readiness probe failed")
    here.run("fickle", "touch", "/state/ready")
    until("the endpoint is ready again", lambda: addresses_of(here, "fickle") == {address})


def test_a_pod_calls_the_api_server_by_its_service_with_its_token(here: Corner) -> None:
    here.put(pod("caller", shell(NEVER_ENDS)))
    here.wait(READY, "pod/caller")
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    request = (
        f'curl -s --cacert {folder}/ca.crt -H "Authorization: Bearer $(cat {folder}/token)" '
        "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/api/v1/nodes"
    )
    assert f"system:serviceaccount:{here.name}:default" in here.run("caller", "sh", "-c", request)


def test_a_pod_in_its_node_s_network_has_the_node_s_address(here: Corner) -> None:
    here.put(pod("host", shell(NEVER_ENDS), hostNetwork=True))
    here.wait(READY, "pod/host")
    status = here.pods("host")[0]["status"]
    assert status["podIP"] == status["hostIP"]
    assert status["hostIP"] in here.run("host", "ip", "-4", "address", "show", "eth0")


def test_a_pod_waits_while_a_plugin_of_its_node_says_no(here: Corner, refusing_plugin: Path) -> None:
    here.put(pod("held", shell(NEVER_ENDS), nodeSelector={"kubernetes.io/hostname": "node-1"}))
    here.until_event("held", "FailedCreatePodSandBox", "plugin refusing: not yet")
    refusing_plugin.touch()
    here.wait(READY, "pod/held")
