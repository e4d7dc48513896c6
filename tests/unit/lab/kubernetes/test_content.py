"""What the files of volumes hold, and how a folder of them changes."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from agent.api.pods import runnable_pod
from agent.api.pods.spec import RunnablePod
from agent.errors import NotFoundError
from agent.kube import Kind, Object
from agent.lab.kubernetes import folder
from agent.lab.kubernetes.content import File, Generated, Source, content, tokens_of
from agent.lab.kubernetes.facts import Facts

CONTENT = {
    ("ConfigMap", "words"): {"data": {"a": "1", "b": "2"}},
    ("Secret", "key"): {"data": {"tls.key": base64.b64encode(b"\x00\x01").decode()}},
}
TOKEN = {"serviceAccountToken": {"path": "token", "audience": "istio-ca", "expirationSeconds": 600}}


def keys(kind: Kind, namespace: str, name: str) -> Object | None:
    return CONTENT.get((kind.name, name))


def a_pod(volume: Object, **context: object) -> RunnablePod:
    mount = {"name": "v", "mountPath": "/v"}
    container = {"name": "main", "command": ["true"], "volumeMounts": [mount], "securityContext": context}
    spec = {"containers": [container], "volumes": [{"name": "v", **volume}], "nodeName": "node-1"}
    metadata = {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"x": 'a"b', "app": "web"}}
    return runnable_pod({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, "test")


def files(volume: Object, **context: object) -> dict[str, File]:
    pod = a_pod(volume, **context)
    source = pod.volume("v").source
    assert isinstance(source, Generated)
    tokens = dict.fromkeys(tokens_of(source), b"secret")
    return content(source, Source(Facts(pod, ["10.0.0.1"], ["10.70.0.11"]), keys, tokens))


def test_a_config_map_s_keys_are_files() -> None:
    assert files({"configMap": {"name": "words", "defaultMode": 0o400}}) == {
        "a": File(b"1", 0o400),
        "b": File(b"2", 0o400),
    }


def test_items_choose_keys_paths_and_modes() -> None:
    items = [{"key": "b", "path": "in/here", "mode": 0o600}]
    assert files({"configMap": {"name": "words", "items": items}}) == {"in/here": File(b"2", 0o600)}


def test_a_secret_s_keys_are_files_of_bytes() -> None:
    assert files({"secret": {"secretName": "key"}}) == {"tls.key": File(b"\x00\x01", 0o644)}


def test_what_is_missing_is_named_unless_it_is_optional() -> None:
    with pytest.raises(NotFoundError, match="ConfigMap shop/none does not exist"):
        files({"configMap": {"name": "none"}})
    with pytest.raises(NotFoundError, match="ConfigMap shop/words has no key c"):
        files({"configMap": {"name": "words", "items": [{"key": "c", "path": "c"}]}})
    assert files({"configMap": {"name": "none", "optional": True}}) == {}


def test_the_downward_api_tells_labels_a_line_each() -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    assert files({"downwardAPI": {"items": items}})["labels"].data == b'app="web"\nx="a\\"b"'


def test_a_projected_volume_puts_its_sources_into_one_folder() -> None:
    sources = [TOKEN, {"configMap": {"name": "words", "items": [{"key": "a", "path": "a"}]}}]
    assert files({"projected": {"sources": sources}}) == {"token": File(b"secret", 0o644), "a": File(b"1", 0o644)}


def test_a_token_is_for_nobody_but_the_pod_s_user() -> None:
    assert files({"projected": {"sources": [TOKEN]}}, runAsUser=65532) == {"token": File(b"secret", 0o600, 65532)}


def test_a_folder_s_files_change_all_at_once(tmp_path: Path) -> None:
    assert folder.write(tmp_path, {"a": File(b"1", 0o644), "in/b": File(b"2", 0o600)}, None)
    before = (tmp_path / "..data").resolve()
    assert ((tmp_path / "a").read_text(), (tmp_path / "in/b").read_text()) == ("1", "2")
    assert (tmp_path / "in/b").stat().st_mode & 0o777 == 0o600
    assert folder.write(tmp_path, {"a": File(b"3", 0o644)}, None)
    assert (tmp_path / "a").read_text() == "3"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("..")) == ["a"]
    assert not before.exists()


def test_a_folder_that_holds_the_files_already_stays_as_it_is(tmp_path: Path) -> None:
    folder.write(tmp_path, {"a": File(b"1", 0o644)}, None)
    before = (tmp_path / "..data").resolve()
    assert not folder.write(tmp_path, {"a": File(b"1", 0o644)}, None)
    assert (tmp_path / "..data").resolve() == before
