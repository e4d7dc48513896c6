"""What is said of DestinationRules that can be read and make no sense, and of those that nearly make none."""

from __future__ import annotations

import pytest

from tests.support.validation import errors, warnings

KIND = "networking.istio.io/v1/DestinationRule"
POLICY = "spec.trafficPolicy"
BALANCER = f"{POLICY}.loadBalancer"
LOCALITY = f"{BALANCER}.localityLbSetting"
FOUND = "outlierDetection: {}"


def with_policy(policy: str) -> str:
    return f"host: reviews\ntrafficPolicy: {{{policy}}}"


def with_tls(tls: str) -> str:
    return with_policy(f"tls: {{{tls}}}")


def with_http(http: str) -> str:
    return with_policy(f"connectionPool: {{http: {{{http}}}}}")


def with_tcp(tcp: str) -> str:
    return with_policy(f"connectionPool: {{tcp: {{{tcp}}}}}")


def with_balancer(balancer: str, more: str = FOUND) -> str:
    return with_policy(f"{more}, loadBalancer: {{{balancer}}}".removeprefix(", "))


def with_hash(hashed: str) -> str:
    return with_balancer(f"consistentHash: {{{hashed}}}")


def with_locality(locality: str, more: str = FOUND) -> str:
    return with_balancer(f"localityLbSetting: {{{locality}}}", more)


def with_shares(*shares: str) -> str:
    return with_locality(f"distribute: [{', '.join(f'{{{share}}}' for share in shares)}]")


def with_zones(zones: str, more: str = FOUND) -> str:
    return with_balancer(f"zoneAwareLbSetting: {{{zones}}}", more)


def with_subset(subset: str) -> str:
    return f"host: reviews\nsubsets: [{{{subset}}}]"


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ("host: a_b", "spec.host", "accepted is a DNS name"),
        ("host: ''", "spec.host", "1 to 253 characters"),
        ("host: a.1", "spec.host", "the last label of which is no number"),
        ("host: '*--a.com'", "spec.host", "a wildcard such as"),
        ("host: a\nexportTo: ['*', shop]", "spec.exportTo[0]", "accepted is '*' alone"),
        (
            "host: a\nworkloadSelector: {matchLabels: {a: b}}\nexportTo: [other]",
            "spec.exportTo[0]",
            "'.' beside a workloadSelector",
        ),
        (with_policy(""), POLICY, "empty"),
        (with_policy("portLevelSettings: []"), POLICY, "empty"),
        (with_tcp("idleTimeout: -1s"), f"{POLICY}.connectionPool.tcp.idleTimeout", "negative"),
        (
            with_policy("tunnel: {targetHost: a.com, targetPort: 1}, proxyProtocol: {}"),
            POLICY,
            "one of tunnel and proxyProtocol",
        ),
        (
            with_policy("tunnel: {targetHost: a.com, targetPort: 1, protocol: GET}"),
            f"{POLICY}.tunnel.protocol",
            "CONNECT or POST",
        ),
        (with_policy("tunnel: {targetHost: '*.com', targetPort: 1}"), f"{POLICY}.tunnel.targetHost", "a DNS name"),
        (with_subset("name: a_b"), "spec.subsets[0].name", "a DNS label"),
        ("host: a\nsubsets: [{name: a}, {name: a}]", "spec.subsets[1].name", "each name once"),
        (with_subset("name: a, labels: {b: c d}"), "spec.subsets[0].labels.b", "a label's value"),
        (with_subset("name: a, trafficPolicy: {}"), "spec.subsets[0].trafficPolicy", "empty"),
        (
            with_policy("portLevelSettings: [{loadBalancer: {simple: RANDOM}}]"),
            f"{POLICY}.portLevelSettings[0].port",
            "missing",
        ),
        (
            with_policy("portLevelSettings: [{port: {number: 1}}]"),
            f"{POLICY}.portLevelSettings[0]",
            "at least one field besides port",
        ),
        (
            with_policy("portLevelSettings: [{port: {number: 1}, connectionPool: {}}]"),
            f"{POLICY}.portLevelSettings[0].connectionPool",
            "empty",
        ),
        (with_policy("connectionPool: {}"), f"{POLICY}.connectionPool", "tcp, http or both"),
        (with_tcp("maxConnections: -1"), f"{POLICY}.connectionPool.tcp.maxConnections", "0, or more"),
        (with_tcp("connectTimeout: 1.5ms"), f"{POLICY}.connectionPool.tcp.connectTimeout", "whole milliseconds"),
        (with_tcp("idleTimeout: 1.5ms"), f"{POLICY}.connectionPool.tcp.idleTimeout", "whole milliseconds"),
        (
            with_tcp("tcpKeepalive: {time: 1ms1us}"),
            f"{POLICY}.connectionPool.tcp.tcpKeepalive.time",
            "whole milliseconds",
        ),
        (with_http("maxRetries: -1"), f"{POLICY}.connectionPool.http.maxRetries", "0, or more"),
        (
            with_http("useClientProtocol: true, h2UpgradePolicy: UPGRADE"),
            f"{POLICY}.connectionPool.http.useClientProtocol",
            "UPGRADE",
        ),
        (
            with_http("http2KeepAlive: {interval: 1s}"),
            f"{POLICY}.connectionPool.http.http2KeepAlive.timeout",
            "required",
        ),
        (
            with_policy("outlierDetection: {maxEjectionPercent: 101}"),
            f"{POLICY}.outlierDetection.maxEjectionPercent",
            "0 to 100",
        ),
        (
            with_policy("outlierDetection: {minHealthPercent: -1}"),
            f"{POLICY}.outlierDetection.minHealthPercent",
            "0 to 100",
        ),
        (
            with_policy("outlierDetection: {consecutiveLocalOriginFailures: 1}"),
            f"{POLICY}.outlierDetection.consecutiveLocalOriginFailures",
            "splitExternalLocalOriginErrors",
        ),
        (
            with_policy("outlierDetection: {interval: 1.0005s}"),
            f"{POLICY}.outlierDetection.interval",
            "whole milliseconds",
        ),
        (with_tls("mode: MUTUAL, privateKey: /k"), f"{POLICY}.tls.clientCertificate", "mode MUTUAL needs it"),
        (with_tls("mode: MUTUAL, clientCertificate: /c"), f"{POLICY}.tls.privateKey", "mode MUTUAL needs it"),
        (
            with_tls("mode: SIMPLE, credentialName: a, caCertificates: /c"),
            f"{POLICY}.tls.caCertificates",
            "beside credentialName",
        ),
        (
            with_tls("mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]"),
            f"{POLICY}.tls.subjectAltNames",
            "insecureSkipVerify",
        ),
        (
            with_tls("mode: SIMPLE, insecureSkipVerify: true, credentialName: a"),
            f"{POLICY}.tls.credentialName",
            "insecureSkipVerify",
        ),
        (
            with_tls("mode: SIMPLE, credentialName: 'configmap://other/a'"),
            f"{POLICY}.tls.credentialName",
            "configmap://shop/NAME",
        ),
        (
            with_tls("mode: SIMPLE, credentialName: 'configmap://a'"),
            f"{POLICY}.tls.credentialName",
            "configmap://shop/NAME",
        ),
        (with_hash("httpCookie: {name: ''}"), f"{BALANCER}.consistentHash.httpCookie.name", "the name of a cookie"),
        (
            with_hash("httpCookie: {name: a, attributes: [{name: b}, {name: b}]}"),
            f"{BALANCER}.consistentHash.httpCookie.attributes[1].name",
            "each once",
        ),
        (with_hash("maglev: {tableSize: 10}"), f"{BALANCER}.consistentHash.maglev.tableSize", "a prime number"),
        (with_hash("maglev: {}"), f"{BALANCER}.consistentHash.maglev.tableSize", "a prime number"),
        (with_hash("maglev: {tableSize: 5000011}"), f"{BALANCER}.consistentHash.maglev.tableSize", "below 5000011"),
        (
            with_hash("minimumRingSize: 5, ringHash: {}"),
            f"{BALANCER}.consistentHash.minimumRingSize",
            "one of minimumRingSize, ringHash and maglev",
        ),
        (with_balancer("warmup: {duration: 1s, aggression: 0.0}"), f"{BALANCER}.warmup.aggression", "above 0"),
        (with_balancer("warmup: {duration: 1.0001s}"), f"{BALANCER}.warmup.duration", "whole milliseconds"),
        (
            with_locality("distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]"),
            LOCALITY,
            "one of distribute and failover",
        ),
        (with_shares("from: a, to: {a: 99}"), f"{LOCALITY}.distribute[0].to", "a sum of 100"),
        (with_shares("from: a, to: {a: 100, b: 0}"), f"{LOCALITY}.distribute[0].to.b", "1 to 100"),
        (with_shares("from: a//c, to: {a: 100}"), f"{LOCALITY}.distribute[0].from", "REGION/ZONE/SUBZONE"),
        (with_shares("from: '*/a', to: {a: 100}"), f"{LOCALITY}.distribute[0].from", "* at the end"),
        (
            with_shares("from: 'a/*', to: {a: 100}", "from: a/b, to: {a: 100}"),
            f"{LOCALITY}.distribute[1].from",
            "overlaps",
        ),
        (
            with_shares("from: a/b, to: {a: 100}", "from: a, to: {a: 100}"),
            f"{LOCALITY}.distribute[1].from",
            "overlaps",
        ),
        (with_shares("from: a, to: {'*': 50, b: 50}"), f"{LOCALITY}.distribute[0].to.b", "overlaps"),
        (with_locality("failover: [{from: a, to: a}]"), f"{LOCALITY}.failover[0].to", "other than"),
        (with_locality("failover: [{from: a/b, to: c}]"), f"{LOCALITY}.failover[0].from", "a region"),
        (with_locality("failover: [{from: a, to: '*'}]"), f"{LOCALITY}.failover[0].to", "a region"),
        (
            with_locality("failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]"),
            f"{LOCALITY}.failoverPriority",
            "beside failover",
        ),
        (
            with_zones("failoverPriority: [topology.kubernetes.io/region]"),
            f"{BALANCER}.zoneAwareLbSetting.failoverPriority[0]",
            "nothing of region",
        ),
        (with_zones("failover: [{from: a, to: a}]"), f"{BALANCER}.zoneAwareLbSetting.failover[0].to", "other than"),
    ],
)
def test_what_makes_no_sense_is_refused_with_field_and_what_is_accepted(spec: str, field: str, says: str) -> None:
    found = errors(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    "spec",
    [
        "host: reviews",
        "host: '*'",
        "host: '*-a.example.com'",
        "host: reviews.shop.svc.cluster.local.",
        "host: a\nworkloadSelector: {matchLabels: {a: b}}\nexportTo: ['.']",
        "host: a\nworkloadSelector: {matchLabels: {a: b}}\nexportTo: [shop]",
        with_policy("tunnel: {targetHost: 10.0.0.1, targetPort: 1, protocol: POST}"),
        with_policy("retryBudget: {}"),
        with_subset("name: V1, labels: {example.com/b: ''}"),
        "host: a\nsubsets: [{name: a}, {name: b}]",
        with_policy("portLevelSettings: [{port: {number: 1}, tls: {}}]"),
        with_tcp("idleTimeout: 0s"),
        with_tcp("connectTimeout: 1.5s, tcpKeepalive: {time: 1ms}"),
        with_http("useClientProtocol: true, h2UpgradePolicy: DO_NOT_UPGRADE"),
        with_http("http2KeepAlive: {interval: 1s, timeout: 1s}"),
        with_policy("outlierDetection: {maxEjectionPercent: 100, consecutiveLocalOriginFailures: 0}"),
        with_policy("outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 1}"),
        with_tls("mode: MUTUAL, credentialName: a"),
        with_tls("mode: MUTUAL, credentialName: a, insecureSkipVerify: true"),
        with_tls("mode: SIMPLE, credentialName: 'configmap://shop/a'"),
        with_tls("mode: SIMPLE, insecureSkipVerify: false, subjectAltNames: [a]"),
        with_tls("mode: ISTIO_MUTUAL"),
        with_hash("httpCookie: {name: a, attributes: [{name: b}, {name: c}]}"),
        with_hash("maglev: {tableSize: 65537}"),
        with_hash("maglev: {tableSize: 1}"),
        with_hash("maglev: {tableSize: 2}"),
        with_hash("ringHash: {minimumRingSize: 5}"),
        with_balancer("warmup: {duration: 1s, aggression: 0.1}"),
        with_shares("from: 'a/*', to: {a/b: 1, a/c: 99}"),
        with_shares("from: a/b, to: {a: 100}", "from: 'a/*', to: {a: 100}"),
        with_shares("from: a/b/c, to: {a: 100}", "from: a/b/d, to: {a: 100}"),
        with_locality("failover: [{from: a, to: b}], failoverPriority: [example.com/rack]"),
        with_zones("failover: [{from: a, to: b}], failoverPriority: [example.com/rack]"),
    ],
)
def test_what_nearly_makes_no_sense_is_accepted_without_a_word(spec: str) -> None:
    assert warnings(KIND, spec) == {}


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ("host: a\nworkloadSelector: {}", "spec.workloadSelector", "no labels"),
        (
            with_policy("outlierDetection: {consecutiveErrors: 1}"),
            f"{POLICY}.outlierDetection.consecutiveErrors",
            "without effect",
        ),
        (with_hash("minimumRingSize: 5"), f"{BALANCER}.consistentHash.minimumRingSize", "deprecated"),
        (with_locality("failover: [{from: a, to: b}]", ""), f"{LOCALITY}.failover", "no outlierDetection"),
        (with_locality("failoverPriority: [a]", ""), f"{LOCALITY}.failoverPriority", "no outlierDetection"),
        (
            with_zones("failoverPriority: [a]", ""),
            f"{BALANCER}.zoneAwareLbSetting.failoverPriority",
            "no outlierDetection",
        ),
    ],
)
def test_what_is_hardly_meant_is_told(spec: str, field: str, says: str) -> None:
    found = warnings(KIND, spec)
    assert list(found) == [field]
    assert says in found[field]
