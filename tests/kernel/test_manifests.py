"""Mistakes in manifests, and several meshes on one machine."""

from __future__ import annotations

import json
import os
import signal

import pytest

from agent.lab.session import leftovers, until
from tests.support.mesh import SHOP, Mesh, shop

NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {istio.io/dataplane-mode: ambient}\n"
REDIS = (SHOP / "redis.yaml").read_text()

# What is wrong: the file, its text, and all that the problem must name.
MISTAKES = {
    "no YAML": ("namespace.yaml", NAMESPACE.replace("  name", "\tname"), ("not YAML", ":4: ")),
    "cut short": ("redis.yaml", REDIS[: REDIS.index("command: [redis-server") + 25], ("not YAML", ":15: ")),
    "a wrong type": (
        "namespace.yaml",
        NAMESPACE.replace("{istio.io/dataplane-mode: ambient}", "[ambient]"),
        ("Namespace shop", "metadata.labels", "['ambient']"),
    ),
    "a number for a text": (
        "redis.yaml",
        REDIS.replace("app: redis", "app: 7", 1),
        ("Pod shop/redis", "metadata.labels.app", "7"),
    ),
    "an unknown mode of a namespace": (
        "namespace.yaml",
        NAMESPACE.replace("ambient", "ambiant"),
        ("Namespace shop", "metadata.labels", "istio.io/dataplane-mode=ambiant", "accepted are ambient, none"),
    ),
    "an unknown mode of a pod": (
        "redis.yaml",
        REDIS.replace("app: redis", "istio.io/dataplane-mode: ambiant", 1),
        ("Pod shop/redis", "metadata.labels", "istio.io/dataplane-mode=ambiant", "accepted are ambient, none"),
    ),
    "no name": ("namespace.yaml", NAMESPACE.replace("name: shop", "nam: shop"), ("metadata.name",)),
}


@pytest.mark.parametrize("which", MISTAKES)
def test_a_mistake_is_reported_and_changes_nothing_until_it_is_mended(mesh: Mesh, which: str) -> None:
    file, text, parts = MISTAKES[which]
    good = (mesh.manifests / file).read_text()
    before = stored(mesh)
    mesh.write(file, text)
    try:
        until("the problem is reported", lambda: mesh.lab.status()["problems"])
        (problem,) = mesh.lab.status()["problems"]
        assert [part for part in (str(mesh.manifests / file), *parts) if part not in problem] == [], problem
        assert stored(mesh) == before
        assert (
            mesh.lab.run("shop/frontend", "redis-cli", "-h", mesh.service("shop/redis")[0], "PING").stdout == "PONG\n"
        )
    finally:
        mesh.write(file, good)
    until("the problem is gone", lambda: not mesh.lab.status()["problems"])
    assert stored(mesh) == before


def stored(mesh: Mesh) -> list[object]:
    """Labels, annotations and identity of what the manifests have made, enrolment among them."""
    files = (*(mesh.lab.folder / "state" / "pods").glob("shop_*"), mesh.lab.folder / "state/namespaces/_shop.json")
    metadata = (json.loads(file.read_text())["metadata"] for file in sorted(files))
    return [{key: each.get(key) for key in ("name", "uid", "labels", "annotations")} for each in metadata]


def test_an_edit_beside_the_mistake_takes_effect(mesh: Mesh) -> None:
    """Of the two objects in the file one is wrong."""
    good = (SHOP / "greeter.yaml").read_text()
    mesh.write("greeter.yaml", good.replace("port: 25\n", "port: 26\n").replace("app: greeter", "app: 7", 1))
    try:
        until("the service has its new port", lambda: mesh.greeting(26).startswith("220 welcome"))
        assert len(mesh.lab.status()["problems"]) == 1
    finally:
        mesh.write("greeter.yaml", good)
    until("the service has its old port", lambda: mesh.greeting().startswith("220 welcome"))
    assert mesh.lab.status()["problems"] == []


def test_two_meshes_are_up_at_once_and_the_end_of_one_does_not_hurt_the_other(mesh: Mesh) -> None:
    with shop("two") as other:
        assert other.curl("http://web.shop/").stdout.startswith("catalogue for ")
        assert mesh.curl("http://web.shop/").stdout.startswith("catalogue for ")
        supervisor = json.loads((other.lab.folder / "lab.json").read_text())["supervisor"]["pid"]
        os.kill(supervisor, signal.SIGKILL)
        assert other.curl("http://web.shop/").returncode == 0  # the mesh needs no supervisor
        other.lab.down()
        assert leftovers(other.lab.name) == []
    assert mesh.curl("http://web.shop/").returncode == 0
    assert all(pod["enrolled"] for pod in mesh.pods())
