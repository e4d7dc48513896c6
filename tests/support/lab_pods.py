"""Objects for a cluster that runs them: short manifests, and looking at what came of them."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.lab.session import until
from tests.support.lab_world import LabWorld

Json = dict[str, Any]
READY = "--for=condition=Ready"
NEVER_ENDS = "exec sleep infinity"
# A page that tells which pod has answered.
WEB = {
    "name": "web",
    "image": "web",
    "command": ["sh", "-c", "cd /tmp && hostname > index.html && exec python3 -m http.server 8080"],
    "ports": [{"name": "http", "containerPort": 8080}],
    "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
}


@dataclass(frozen=True)
class Corner:
    """A namespace of a lab's cluster, for one test."""

    world: LabWorld
    name: str

    def put(self, *objects: Json) -> None:
        self._kubectl("apply", "--server-side", "--filename=-", stdin="\n---\n".join(map(json.dumps, objects)))

    def get(self, *arguments: str) -> Any:
        return json.loads(self._kubectl("get", *arguments, "--output=json"))

    def pods(self, app: str) -> list[Json]:
        """The pods of an app that are not ending, in order of their nodes."""
        found = self.get("pods", f"--selector=app={app}")["items"]
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(alive, key=lambda pod: (pod["spec"].get("nodeName", ""), pod["metadata"]["name"]))

    def kubectl(self, *arguments: str) -> str:
        return self._kubectl(*arguments)

    def wait(self, condition: str, *what: str) -> None:
        self._kubectl("wait", condition, *what, "--timeout=40s")

    def run(self, pod: str, *command: str) -> str:
        """What a command in a pod prints, and its complaints."""
        done = self.world.lab.run(f"{self.name}/{pod}", *command)
        return done.stdout + done.stderr

    def until_it_says(self, words: str, pod: str, *command: str) -> None:
        """Wait until a command in a pod prints these words."""
        until(f"{pod}: {' '.join(command)} says {words!r}", lambda: words in self.run(pod, *command), pause=0.2)

    def until_event(self, pod: str, reason: str, words: str) -> None:
        """Wait until an event of a pod has this reason, and these words in its message."""

        def is_there() -> bool:
            selector = f"--field-selector=involvedObject.name={pod},reason={reason}"
            return any(words in event["message"] for event in self.get("events", selector)["items"])

        until(f"{pod}: an event {reason} says {words!r}", is_there, pause=0.2)

    def _kubectl(self, *arguments: str, stdin: str = "") -> str:
        return self.world.plane.kubectl(f"--namespace={self.name}", *arguments, stdin=stdin)


@contextlib.contextmanager
def corner(world: LabWorld) -> Iterator[Corner]:
    """A namespace that is on its way out after the block."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    world.plane.kubectl("create", "namespace", name)
    try:
        found = Corner(world, name)
        found.wait("--for=create", "serviceaccount/default")  # no pod is admitted before
        yield found
    finally:
        world.plane.kubectl("delete", "namespace", name, "--wait=false")


def shell(script: str, **more: object) -> Json:
    """A container that runs a script of the shell."""
    return {"name": "main", "image": "shell", "command": ["sh", "-c", script], **more}


def spec(*containers: Json, **more: object) -> Json:
    """A pod's; it has two seconds to end."""
    return {"terminationGracePeriodSeconds": 2, "containers": list(containers), **more}


def pod(name: str, *containers: Json, **more: object) -> Json:
    metadata = {"name": name, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec(*containers, **more)}


def template(app: str, *containers: Json, **more: object) -> Json:
    """The selector and pod template of a Deployment or DaemonSet."""
    labels = {"app": app}
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec(*containers, **more)},
    }


def config_map(name: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
