"""`weft render`: files in, what node proxies would be told out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict

from agent.proto import workload_pb2

ROOT = Path(__file__).parents[3]
POLICY = """\
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - from: [{source: {principals: ["*"], notNamespaces: [bank]}}]
    to: [{operation: {ports: ["80"]}}]
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web}]}
"""

ENTRIES = """\
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com, x.bank.svc.cluster.local]
  addresses: [192.0.2.1]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: shop}
spec: {address: 192.0.2.7, labels: {app: web}}
"""


def render(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent.cli.main", "render", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)


def rendered(folder: Path, **texts: str) -> Any:
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    done = render("-f", folder, "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_policy_is_printed_with_istiod_s_names(tmp_path: Path) -> None:
    assert rendered(tmp_path, policy=POLICY)["policies"] == [
        {
            "name": "web",
            "namespace": "shop",
            "scope": "WORKLOAD_SELECTOR",
            "action": "ALLOW",
            "groups": [
                {
                    "rules": [
                        {"matches": [{"destinationPorts": [80]}]},
                        {"matches": [{"principals": [{"presence": {}}], "notNamespaces": [{"exact": "bank"}]}]},
                    ]
                }
            ],
        }
    ]


def test_a_deployment_shows_which_policies_its_pods_list(tmp_path: Path) -> None:
    found = rendered(tmp_path, policy=POLICY, web=DEPLOYMENT)
    (workload,) = found["workloads"]
    assert ParseDict(workload, workload_pb2.Workload()) == workload_pb2.Workload(
        uid="Kubernetes//Pod/shop/web",
        name="web",
        namespace="shop",
        canonical_name="web",
        canonical_revision="latest",
        workload_name="web",
        workload_type=workload_pb2.DEPLOYMENT,
        authorization_policies=["shop/web"],
    )


def test_entries_are_printed_with_what_they_select_and_what_they_lose(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(f"{DEPLOYMENT}---\n{ENTRIES}")
    done = render("-f", tmp_path)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [(each["namespace"], each["hostname"]) for each in found["services"]] == [("shop", "db.example.com")]
    assert {each["uid"]: list(each["services"]) for each in found["workloads"]} == {
        "Kubernetes//Pod/shop/web": ["shop/db.example.com"],
        "Kubernetes/networking.istio.io/WorkloadEntry/shop/vm": ["shop/db.example.com"],
    }
    assert done.stderr.splitlines() == [
        "weft: ServiceEntry shop/db: spec.hosts: x.bank.svc.cluster.local is a name of Services of another namespace: "
        "no connection is led to it"
    ]


def test_what_cannot_be_enforced_is_said_beside_the_output(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("ports", "paths"))
    done = render("-f", file)
    assert done.returncode == 0
    assert json.loads(done.stdout)["policies"][0]["groups"] == []
    assert done.stderr == (
        "weft: AuthorizationPolicy shop/web: spec.rules[0]: to[0].operation.paths: "
        "only a waypoint can tell, so the rule allows nothing\n"
    )


def test_what_is_broken_is_refused_with_file_object_and_field(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.replace("ports", "prots"))
    done = render("-f", file)
    assert (done.returncode, done.stdout) == (1, "")
    where = f"{file}:8: AuthorizationPolicy shop/web: spec.rules[0].to[0].operation.prots"
    assert done.stderr == f"weft: {where}: unknown field\n"


def test_the_examples_can_be_rendered() -> None:
    done = render("-f", ROOT / "examples" / "shop", ROOT / "examples" / "policies")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    (web,) = (workload for workload in found["workloads"] if workload["name"] == "web")
    assert web["authorizationPolicies"] == ["shop/allow-frontend", "istio-system/istio_converted_static_strict"]
    assert [service["hostname"].partition(".")[0] for service in found["services"]] == ["greeter", "redis", "web"]


def test_a_path_that_is_not_there_says_what_to_give(tmp_path: Path) -> None:
    done = render("-f", tmp_path / "absent.yaml")
    assert done.returncode == 1
    assert "give files or folders of manifests" in done.stderr
