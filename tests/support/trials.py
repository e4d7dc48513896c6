"""Pods of the mesh's own manifests that lack one privilege, and what tells of it."""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from agent.lab.session import until
from agent.node.cni_config import PLUGIN
from agent.wire import REDIRECTION_ANNOTATION
from tests.support.installation import ROOT, SYSTEM, Installation
from tests.support.lab_pods import Corner

Json = dict[str, Any]
ACCOUNT: Final = "service account's token"
_NAMESPACES: Final = ("hostIPC", "hostNetwork", "hostPID")
_SECONDS: Final = 60.0


def template(file: str) -> Json:
    """The pod template of the one workload in a manifest of daemonset/; it has one container."""
    (found,) = (
        document["spec"]["template"]
        for document in yaml.safe_load_all((ROOT / "daemonset" / file).read_text())
        if "template" in document.get("spec", {})
    )
    assert len(found["spec"]["containers"]) == 1 and "initContainers" not in found["spec"]
    return dict(found)


def grants(file: str) -> set[str]:
    """All that the workload is given beyond what any pod has: `capability NET_ADMIN`, `mount bpf`, `hostPID`, …"""
    spec = template(file)["spec"]
    container = spec["containers"][0]
    context = container["securityContext"]
    found = {name for name in _NAMESPACES if spec.get(name)}
    found |= {"privileged"} if context.get("privileged") else set()
    found |= {f"capability {name}" for name in context["capabilities"].get("add", ())}
    found |= {f"mount {mount['name']}" for mount in container.get("volumeMounts", ())}
    return found | (set() if spec.get("automountServiceAccountToken") is False else {ACCOUNT})


def without(file: str, grant: str) -> Json:
    """The spec of a pod of the workload that has all but this."""
    spec: Json = copy.deepcopy(template(file)["spec"])
    container = spec["containers"][0]
    kind, _, name = grant.partition(" ")
    if kind == "capability":
        container["securityContext"]["capabilities"]["add"].remove(name)
    elif kind == "mount":
        container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != name]
    elif grant == ACCOUNT:
        spec["automountServiceAccountToken"] = False
    else:
        del spec[grant]
    return spec


@dataclass(frozen=True)
class Sign:
    """What tells that a privilege is missing: words in the log of the process, and what becomes of it.

    then: `ends`: the process does, again and again; `unready`: it stays so; `pending`: a pod that is to be enrolled
    says that it is not; `unchained`: the node's CNI configuration is not changed; `goes on`: it does without.
    """

    words: str
    then: Literal["ends", "unready", "pending", "unchained", "goes on"]


@dataclass(frozen=True)
class Trial:
    """One pod without one privilege, on a node; and one that is to be enrolled there, in a namespace of its own."""

    mesh: Installation
    here: Corner
    node: str
    file: str
    grant: str

    @property
    def name(self) -> str:
        words = f"{self.file.removesuffix('.yaml')} {self.grant}".lower()
        return "-".join(words.replace("_", "-").replace("'", "").split())

    def see(self, sign: Sign) -> None:
        """Run it until its failure is seen; UnavailableError with what was said instead."""
        if sign.then == "pending":
            self.here.kubectl("label", "pod", self.name, "istio.io/dataplane-mode=ambient")
        if sign.then == "unchained":
            self._write_chain_anew()
        with self._running():
            self._until(f"it says {sign.words!r}", lambda: sign.words in self._log())
            match sign.then:
                case "ends":
                    self._until("it is started again", lambda: self._container()["restartCount"] > 0)
                case "goes on":
                    self._until("it is ready", lambda: self._container()["ready"])
                case "unready":
                    assert not self._container()["ready"]
                case "pending":
                    self._until("the pod is pending", lambda: self._redirection() == "pending")
                case "unchained":
                    assert not self._is_chained()

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        spec = {**without(self.file, self.grant), "nodeName": self.node, "terminationGracePeriodSeconds": 2}
        spec.pop("nodeSelector", None)
        metadata = {"name": self.name, "namespace": SYSTEM, "labels": {"istio.io/dataplane-mode": "none"}}
        system = Corner(self.mesh.world, SYSTEM)
        system.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        try:
            yield
        finally:
            system.kubectl("delete", "pod", self.name, "--timeout=30s")
            # A pod that is on its way in would be brought on by the next process.
            self.here.kubectl("delete", "pod", self.name, "--ignore-not-found", "--timeout=30s")

    def _until(self, what: str, holds: Callable[[], object]) -> None:
        try:
            until(f"{self.name}: {what}", holds, timeout=_SECONDS, pause=0.2)
        except Exception as exc:
            exc.add_note(self._log())
            raise

    def _log(self) -> str:
        container = template(self.file)["spec"]["containers"][0]["name"]
        found = self.mesh.world.lab.folder / "logs" / "pods" / f"{SYSTEM}_{self.name}_{container}.log"
        return found.read_text(errors="replace") if found.exists() else ""

    def _container(self) -> Json:
        found: Json = Corner(self.mesh.world, SYSTEM).get("pod", self.name)["status"]["containerStatuses"][0]
        return found

    def _redirection(self) -> object:
        return self.here.get("pod", self.name)["metadata"].get("annotations", {}).get(REDIRECTION_ANNOTATION)

    def _is_chained(self) -> bool:
        return any(PLUGIN in path.read_text() for path in self._chains())

    def _write_chain_anew(self) -> None:
        """As whoever gives the node its network does."""
        for path in self._chains():
            found = json.loads(path.read_text())
            found["plugins"] = [plugin for plugin in found["plugins"] if plugin["type"] != PLUGIN]
            path.write_text(json.dumps(found))

    def _chains(self) -> list[Path]:
        return list((self.mesh.world.lab.folder / self.node / "root/etc/cni/net.d").iterdir())
