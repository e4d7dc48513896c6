"""Gateway, ListenerSet, GatewayClass and ReferenceGrant: each rule broken, and each nearly."""

from __future__ import annotations

from typing import Any

import pytest

from agent.api.gateway_api.gateway import Gateway
from agent.api.kubernetes import parse
from agent.errors import InvalidObjectError
from tests.support.gateway_objects import Object, a_gateway, a_listener, an_object, faults_of

CERTIFICATE = {"certificateRefs": [{"name": "cert"}]}
SYSTEM = {"caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]}


def https(**given: Any) -> Object:
    return a_listener(**{"name": "https", "port": 443, "protocol": "HTTPS", **given})


def with_address(*addresses: Object) -> Object:
    return a_gateway(addresses=list(addresses))


def with_labels(**labels: str) -> Object:
    return a_gateway(infrastructure={"labels": labels})


def a_listener_set(*listeners: Object) -> Object:
    return an_object("ListenerSet", {"parentRef": {"name": "web"}, "listeners": list(listeners)})


def per_port(*ports: int) -> Object:
    settings = [{"port": port, "tls": {"validation": SYSTEM}} for port in ports]
    return a_gateway(tls={"frontend": {"default": {}, "perPort": settings}})


LISTENERS = "spec.listeners"
REFUSED = {
    "tls with HTTP": (
        a_gateway(a_listener(tls=CERTIFICATE)),
        f"{LISTENERS}[0]",
        "tls: not accepted with protocol HTTP",
    ),
    "tls with TCP": (a_gateway(a_listener(protocol="TCP", tls=CERTIFICATE)), f"{LISTENERS}[0]", "protocol TCP"),
    "tls with UDP": (a_gateway(a_listener(protocol="UDP", tls=CERTIFICATE)), f"{LISTENERS}[0]", "protocol UDP"),
    "passthrough with HTTPS": (
        a_gateway(https(tls={"mode": "Passthrough"})),
        f"{LISTENERS}[0]",
        "accepted is Terminate",
    ),
    "TLS without tls": (a_gateway(a_listener(protocol="TLS")), f"{LISTENERS}[0]", "tls: missing"),
    "a host with TCP": (
        a_gateway(a_listener(protocol="TCP", hostname="a.b")),
        f"{LISTENERS}[0]",
        "hostname: not accepted",
    ),
    "a host with UDP": (
        a_gateway(a_listener(protocol="UDP", hostname="a.b")),
        f"{LISTENERS}[0]",
        "hostname: not accepted",
    ),
    "one name twice": (
        a_gateway(a_listener(), a_listener(port=81)),
        LISTENERS,
        "listener name 'http' is there 2 times",
    ),
    "one place twice": (
        a_gateway(a_listener(), a_listener(name="b")),
        LISTENERS,
        "port, protocol and hostname (80, 'HTTP', '')",
    ),
    "nothing to terminate with": (
        a_gateway(https(tls={})),
        f"{LISTENERS}[0].tls",
        "at least one of certificateRefs and options",
    ),
    "no listeners": (
        {**a_gateway(), "spec": {"gatewayClassName": "a", "listeners": []}},
        LISTENERS,
        "there are 0; accepted are 1 to 64",
    ),
    "a host in capitals": (a_gateway(a_listener(hostname="A.b")), f"{LISTENERS}[0].hostname", "read 'A.b'"),
    "a port of 0": (a_gateway(a_listener(port=0)), f"{LISTENERS}[0].port", "greater than or equal to 1"),
    "a port as text": (a_gateway(a_listener(port="80")), f"{LISTENERS}[0].port", "accepted is a valid integer"),
    "an unknown field": (a_gateway(a_listener(host="a")), f"{LISTENERS}[0].host", "unknown field"),
    "an address that is none": (
        with_address({"value": "10.0.0"}),
        "spec.addresses[0]",
        "accepted is an IPv4 or IPv6 address",
    ),
    "an address with a zone": (
        with_address({"value": "fe80::1%eth0"}),
        "spec.addresses[0]",
        "accepted is an IPv4 or IPv6 address",
    ),
    "a host that is none": (
        with_address({"type": "Hostname", "value": "a_b"}),
        "spec.addresses[0]",
        "accepted is a host name",
    ),
    "an address twice": (
        with_address({"value": "10.0.0.1"}, {"value": "10.0.0.1"}),
        "spec.addresses",
        "10.0.0.1 is there 2 times",
    ),
    "a host twice": (
        with_address(*[{"type": "Hostname", "value": "a.b"}] * 2),
        "spec.addresses",
        "Hostname a.b is there 2 times",
    ),
    "a label key": (
        with_labels(**{"a/b/c": "d"}),
        "spec.infrastructure.labels.a/b/c.[key]",
        "accepted is NAME or DOMAIN/NAME",
    ),
    "a label prefix": (with_labels(**{f"{'a' * 253}/b": "d"}), None, "accepted is NAME or DOMAIN/NAME"),
    "an annotation key": (
        a_gateway(infrastructure={"annotations": {"-a": "b"}}),
        "spec.infrastructure.annotations.-a.[key]",
        "accepted is NAME or DOMAIN/NAME",
    ),
    "nine labels": (with_labels(**{f"a{i}": "" for i in range(9)}), "spec.infrastructure.labels", "at most 8"),
    "a port's TLS twice": (per_port(443, 443), "spec.tls.frontend.perPort", "port 443 is there 2 times"),
    "an unknown operator": (
        a_gateway(
            allowedListeners={
                "namespaces": {"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "Has"}]}}
            }
        ),
        "spec.allowedListeners.namespaces.selector.matchExpressions[0].operator",
        "accepted is 'In', 'NotIn', 'Exists' or 'DoesNotExist'",
    ),
    "a name twice in a set": (a_listener_set(a_listener(), a_listener(port=81)), LISTENERS, "'http' is there 2 times"),
    "a set's listener without a port": (
        a_listener_set({"name": "a", "protocol": "HTTP"}),
        f"{LISTENERS}[0].port",
        "missing",
    ),
    "a controller without a path": (
        an_object("GatewayClass", {"controllerName": "example.com"}),
        "spec.controllerName",
        "accepted is DOMAIN/PATH",
    ),
    "a grant to nobody": (
        an_object("ReferenceGrant", {"from": [], "to": [{"group": "", "kind": "Service"}]}),
        "spec.from",
        "there are 0; accepted are 1 to 16",
    ),
}
ACCEPTED = {
    "HTTPS with certificates": a_gateway(https(tls=CERTIFICATE)),
    "HTTPS without tls": a_gateway(https()),
    "TLS passed through": a_gateway(https(protocol="TLS", tls={"mode": "Passthrough"})),
    "options alone": a_gateway(https(tls={"options": {"example.com/x": ""}})),
    "TCP without a host": a_gateway(a_listener(protocol="TCP")),
    "the same port with another host": a_gateway(a_listener(), a_listener(name="b", hostname="a.b")),
    "the same port with another protocol": a_gateway(a_listener(), a_listener(name="b", protocol="TCP")),
    "a waypoint": a_gateway(a_listener(name="mesh", port=15008, protocol="HBONE")),
    "a protocol of one's own": a_gateway(a_listener(protocol="example.com/x")),
    "any address, twice": with_address({}, {}),
    "any host": with_address({"type": "Hostname"}),
    "a wildcard": with_address({"type": "Hostname", "value": "*.a.b"}),
    "a named address twice": with_address(*[{"type": "NamedAddress", "value": "a"}] * 2),
    "an IPv6 address": with_address({"value": "fd00::1"}),
    "a long label prefix": with_labels(**{f"{'a' * 252}/b": "d"}),
    "eight labels": with_labels(**{f"a{i}": "" for i in range(8)}),
    "TLS by port": per_port(443, 8443),
    "a class": an_object("GatewayClass", {"controllerName": "example.com/a/B"}),
    "a set": a_listener_set(a_listener(), a_listener(name="b", port=81)),
}


@pytest.mark.parametrize(("given", "field", "says"), REFUSED.values(), ids=REFUSED)
def test_what_the_crd_refuses_is_refused_with_field_and_reason(given: Object, field: str | None, says: str) -> None:
    faults = faults_of(given)
    assert len(faults) == 1
    (found,) = faults
    assert field is None or found == field
    assert says in faults[found]


@pytest.mark.parametrize("given", ACCEPTED.values(), ids=ACCEPTED)
def test_what_only_nearly_breaks_a_rule_is_read(given: Object) -> None:
    assert parse(given, "f").metadata.name == "it"


def test_a_version_that_is_no_longer_served_is_refused_with_those_that_are() -> None:
    with pytest.raises(InvalidObjectError) as caught:
        parse({**a_gateway(), "apiVersion": "gateway.networking.k8s.io/v1alpha2"}, "f")
    accepted = "gateway.networking.k8s.io/v1 Gateway, gateway.networking.k8s.io/v1beta1 Gateway"
    assert accepted in str(caught.value)


def test_absent_fields_have_the_defaults_of_the_crd() -> None:
    gateway = parse(a_gateway(https(tls=CERTIFICATE), addresses=[{}], allowedListeners={}), "f")
    assert isinstance(gateway, Gateway)
    (listener,) = gateway.spec.listeners
    assert listener.tls is not None and listener.tls.mode == "Terminate"
    assert (listener.tls.certificate_refs[0].group, listener.tls.certificate_refs[0].kind) == ("", "Secret")
    assert listener.allowed_routes.namespaces.from_ == "Same"
    assert gateway.spec.addresses[0].type == "IPAddress"
    assert gateway.spec.allowed_listeners is not None and gateway.spec.allowed_listeners.namespaces.from_ == "None"
    born = [(condition.type, condition.status, condition.reason) for condition in gateway.status.conditions]
    assert born == [("Accepted", "Unknown", "Pending"), ("Programmed", "Unknown", "Pending")]


def test_a_status_is_read_as_its_controller_wrote_it() -> None:
    condition = {"type": "Programmed", "status": "True", "reason": "Programmed", "observedGeneration": 3}
    status = {
        "addresses": [{"value": "10.0.0.9"}],
        "conditions": [condition],
        "listeners": [{"name": "http", "attachedRoutes": 2, "conditions": [], "newField": 1}],
    }
    gateway = parse({**a_gateway(), "status": status}, "f")
    assert isinstance(gateway, Gateway)
    assert [(address.type, address.value) for address in gateway.status.addresses] == [("IPAddress", "10.0.0.9")]
    assert [(each.type, each.observed_generation) for each in gateway.status.conditions] == [("Programmed", 3)]
    assert gateway.status.listeners[0].attached_routes == 2
