"""What nodes make of services and their slices."""

from __future__ import annotations

from agent.api.cluster_network import EndpointSlice
from agent.api.kubernetes import Service, parse
from agent.kube import Object
from agent.lab.kubernetes.endpoints import api_slice, backends, published
from agent.lab.services import Backend

READY: Object = {"ready": True, "serving": True, "terminating": False}
ENDING: Object = {"ready": False, "serving": True, "terminating": True}
BROKEN: Object = {"ready": False, "serving": False, "terminating": False}


def a_service(**spec: object) -> Service:
    whole = {
        "clusterIP": "10.96.0.20",
        "clusterIPs": ["10.96.0.20", "fd96::20"],
        "ports": [{"name": "http", "port": 80}],
    }
    metadata = {"name": "web", "namespace": "shop"}
    found = parse({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {**whole, **spec}}, "test")
    assert isinstance(found, Service)
    return found


def a_slice(*endpoints: tuple[str, Object], family: str = "IPv4", service: str = "web") -> EndpointSlice:
    labels = {"kubernetes.io/service-name": service}
    found = parse(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"{service}-{family.lower()}", "namespace": "shop", "labels": labels},
            "addressType": family,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": conditions} for address, conditions in endpoints],
        },
        "test",
    )
    assert isinstance(found, EndpointSlice)
    return found


def test_each_address_has_the_ready_endpoints_of_its_family() -> None:
    slices = [
        a_slice(("10.0.0.2", READY), ("10.0.0.1", READY), ("10.0.0.3", BROKEN), ("10.0.0.4", ENDING)),
        a_slice(("fd00::1", READY), family="IPv6"),
        a_slice(("10.0.0.9", READY), service="other"),
    ]
    assert backends([a_service()], slices) == [
        Backend("10.96.0.20", "tcp", 80, (("10.0.0.1", 8080), ("10.0.0.2", 8080))),
        Backend("fd96::20", "tcp", 80, (("fd00::1", 8080),)),
    ]


def test_endpoints_that_end_serve_while_there_is_no_other() -> None:
    found = backends([a_service()], [a_slice(("10.0.0.3", BROKEN), ("10.0.0.4", ENDING))])
    assert [backend.endpoints for backend in found] == [(("10.0.0.4", 8080),), ()]


def test_a_service_s_names_stand_for_its_addresses_and_a_headless_one_s_for_its_endpoints() -> None:
    slices = [a_slice(("10.0.0.1", READY), ("10.0.0.2", BROKEN))]
    assert published(a_service(), slices) == ["10.96.0.20", "fd96::20"]
    assert published(a_service(clusterIP="None", clusterIPs=["None"]), slices) == ["10.0.0.1"]


def test_the_api_server_s_service_leads_to_where_the_lab_has_joined_it() -> None:
    found = parse(api_slice(), "test")
    assert isinstance(found, EndpointSlice)
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443, "targetPort": 6443}]}
    metadata = {"name": "kubernetes", "namespace": "default"}
    service = parse({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}, "test")
    assert isinstance(service, Service)
    assert backends([service], [found]) == [Backend("10.96.0.1", "tcp", 443, (("10.70.0.2", 6443),))]
