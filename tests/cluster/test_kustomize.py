"""What kubectl makes of the kustomizations: ours, and those that docs/operating.md gives readers to copy."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.cluster_program import made

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


def built(folder: Path) -> list[Object]:
    command = [str(made("programs") / "kubectl"), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def documented() -> list[str]:
    """The YAML blocks of the section on installing, in their order."""
    text = (ROOT / "docs" / "operating.md").read_text()
    section = text[text.index("## Installing on a cluster") : text.index("## On a cluster")]
    return re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder beside a checkout that is called weft."""
    (tmp_path / "weft").symlink_to(ROOT)
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def node_agent(objects: list[Object]) -> Object:
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == ("DaemonSet", "weft-node")]
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def cni_paths(spec: Object) -> dict[str, str]:
    volumes = {volume["name"]: volume.get("hostPath", {}).get("path", "") for volume in spec["volumes"]}
    return {name: volumes[name] for name in ("cni-configuration", "cni-programs")}


def test_the_shop_on_a_cluster_has_images_and_leaves_the_nodes_to_the_scheduler() -> None:
    pods = [one for one in built(ROOT / "examples" / "shop") if one["kind"] == "Pod"]
    assert sorted(pod["metadata"]["name"] for pod in pods) == ["client", "frontend", "greeter", "redis", "web"]
    for pod in pods:
        assert "nodeName" not in pod["spec"]
        assert all(container["image"] for container in pod["spec"]["containers"])


def test_the_documented_folders_take_the_place_of_the_usual_ones(beside: Path) -> None:
    (beside / "kustomization.yaml").write_text(documented()[0])
    assert cni_paths(node_agent(built(ROOT / "daemonset"))) == {
        "cni-configuration": "/etc/cni/net.d",
        "cni-programs": "/opt/cni/bin",
    }
    assert cni_paths(node_agent(built(beside))) == {
        "cni-configuration": "/var/lib/rancher/k3s/agent/etc/cni/net.d",
        "cni-programs": "/var/lib/rancher/k3s/data/cni",
    }


def test_the_documented_quota_is_one_for_the_classes_that_the_mesh_uses(beside: Path) -> None:
    (beside / "quota.yaml").write_text(documented()[1])
    (beside / "kustomization.yaml").write_text("resources: [../weft/daemonset, quota.yaml]\n")
    objects = built(beside)
    (quota,) = [one for one in objects if one["kind"] == "ResourceQuota"]
    workloads = [one["spec"]["template"]["spec"] for one in objects if one["kind"] in ("DaemonSet", "Deployment")]
    (scope,) = quota["spec"]["scopeSelector"]["matchExpressions"]
    assert set(scope["values"]) == {spec["priorityClassName"] for spec in workloads}
    assert quota["metadata"]["namespace"] == "istio-system"


def test_the_documented_patch_leaves_the_plugin_out(beside: Path) -> None:
    (beside / "kustomization.yaml").write_text("resources: [../weft/daemonset]\n" + documented()[2])
    spec = node_agent(built(beside))
    names = {variable["name"] for variable in spec["containers"][0]["env"]}
    assert names & {"CNI_NET_DIR", "CNI_BIN_DIR"} == set()
    assert spec["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}
