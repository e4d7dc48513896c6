"""Reaching the mesh's processes in a Kubernetes cluster: through the API server, as `kubectl port-forward` does.

Whoever may forward ports of the pods in istio-system sees what they tell; nobody else does.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import urllib3
import yaml
from kubernetes import client, config, stream

from agent.cli.reach import PATIENCE_SECONDS, Process
from agent.errors import ConfigError, NotFoundError, RefusedError, UnavailableError
from agent.wire import SYSTEM_NAMESPACE

Json = dict[str, Any]
# The `app` labels of daemonset/, and which process is in such a pod.
_KINDS: Final = {"weft-controller": "controller", "weft-node": "node", "weft-proxy": "proxy"}
# The kubernetes package checks no types: a kubeconfig of another form fails wherever it is first used.
_UNUSABLE: Final = (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError)


class ClusterMesh:
    """The mesh that is installed in a cluster, as its pods were when this was made. `pods`: names, by process."""

    def __init__(self, configuration: client.Configuration, pods: Mapping[Process, str]) -> None:
        self._configuration = configuration
        self._pods = pods
        self.nodes = tuple(sorted({process.node for process in pods if process.node}))
        self.controllers = tuple(sorted(process for process in pods if process.kind == "controller"))

    def connect(self, process: Process, port: int) -> socket.socket:
        pod = self._pods.get(process)
        if pod is None:
            raise UnavailableError(f"the {process} has no pod in {SYSTEM_NAMESPACE}")
        # A client of its own: the package alters it while it connects, and others do so at the same time.
        core = client.CoreV1Api(client.ApiClient(self._configuration))
        try:
            forward = stream.portforward(
                core.connect_get_namespaced_pod_portforward, pod, SYSTEM_NAMESPACE, ports=str(port)
            )
        except client.ApiException as exc:
            raise UnavailableError(f"the {process} cannot be reached in pod {pod}: {_words(exc)}") from exc
        connection: socket.socket = forward.socket(port)
        connection.settimeout(PATIENCE_SECONDS)
        return connection

    def problems(self) -> list[str]:
        """None: the API server has told whoever wrote them."""
        return []


def installed_mesh(kubeconfig: Path | None, context: str | None) -> ClusterMesh:
    """The mesh of a kubeconfig's cluster, by default the one that kubectl would use.

    Raises ConfigError for a kubeconfig that cannot be used, NotFoundError when nothing of the mesh is installed there,
    UnavailableError and RefusedError as the API server answers.
    """
    configuration = _configuration(kubeconfig, context)
    with _translated(), client.ApiClient(configuration) as api:
        found: Any = client.CoreV1Api(api).list_namespaced_pod(
            SYSTEM_NAMESPACE,
            label_selector=f"app in ({', '.join(_KINDS)})",
            _request_timeout=PATIENCE_SECONDS,
            _preload_content=False,
        )
        if found.status != 200:
            raise RefusedError(f"the API server answered {found.status}: {found.reason}")
        pods = processes(json.loads(found.data)["items"])
    if not pods:
        raise NotFoundError(
            f"no pods of Weft in namespace {SYSTEM_NAMESPACE} of {configuration.host}; is it installed there?"
        )
    return ClusterMesh(configuration, pods)


def processes(pods: Iterable[Json]) -> dict[Process, str]:
    """Which pod each process is in: while one replaces another on a node, the newest that is ready."""
    chosen: dict[Process, str] = {}
    for pod in sorted(pods, key=lambda pod: (_is_ready(pod), str(pod["metadata"].get("creationTimestamp")))):
        name = pod["metadata"]["name"]
        kind = _KINDS[pod["metadata"]["labels"]["app"]]
        node = str(pod["spec"].get("nodeName") or "")
        if node and not pod["metadata"].get("deletionTimestamp"):
            chosen[Process(kind, pod=name) if kind == "controller" else Process(kind, node)] = name
    return chosen


def _words(refusal: client.ApiException) -> str:
    """What the API server says: the package puts its whole answer, with all headers, into the reason."""
    text = str(refusal.reason)
    said = re.search(r'"message":"((?:[^"\\]|\\.)*)"', text)
    return json.loads(f'"{said[1]}"') if said else text


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _configuration(kubeconfig: Path | None, context: str | None) -> client.Configuration:
    configuration = client.Configuration()
    try:
        config.load_kube_config(
            str(kubeconfig) if kubeconfig else None,
            context,
            client_configuration=configuration,
            persist_config=False,
        )
    except _UNUSABLE as exc:
        raise ConfigError(f"kubeconfig {kubeconfig or config.KUBE_CONFIG_DEFAULT_LOCATION}: {exc}") from exc
    configuration.retries = 0
    return configuration


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except client.ApiException as exc:
        raise RefusedError(f"the API server answered {exc.status}: {exc.reason}") from exc
    except urllib3.exceptions.HTTPError as exc:
        raise UnavailableError(f"the API server does not answer: {exc}") from exc
