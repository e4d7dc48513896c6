"""ServiceEntries and WorkloadEntries on a real API server: what is given to them there, and what node proxies hear."""

from __future__ import annotations

from typing import Any

from agent.controller.entries import terms
from tests.support.cluster import ControlPlane
from tests.support.cluster_mesh import (
    Controller,
    Json,
    a_proxy,
    eventually,
    get,
    put,
)

NETWORKING = "networking.istio.io/v1"


def an_entry(kind: str, namespace: str, name: str, **spec: Any) -> Json:
    return {"apiVersion": NETWORKING, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


async def test_a_host_is_given_addresses_that_proxies_hear_of(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    ports = [{"number": 5432, "name": "tcp", "protocol": "TCP"}]
    spec = {
        "hosts": ["db.example.com"],
        "ports": ports,
        "resolution": "STATIC",
        "endpoints": [{"address": "192.0.2.9"}],
    }

    def status() -> Json:
        found: Json = get(plane, "serviceentry", "db", f"--namespace={namespace}").get("status", {})
        return found

    async with a_proxy(controller, roots, token) as proxy:
        put(plane, an_entry("ServiceEntry", namespace, "db", **spec))
        stored = await eventually("it has a condition", status, lambda seen: "conditions" in seen)
        given = [each["value"] for each in stored["addresses"]]
        assert [each["host"] for each in stored["addresses"]] == ["db.example.com"] * 2
        assert all(map(terms.is_ours, given))
        assert stored["conditions"][0]["observedGeneration"] == 1
        host = f"{namespace}/db.example.com"
        await proxy.until(
            "its addresses are known",
            lambda seen: host in seen.addresses and len(seen.addresses[host].service.addresses) == 2,
        )
        version = get(plane, "serviceentry", "db", f"--namespace={namespace}")["metadata"]["resourceVersion"]
        put(plane, an_entry("ServiceEntry", namespace, "later", **{**spec, "hosts": ["later.example.com"]}))
        later = ("serviceentry", "later", f"--namespace={namespace}")
        await eventually(
            "a later one is looked at", lambda: get(plane, *later), lambda seen: "conditions" in seen.get("status", {})
        )
        assert get(plane, "serviceentry", "db", f"--namespace={namespace}")["metadata"]["resourceVersion"] == version
        put(plane, an_entry("ServiceEntry", namespace, "db", **{**spec, "addresses": ["198.51.100.1"]}))
        await eventually("they are taken back", status, lambda seen: seen["addresses"] == [])
        plane.kubectl("delete", "serviceentry", "db", f"--namespace={namespace}")
        await proxy.until("it is gone", lambda seen: host not in seen.addresses)


async def test_a_workload_entry_is_an_endpoint_of_a_service(
    plane: ControlPlane, controller: Controller, roots: bytes, token: str, namespace: str
) -> None:
    labels = {"app": "web", "networking.istio.io/tunnel": "http"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }
    uid = f"Kubernetes/networking.istio.io/WorkloadEntry/{namespace}/vm"
    async with a_proxy(controller, roots, token) as proxy:
        put(
            plane,
            service,
            an_entry("WorkloadEntry", namespace, "vm", address="192.0.2.77", labels=labels, ports={"http": 9090}),
        )
        await proxy.until(
            "it is known", lambda seen: uid in seen.addresses and bool(seen.addresses[uid].workload.services)
        )
        found = proxy.addresses[uid].workload
        (ports,) = found.services.values()
        assert [(port.service_port, port.target_port) for port in ports.ports] == [(80, 9090)]
        assert (found.tunnel_protocol, found.namespace) == (1, namespace)
        vip = get(plane, "service", "web", f"--namespace={namespace}")["spec"]["clusterIP"]
        put(plane, an_entry("WorkloadEntry", namespace, "thief", address=vip))

        def condition() -> Json:
            status: Json = get(plane, "workloadentry", "thief", f"--namespace={namespace}").get("status", {})
            return next(iter(status.get("conditions", [])), {})

        told = await eventually("the thief is told", condition, bool)
        assert (told["reason"], told["message"]) == (
            "Conflict",
            f"spec.address: {vip} is Service web's: no connection is led to it",
        )
        assert uid.replace("/vm", "/thief") not in proxy.addresses
        plane.kubectl("delete", "workloadentry", "vm", f"--namespace={namespace}")
        await proxy.until("it is gone", lambda seen: uid not in seen.addresses)
