"""How long `weft analyze` takes for 5,000 mixed objects: `python -m bench.analysis [OBJECTS]`.

Services of many namespaces, each with its Deployment, pods, routes, rules, policies and a network
policy; nine of ten are in one namespace. The figure is of the whole command, its
start and the reading of the files too.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

OBJECTS: Final = 5000
RUNS: Final = 3
_OF_A_SERVICE: Final = 10


def objects(count: int) -> Iterator[dict[str, object]]:
    """So many objects, of a dozen kinds."""
    known: set[str] = set()
    for number in range(count // _OF_A_SERVICE):
        namespace = "crowd" if number % 10 else f"team-{number // 10}"
        yield from _application(f"app-{number}", namespace, is_first=namespace not in known)
        known.add(namespace)


def _application(name: str, namespace: str, *, is_first: bool) -> list[dict[str, object]]:
    metadata = {"name": name, "namespace": namespace}
    labels = {"app": name}
    host = f"{name}.{namespace}.svc.cluster.local"
    containers = [{"name": "app", "ports": [{"containerPort": 8080}]}]
    pod_labels = {**labels, "version": "v1"}
    namespace_labels = {"istio.io/dataplane-mode": "ambient", "istio.io/use-waypoint": "waypoint"}
    pod = {"containers": containers}
    waypoint = {
        "gatewayClassName": "istio-waypoint",
        "listeners": [{"name": "mesh", "port": 15008, "protocol": "HBONE"}],
    }
    route = {"destination": {"host": host, "subset": "v1"}}
    return [
        _object("v1", "Namespace", {"name": namespace, "labels": namespace_labels})
        if is_first
        else _object("v1", "ServiceAccount", metadata),
        _object("v1", "Service", metadata, {"selector": labels, "ports": [{"name": "http", "port": 80}]}),
        _object(
            "apps/v1",
            "Deployment",
            metadata,
            {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": pod_labels}, "spec": {"containers": containers}},
            },
        ),
        _object("v1", "Pod", {**metadata, "labels": pod_labels}, pod),
        _object("networking.istio.io/v1", "VirtualService", metadata, {"hosts": [host], "http": [{"route": [route]}]}),
        _object(
            "networking.istio.io/v1",
            "DestinationRule",
            metadata,
            {"host": host, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
        ),
        _object(
            "networking.istio.io/v1",
            "ServiceEntry",
            metadata,
            {
                "hosts": [f"{name}.example.com"],
                "resolution": "DNS",
                "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
            },
        ),
        _object(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            metadata,
            {"selector": {"matchLabels": labels}, "rules": [{"from": [{"source": {"namespaces": [namespace]}}]}]},
        ),
        _object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            metadata,
            {"podSelector": {"matchLabels": labels}, "ingress": [{"ports": [{"port": 8080}, {"port": 15008}]}]},
        ),
        _object("gateway.networking.k8s.io/v1", "Gateway", {"name": "waypoint", "namespace": namespace}, waypoint)
        if is_first
        else _object("v1", "Pod", {"name": f"{name}-2", "namespace": namespace, "labels": pod_labels}, pod),
    ]


def _object(
    version: str, kind: str, metadata: Mapping[str, object], spec: Mapping[str, object] | None = None
) -> dict[str, object]:
    made: dict[str, object] = {"apiVersion": version, "kind": kind, "metadata": metadata}
    return made if spec is None else {**made, "spec": spec}


def measure(count: int) -> list[float]:
    """Seconds of each run."""
    with tempfile.TemporaryDirectory() as folder:
        made = list(objects(count))
        for start in range(0, len(made), 500):
            path = Path(folder, f"{start:06}.yaml")
            path.write_text(yaml.dump_all(made[start : start + 500], Dumper=yaml.CSafeDumper))
        return [_seconds(folder) for _ in range(RUNS)]


def _seconds(folder: str) -> float:
    start = time.monotonic()
    command = [sys.executable, "-m", "agent.cli.main", "analyze", "--failure-threshold", "Error", "-o", "json", folder]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, timeout=300)
    return time.monotonic() - start


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else OBJECTS
    taken = measure(count)
    print(f"analyze-{count}: {statistics.median(taken):.1f} s (of {', '.join(f'{each:.1f}' for each in taken)})")


if __name__ == "__main__":
    main()
