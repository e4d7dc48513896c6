"""Which ports a pod wants to be probed at."""

from __future__ import annotations

from typing import Any

import pytest

from agent.node.layout import POD_PROBE_PORTS
from agent.node.probe_ports import probe_ports


def a_spec(**container: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "ports": [{"name": "web", "containerPort": 8080}], **container}]}


@pytest.mark.parametrize(
    ("container", "ports"),
    [
        ({}, ()),
        ({"readinessProbe": {"httpGet": {"port": 80}}}, (80,)),
        ({"livenessProbe": {"tcpSocket": {"port": "web"}}}, (8080,)),
        ({"startupProbe": {"grpc": {"port": 90, "service": "x"}}}, (90,)),
        ({"lifecycle": {"postStart": {"httpGet": {"port": 81}}, "preStop": {"tcpSocket": {"port": "82"}}}}, (81, 82)),
        ({"readinessProbe": {"exec": {"command": ["true"]}}, "livenessProbe": None, "lifecycle": None}, ()),
        ({"readinessProbe": {"httpGet": {"port": "unknown"}}}, ()),
        ({"readinessProbe": {"httpGet": {}}}, ()),
        ({"readinessProbe": {"httpGet": {"port": 70000}}, "livenessProbe": {"httpGet": {"port": 0}}}, ()),
    ],
)
def test_the_ports_of_a_containers_own_probes_and_hooks_count(container: Any, ports: tuple[int, ...]) -> None:
    assert probe_ports(a_spec(**container)) == ports


def test_a_probe_of_another_host_opens_nothing() -> None:
    assert probe_ports(a_spec(readinessProbe={"httpGet": {"port": 80, "host": "10.0.0.7"}})) == ()


def test_a_name_is_the_containers_own() -> None:
    spec = {"initContainers": [{"readinessProbe": {"tcpSocket": {"port": "web"}}}], **a_spec()}
    assert probe_ports(spec) == ()


def test_all_containers_count_each_port_once_and_so_many_at_most() -> None:
    probes = [{"name": str(port), "readinessProbe": {"tcpSocket": {"port": port}}} for port in range(99, 1, -1)]
    assert probe_ports({"initContainers": probes, "containers": probes}) == tuple(range(2, 2 + POD_PROBE_PORTS))
