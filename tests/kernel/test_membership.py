"""Who belongs to the mesh by its settings: enablement selectors, discovery selectors, sidecars; while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.lab.session import Session, until
from agent.wire import INBOUND_PORT
from tests.support.command import weft
from tests.support.mesh import RATE, load, shop

ENABLEMENT = json.dumps([{"namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}}}])
DISCOVERY = json.dumps({"discoverySelectors": [{"matchLabels": {"mesh": "mine"}}]})
SIDECAR = "its sidecar (container istio-proxy) carries its traffic already"


def a_namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def a_pod(namespace: str, name: str, container: str = "main") -> dict[str, Any]:
    spec = {"containers": [{"name": container, "command": ["sleep", "infinity"]}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def a_config_map(text: str) -> dict[str, Any]:
    metadata = {"name": "istio", "namespace": "istio-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"mesh": text}}


class Town:
    """A lab of two namespaces that ask for injection, of which the mesh's settings leave one out."""

    def __init__(self, lab: Session, manifests: Path) -> None:
        self.lab = lab
        self._manifests = manifests

    def write(self, name: str, *objects: dict[str, Any]) -> None:
        temporary = self._manifests / f".{name}"
        temporary.write_text("\n---\n".join(map(json.dumps, objects)))
        temporary.rename(self._manifests / f"{name}.yaml")

    def settings(self, text: str) -> None:
        self.write("settings", a_config_map(text))

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(weft("status", "--lab", self.lab.name, "-o", "json").stdout)
        return found

    def problems(self) -> list[str]:
        return [each["text"] for each in self.status()["problems"]]

    def pod(self, name: str) -> dict[str, Any]:
        return next(pod for pod in self.status()["pods"] if f"{pod['namespace']}/{pod['name']}" == name)

    def is_captured(self, name: str) -> bool:
        """Whether a node proxy listens in the pod."""
        return str(INBOUND_PORT) in self.lab.run(name, "ss", "-Hltn").stdout


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    manifests = tmp_path_factory.mktemp("town")
    found = Town(Session(f"t{os.getpid()}-town"), manifests)
    found.write("in", a_namespace("in", mesh="mine", **{"istio-injection": "enabled"}), a_pod("in", "web"))
    found.write("out", a_namespace("out", **{"istio-injection": "enabled"}), a_pod("out", "web"))
    found.write("sidecar", a_pod("in", "meshed", "istio-proxy"))
    found.settings(DISCOVERY)
    try:
        found.lab.up(manifests, nodes=1, env=(f"node:AMBIENT_ENABLEMENT_SELECTOR={ENABLEMENT}",))
        until("the chosen pod is enrolled", lambda: found.pod("in/web")["state"] == "enrolled")
        yield found
    finally:
        found.lab.down()


def test_a_pod_with_a_sidecar_is_not_touched_and_a_problem(town: Town) -> None:
    found = town.pod("in/meshed")
    assert (found["state"], found["unusable"], found["reason"].partition(";")[0]) == ("outside", True, SIDECAR)
    assert not town.is_captured("in/meshed") and town.is_captured("in/web")
    (problem,) = town.problems()
    assert problem.startswith(f"pod in/meshed on node-1 is left as it is: {SIDECAR}")


def test_a_namespace_that_discovery_leaves_out_joins_and_leaves_with_the_settings(town: Town) -> None:
    def state() -> str:
        return str(town.pod("out/web")["state"])

    assert state() == "outside" and "discoverySelectors leave namespace out out" in town.pod("out/web")["reason"]
    town.settings("{}")
    until("it is enrolled", lambda: state() == "enrolled")
    assert town.is_captured("out/web")
    town.settings(DISCOVERY)
    until("it is outside again", lambda: state() == "outside")
    until("it is returned", lambda: not town.is_captured("out/web"))


def test_settings_that_cannot_be_used_change_nothing_and_are_a_problem(town: Town) -> None:
    town.settings("discoverySelectors: 5")
    until("it is told", lambda: any("data.mesh.discoverySelectors" in each for each in town.problems()))
    assert (town.pod("in/web")["state"], town.pod("out/web")["state"]) == ("enrolled", "outside")
    town.settings(DISCOVERY)
    until("it is mended", lambda: len(town.problems()) == 1)


def test_no_connection_fails_while_a_namespace_leaves_and_joins_by_the_settings() -> None:
    with shop("leaves") as mesh:
        with load(mesh) as seen:
            for _ in range(5):
                mesh.write("settings.yaml", json.dumps(a_config_map(DISCOVERY)))
                until("every pod is withdrawn", lambda: not any(pod["enrolled"] for pod in mesh.pods()))
                mesh.write("settings.yaml", json.dumps(a_config_map("{}")))
                until("every pod is enrolled", lambda: all(pod["enrolled"] for pod in mesh.pods()))
        assert (seen.made > RATE, seen.failures) == (True, ())
