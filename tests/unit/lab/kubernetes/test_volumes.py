"""A pod's volumes in the files of a node."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.api.pods import runnable_pod
from agent.api.pods.volumes import HostPath
from agent.errors import InvalidObjectError, NotFoundError
from agent.kube import Object
from agent.lab.kubernetes.content import Source
from agent.lab.kubernetes.facts import Facts
from agent.lab.kubernetes.node_files import host_path, of_node
from agent.lab.kubernetes.volumes import Volumes
from agent.lab.layout import Layout


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr("agent.lab.layout.RUN", tmp_path)
    return Layout("lab", Path("/sys/fs/cgroup"))


def volumes(layout: Layout, kinds: list[Object], mounts: list[Object]) -> tuple[Volumes, Source]:
    container = {"name": "main", "command": ["true"], "volumeMounts": mounts}
    spec = {"containers": [container], "volumes": kinds, "nodeName": "node-1"}
    metadata = {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}}
    pod = runnable_pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "test")
    return Volumes(layout, pod), Source(Facts(pod, ["10.0.0.1"], ["10.70.0.11"]), lambda *_: None, {})


def test_a_node_has_its_own_root_and_its_part_of_what_the_kernel_shows(layout: Layout) -> None:
    assert of_node(layout, "node-1", "/var/lib/weft") == layout.root / "node-1/root/var/lib/weft"
    assert of_node(layout, "node-1", "/sys/fs/bpf/weft") == layout.root / "bpf/node-1/weft"
    assert of_node(layout, "node-1", "/sys/fs/cgroup") == Path("/sys/fs/cgroup/weft-lab/node-1")
    assert of_node(layout, "node-1", "/proc") == Path("/proc")
    assert of_node(layout, "node-1", "/processes") == layout.root / "node-1/root/processes"


def test_a_host_path_is_made_if_its_type_says_so(layout: Layout) -> None:
    made = host_path(layout, "node-1", HostPath(path="/run/weft", type="DirectoryOrCreate"))
    assert made == layout.root / "node-1/root/run/weft"
    assert made.is_dir()
    assert host_path(layout, "node-1", HostPath(path="/run/weft/file", type="FileOrCreate")).is_file()


def test_a_host_path_that_is_not_there_or_something_else_is_named(layout: Layout) -> None:
    with pytest.raises(NotFoundError, match="hostPath /etc/none: No such file or directory on node-1"):
        host_path(layout, "node-1", HostPath(path="/etc/none", type="Directory"))
    host_path(layout, "node-1", HostPath(path="/etc/folder", type="DirectoryOrCreate"))
    with pytest.raises(NotFoundError, match="is no File"):
        host_path(layout, "node-1", HostPath(path="/etc/folder", type="File"))


def test_mounts_lead_to_what_was_made(layout: Layout) -> None:
    labels = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    kinds = [{"name": "tmp", "emptyDir": {}}, {"name": "facts", "downwardAPI": labels}]
    mounts = [{"name": "tmp", "mountPath": "/tmp", "subPath": "a/b"}, {"name": "facts", "mountPath": "/facts"}]
    made, source = volumes(layout, kinds, mounts)
    made.make(source)
    tmp, facts = made.mounts(source.facts.pod.spec.containers[0])
    assert (tmp.source, tmp.target, tmp.is_read_only) == (layout.root / "volumes/u-1/tmp/a/b", "/tmp", False)
    assert ((facts.source / "labels").read_text(), facts.is_read_only) == ('app="web"', True)
    assert tmp.source.is_dir()
    made.remove()
    assert not tmp.source.exists()


def test_a_sub_path_does_not_lead_out_of_its_volume(layout: Layout) -> None:
    mounts = [{"name": "tmp", "mountPath": "/tmp", "subPath": "link"}]
    made, source = volumes(layout, [{"name": "tmp", "emptyDir": {}}], mounts)
    made.make(source)
    (layout.root / "volumes/u-1/tmp/link").symlink_to("/etc")
    with pytest.raises(InvalidObjectError, match="leads out of tmp"):
        made.mounts(source.facts.pod.spec.containers[0])
