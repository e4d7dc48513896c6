"""A namespace whose ServiceEntries and WorkloadEntries claim what is others': nobody's traffic goes to it."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.lab.capture import recorded
from agent.lab.session import until
from agent.wire import ADMIN_PORT, DATAPLANE_MODE_LABEL
from tests.support.attacker import web
from tests.support.mesh import Mesh

Json = dict[str, Any]
TUNNEL = {"networking.istio.io/tunnel": "http"}
FREE = "198.18.5.5"  # nobody's, for a start (RFC 2544)
ANSWER = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200), self.end_headers(), self.wfile.write(b"mallory")
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Answer).serve_forever()
"""
_markers = itertools.count(1)


def a_pod(name: str, *command: str) -> Json:
    labels = {DATAPLANE_MODE_LABEL: "ambient", "app": name}
    spec = {"nodeName": "node-2", "containers": [{"name": "main", "command": list(command)}]}
    metadata = {"name": name, "namespace": "mallory", "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def an_entry(kind: str, name: str, labels: dict[str, str] | None = None, **spec: Any) -> Json:
    metadata = {"name": name, "namespace": "mallory", "labels": labels or {}}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def a_service_entry(name: str, host: str, labels: dict[str, str] | None = None, **spec: Any) -> Json:
    ports = [
        {"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080},
        {"number": 8080, "name": "http-alt", "protocol": "HTTP"},
    ]
    whole = {"hosts": [host], "ports": ports, "resolution": "STATIC", **spec}
    return an_entry("ServiceEntry", name, labels, **whole)


@pytest.fixture(scope="module")
def mallory(mesh: Mesh) -> Iterator[str]:
    """A namespace in the mesh with a server that says so, and a client; the server's address."""
    server = a_pod("server", "python3", "-u", "-c", ANSWER)
    server["spec"]["containers"][0]["readinessProbe"] = {"tcpSocket": {"port": 8080}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mallory"}}
    with written(mesh, "mallory.yaml", namespace, server, a_pod("client", "sleep", "infinity")):
        pods = 2
        until("both are enrolled", lambda: sum(p["ready"] and p["enrolled"] for p in mesh.pods("mallory")) == pods)
        yield str(mesh.pod("mallory/server")["addresses"][0])
        mesh.known.pop("mallory/server"), mesh.known.pop("mallory/client", None)
    until("it is gone", lambda: not mesh.pods("mallory"))


@contextlib.contextmanager
def written(mesh: Mesh, name: str, *objects: Json) -> Iterator[None]:
    mesh.write(name, "\n---\n".join(map(json.dumps, objects)) + "\n")
    try:
        yield
    finally:
        (mesh.manifests / name).unlink()


def condition(mesh: Mesh, found: Json) -> Json:
    """What an entry's status says of it; empty before anything is said."""
    folder = {"ServiceEntry": "serviceentries", "WorkloadEntry": "workloadentries"}[found["kind"]]
    path = mesh.lab.folder / "state" / folder / f"mallory_{found['metadata']['name']}.json"
    with contextlib.suppress(FileNotFoundError):
        conditions: list[Json] = json.loads(path.read_text()).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == "ZtunnelAccepted"), {})
    return {}


@contextlib.contextmanager
def in_force(mesh: Mesh, *attack: Json) -> Iterator[None]:
    """While the attack lasts, and once every proxy has heard all that it is to hear of it."""
    with written(mesh, "attack.yaml", *attack):
        until("the controller has judged it", lambda: all(condition(mesh, each) for each in attack))
        marker = f"marker-{next(_markers)}.example.com"
        with written(mesh, "marker.yaml", a_service_entry("marker", marker)):  # said to proxies after the attack
            for node in ("node-1", "node-2"):
                until(f"{node} knows", lambda node=node: marker in mesh.scrape(node, ADMIN_PORT, "/config_dump"))
        yield


def said(mesh: Mesh, url: str, pod: str = "shop/frontend") -> str:
    return mesh.curl(url, pod=pod).stdout


def test_entries_for_what_is_others_change_nothing(mesh: Mesh, mallory: str) -> None:
    service, pod = mesh.service("shop/web")[0], web(mesh)
    endpoints = {"endpoints": [{"address": mallory}]}
    attack = [
        a_service_entry("their-service", "x.example.com", addresses=[service], **endpoints),
        a_service_entry("in-ipv6", "y.example.com", addresses=[f"::ffff:{service}"], **endpoints),
        a_service_entry("their-pod", "z.example.com", addresses=[pod], **endpoints),
        a_service_entry("their-name", "web.shop.svc.cluster.local", addresses=[FREE], **endpoints),
        a_service_entry("all-names", "*.svc.cluster.local", addresses=[FREE], **endpoints),
        a_service_entry("pass-on", "p.example.com", addresses=[pod], resolution="NONE"),
        a_service_entry("endpoint", "e.example.com", TUNNEL, addresses=["198.18.9.9"], endpoints=[{"address": pod}]),
        an_entry("WorkloadEntry", "their-pod", TUNNEL, address=pod, serviceAccount="backend"),
        an_entry("WorkloadEntry", "their-service", TUNNEL, address=service, serviceAccount="backend"),
    ]
    with in_force(mesh, *attack), recorded(mesh.lab.netns("node-1")) as wire:
        told = {each["metadata"]["name"]: condition(mesh, each) for each in attack}
        assert {(each["status"], each["reason"]) for each in told.values()} == {("False", "Conflict")}
        for url in ("http://web.shop/", f"http://{service}/", f"http://{pod}:8080/"):
            assert "catalogue" in said(mesh, url)
            assert "catalogue" in said(mesh, url, pod="mallory/client"), "not even its own pods are led astray"
    assert not wire.carries("catalogue")


def test_a_service_that_comes_later_takes_its_address_back(mesh: Mesh, mallory: str) -> None:
    address = "10.96.77.77"
    entry = a_service_entry("first", "first.example.com", addresses=[address], endpoints=[{"address": mallory}])
    spec = {"clusterIP": address, "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    late = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "late", "namespace": "shop"}, "spec": spec}
    with in_force(mesh, entry):
        assert said(mesh, f"http://{address}/") == "mallory"
        with written(mesh, "late.yaml", late):
            until("it is the service's", lambda: "catalogue" in said(mesh, f"http://{address}/"))
            until("the loser is told", lambda: condition(mesh, entry)["reason"] == "Conflict")
            assert "a Service of namespace shop's" in condition(mesh, entry)["message"]
        until("it is free again", lambda: said(mesh, f"http://{address}/") == "mallory")


def test_a_block_of_addresses_is_for_clients_of_its_own_namespace(mesh: Mesh, mallory: str) -> None:
    blocks = ["198.18.0.0/15", "10.0.0.0/8"]
    entry = a_service_entry("block", "block.example.com", addresses=blocks, endpoints=[{"address": mallory}])
    with in_force(mesh, entry):
        assert said(mesh, f"http://{FREE}/", pod="mallory/client") == "mallory"
        assert mesh.curl(f"http://{FREE}/", "--connect-timeout", "2").returncode != 0
        for url in ("http://web.shop/", f"http://{web(mesh)}:8080/"):
            assert "catalogue" in said(mesh, url)
            assert "catalogue" in said(mesh, url, pod="mallory/client"), "a block leaves what somebody has to them"


def test_a_workload_at_an_address_is_called_by_it_without_taking_it_from_a_service(mesh: Mesh, mallory: str) -> None:
    """A proxy leads an address to the workload that is at it before a service of another namespace."""
    theirs = a_service_entry("theirs", "theirs.example.com", addresses=[FREE], endpoints=[{"address": mallory}])
    theirs["metadata"]["namespace"] = "shop"
    theirs["spec"] |= {"endpoints": [{"address": web(mesh)}]}
    with written(mesh, "theirs.yaml", theirs):
        until("it is reached", lambda: "catalogue" in said(mesh, f"http://{FREE}/"))
        reached = int(time.time())
        until("what comes now is younger", lambda: int(time.time()) > reached)  # ages are in seconds
        with in_force(mesh, an_entry("WorkloadEntry", "squatter", TUNNEL, address=FREE)):
            assert "catalogue" in said(mesh, f"http://{FREE}/")
