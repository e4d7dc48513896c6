"""Specs of Istio's kinds that have a single fault each, which the models and an API server must both see."""

from __future__ import annotations

from typing import Any

from tests.support.istio_objects import Object


def _route(**more: Any) -> Object:
    return {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}], **more}]}


def _policy(**more: Any) -> Object:
    return {"host": "a", "trafficPolicy": more}


def _server(**tls: Any) -> Object:
    return {"servers": [{"port": {"number": 443, "name": "a", "protocol": "HTTPS"}, "hosts": ["*"], "tls": tls}]}


def _entry(**more: Any) -> Object:
    return {"hosts": ["a.example.com"], "ports": [{"number": 80, "name": "http"}], "resolution": "DNS", **more}


SERVICE = {"kind": "Service", "name": "a"}
# The kind, its spec, the field that is at fault and what is said of it.
BAD: list[tuple[str, Object, str, str]] = [
    ("VirtualService", {"hosts": ["a"], "htp": []}, "spec.htp", "unknown field"),
    ("VirtualService", {"hosts": "a"}, "spec.hosts", "accepted is a list"),
    (
        "VirtualService",
        _route(timeout="10"),
        "spec.http[0].timeout",
        "read '10': accepted is a duration such as \"1.5s\"",
    ),
    ("VirtualService", _route(timeout="999us"), "spec.http[0].timeout", "accepted is a duration of 1ms or more"),
    ("VirtualService", _route(timeout=10), "spec.http[0].timeout", "read 10: accepted is a duration"),
    (
        "VirtualService",
        _route(retries={"attempts": "3"}),
        "spec.http[0].retries.attempts",
        "accepted is a valid integer",
    ),
    ("VirtualService", _route(retries={"attempts": -1}), "spec.http[0].retries.attempts", "greater than or equal to 0"),
    ("VirtualService", {"http": [{"route": [{}]}]}, "spec.http[0].route[0].destination", "missing; it is required"),
    (
        "VirtualService",
        {"http": [{"route": [{"destination": {"host": "a"}, "weight": 2**31}]}]},
        "spec.http[0].route[0].weight",
        "less than or equal to 2147483647",
    ),
    (
        "VirtualService",
        {"tcp": [{"route": [{"destination": {"host": "a", "port": {"number": 70000}}}]}]},
        "spec.tcp[0].route[0].destination.port.number",
        "read 70000: accepted is less than or equal to 65535",
    ),
    (
        "VirtualService",
        _route(match=[{"uri": {"exact": "/", "prefix": "/"}}]),
        "spec.http[0].match[0].uri",
        "accepted is at most one of exact, prefix, regex",
    ),
    (
        "VirtualService",
        {"http": [{"redirect": {"port": 80, "derivePort": "FROM_REQUEST_PORT"}}]},
        "spec.http[0].redirect",
        "at most one of port, derivePort",
    ),
    (
        "VirtualService",
        {"http": [{"directResponse": {"status": 200, "body": {"bytes": "%"}}}]},
        "spec.http[0].directResponse.body.bytes",
        "accepted are bytes in base64",
    ),
    (
        "VirtualService",
        _route(fault={"abort": {"httpStatus": 500, "percentage": {"value": 100.5}}}),
        "spec.http[0].fault.abort.percentage.value",
        "less than or equal to 100",
    ),
    ("VirtualService", _route(mirror_percent=1, mirrorPercent=1), "spec.http[0]", "mirrorPercent, mirror_percent"),
    ("VirtualService", {"tls": [{"match": [{}]}]}, "spec.tls[0].match[0].sniHosts", "missing; it is required"),
    ("DestinationRule", {}, "spec.host", "missing; it is required"),
    ("DestinationRule", {"host": "a", "subsets": [{}]}, "spec.subsets[0].name", "missing; it is required"),
    (
        "DestinationRule",
        _policy(loadBalancer={"simple": "RANDOM", "consistentHash": {}}),
        "spec.trafficPolicy.loadBalancer",
        "at most one of simple, consistentHash",
    ),
    (
        "DestinationRule",
        _policy(loadBalancer={"consistentHash": {"ringHash": {}, "maglev": {}}}),
        "spec.trafficPolicy.loadBalancer.consistentHash",
        "at most one of ringHash, maglev",
    ),
    (
        "DestinationRule",
        _policy(loadBalancer={"warmup": {"duration": "1s", "minimumPercent": 101}}),
        "spec.trafficPolicy.loadBalancer.warmup.minimumPercent",
        "less than or equal to 100",
    ),
    (
        "DestinationRule",
        _policy(outlierDetection={"outlierDetectionHttpErrorCodes": [99]}),
        "spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes[0]",
        "greater than or equal to 100",
    ),
    (
        "DestinationRule",
        _policy(connectionPool={"tcp": {"idleTimeout": "1 s"}}),
        "spec.trafficPolicy.connectionPool.tcp.idleTimeout",
        "read '1 s': accepted is a duration such as",
    ),
    ("DestinationRule", _policy(tls={"mode": "TLS"}), "spec.trafficPolicy.tls.mode", "accepted is 'DISABLE', 'SIMPLE'"),
    ("Gateway", {"servers": [{"hosts": ["*"]}]}, "spec.servers[0].port", "missing; it is required"),
    ("Gateway", _server(credentialName="a", credentialNames=["b"]), "spec.servers[0].tls", "at most one of"),
    ("Gateway", _server(credentialNames=[]), "spec.servers[0].tls.credentialNames", "at least 1"),
    (
        "Gateway",
        _server(credentialNames=["a", "b", "c"]),
        "spec.servers[0].tls.credentialNames",
        "accepted are at most 2 items",
    ),
    ("Gateway", _server(minProtocolVersion="1.2"), "spec.servers[0].tls.minProtocolVersion", "accepted is 'TLS_AUTO'"),
    ("ServiceEntry", {"hosts": []}, "spec.hosts", "read []: accepted are at least 1 item"),
    ("ServiceEntry", {"hosts": ["*"]}, "spec.hosts[0]", "read '*': accepted is a host, but '*'"),
    ("ServiceEntry", _entry(addresses=["10.0.0.0/8"]), "spec", "addresses: a CIDR block is accepted with resolution"),
    ("ServiceEntry", _entry(resolution="NONE", endpoints=[{"address": "a"}]), "spec", "endpoints: not accepted"),
    (
        "ServiceEntry",
        _entry(resolution="DNS_ROUND_ROBIN", endpoints=[{"address": "a"}, {"address": "b"}]),
        "spec",
        "endpoints: at most one is accepted with resolution DNS_ROUND_ROBIN",
    ),
    (
        "ServiceEntry",
        _entry(endpoints=[{"address": "a"}], workloadSelector={"labels": {"a": "b"}}),
        "spec",
        "at most one of workloadSelector, endpoints",
    ),
    ("ServiceEntry", _entry(endpoints=[{}]), "spec.endpoints[0]", "address: required, unless there is a network"),
    (
        "ServiceEntry",
        _entry(ports=[{"number": 80, "name": "a"}, {"number": 80, "name": "b"}]),
        "spec.ports",
        "accepted is each number once",
    ),
    (
        "ServiceEntry",
        _entry(ports=[{"number": 80, "name": "a"}, {"number": 81, "name": "a"}]),
        "spec.ports",
        "accepted is each name once",
    ),
    ("ServiceEntry", _entry(ports=[{"number": 0, "name": "a"}]), "spec.ports[0].number", "greater than or equal to 1"),
    (
        "ServiceEntry",
        _entry(workloadSelector={"labels": {"a": "b*"}}),
        "spec.workloadSelector.labels.a",
        "accepted is a label's value; a wildcard is not",
    ),
    ("WorkloadEntry", {"address": "unix://run"}, "spec.address", "accepted after unix:// is an absolute path"),
    ("WorkloadEntry", {"address": "unix:///run/"}, "spec.address", "accepted after unix:// is a socket"),
    ("WorkloadEntry", {"address": "unix:///a", "ports": {"a": 1}}, "spec", "accepted only without a unix:// address"),
    ("WorkloadEntry", {"address": "a", "ports": {"a_b": 1}}, "spec.ports", "accepted as a port's name are letters"),
    ("WorkloadEntry", {"address": "a", "ports": {"a": 0}}, "spec.ports.a", "greater than or equal to 1"),
    ("WorkloadGroup", {}, "spec.template", "missing; it is required"),
    (
        "WorkloadGroup",
        {"template": {}, "probe": {"httpGet": {"port": 1, "scheme": "TCP"}}},
        "spec.probe.httpGet.scheme",
        "accepted are HTTP and HTTPS",
    ),
    (
        "WorkloadGroup",
        {"template": {}, "probe": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a b"}]}}},
        "spec.probe.httpGet.httpHeaders[0].name",
        "accepted is a text that matches the pattern '^[-_A-Za-z0-9]+$'",
    ),
    (
        "WorkloadGroup",
        {"template": {}, "probe": {"tcpSocket": {"port": 1}, "grpc": {"port": 1}}},
        "spec.probe",
        "at most one of httpGet, tcpSocket, exec, grpc",
    ),
    ("Sidecar", {"egress": [{}]}, "spec.egress[0].hosts", "missing; it is required"),
    ("Sidecar", {"ingress": [{"captureMode": "ALL"}]}, "spec.ingress[0].port", "missing; it is required"),
    (
        "EnvoyFilter",
        {"configPatches": [{"match": {"context": "WAYPOINT"}}]},
        "spec.configPatches[0].match",
        "waypoint: accepted with context WAYPOINT, which needs it, and no other",
    ),
    (
        "EnvoyFilter",
        {"configPatches": [{"match": {"waypoint": {}}}]},
        "spec.configPatches[0].match",
        "waypoint: accepted with context WAYPOINT, which needs it, and no other",
    ),
    (
        "EnvoyFilter",
        {"workloadSelector": {}, "targetRefs": [SERVICE]},
        "spec",
        "at most one of workloadSelector, targetRefs",
    ),
    (
        "EnvoyFilter",
        {"configPatches": [{"applyTo": "ROUTE"}]},
        "spec.configPatches[0].applyTo",
        "accepted is 'INVALID'",
    ),
    ("ProxyConfig", {"concurrency": -1}, "spec.concurrency", "greater than or equal to 0"),
    (
        "ProxyConfig",
        {"selector": {"matchLabels": {"*": "a"}}},
        "spec.selector.matchLabels",
        "accepted are keys of labels",
    ),
    ("AuthorizationPolicy", {"selector": {}, "targetRefs": [SERVICE]}, "spec", "at most one of selector, targetRef"),
    ("AuthorizationPolicy", {"targetRefs": []}, "spec.targetRefs", "read []: accepted is at least one"),
    ("AuthorizationPolicy", {"action": "CUSTOM"}, "spec", "provider: accepted with action CUSTOM, which needs it"),
    (
        "AuthorizationPolicy",
        {"targetRefs": [{"kind": "Pod", "name": "a"}]},
        "spec.targetRefs[0]",
        "accepted are Service",
    ),
    (
        "AuthorizationPolicy",
        {"targetRefs": [{**SERVICE, "namespace": "b"}]},
        "spec.targetRefs[0].namespace",
        "accepted is no namespace",
    ),
    (
        "AuthorizationPolicy",
        {"rules": [{"from": [{"source": {"serviceAccounts": ["a"], "principals": ["b"]}}]}]},
        "spec.rules[0].from[0].source",
        "serviceAccounts: accepted only without principals and namespaces",
    ),
    (
        "AuthorizationPolicy",
        {"rules": [{"to": [{"operation": {}}]}]},
        "spec.rules[0].to[0].operation",
        "at least one field",
    ),
    ("AuthorizationPolicy", {"rules": [{"when": [{"key": "source.ip"}]}]}, "spec.rules[0].when[0]", "at least one of"),
    ("PeerAuthentication", {"portLevelMtls": {"80": {}}}, "spec", "portLevelMtls: accepted only with a selector"),
    (
        "PeerAuthentication",
        {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {}},
        "spec.portLevelMtls",
        "at least 1 item",
    ),
    (
        "RequestAuthentication",
        {"jwtRules": [{"issuer": "a", "jwks": "{}", "jwksUri": "https://a"}]},
        "spec.jwtRules[0]",
        "at most one of jwksUri, jwks_uri, jwks",
    ),
    (
        "RequestAuthentication",
        {"jwtRules": [{"issuer": "a", "jwksUri": "ftp://a"}]},
        "spec.jwtRules[0].jwksUri",
        "accepted is a URL of http or https",
    ),
    (
        "RequestAuthentication",
        {"jwtRules": [{"issuer": ""}]},
        "spec.jwtRules[0].issuer",
        "accepted is a text of at least 1 character",
    ),
    (
        "RequestAuthentication",
        {"jwtRules": [{"outputClaimToHeaders": [{"claim": "a", "header": "x y"}]}]},
        "spec.jwtRules[0].outputClaimToHeaders[0].header",
        "accepted is a text that matches the pattern '^[-_A-Za-z0-9]+$'",
    ),
]
