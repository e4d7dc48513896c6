"""What is right and what is wrong about waypoints, policies and network policies, case by case."""

from __future__ import annotations

import pytest

from agent.analysis.run import Material, analyze

SHOP = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}\n"
WEB = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: LABELS}
spec: {selector: {app: web}, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web, tier: front}}
spec: {containers: [{name: web}]}
"""
WAYPOINT = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: NAME, namespace: shop, labels: {istio.io/waypoint-for: all}}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""


def found(*texts: str, file: str = "all.yaml") -> list[str]:
    material = Material()
    material.add_text("---\n".join(texts), file)
    return [each.code for each in analyze(material)]


def web(labels: str = "{}") -> str:
    return WEB.replace("LABELS", labels)


def waypoint(name: str = "waypoint") -> str:
    return WAYPOINT.replace("NAME", name)


def policy(name: str, spec: str, namespace: str = "shop") -> str:
    head = f"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: "
    return f"{head}{namespace}}}\nspec: {{{spec}}}\n"


def network_policy(name: str, spec: str) -> str:
    head = f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\n"
    return f"{head}spec: {{{spec}}}\n"


def test_a_canary_is_a_use_of_a_waypoint_too() -> None:
    labels = "{istio.io/use-waypoint: waypoint, istio.io/use-waypoint-canary: next}"
    assert found(SHOP, web(labels), waypoint()) == ["WEFT0003"]
    assert found(SHOP, web(labels), waypoint(), waypoint("next")) == []


def test_a_pod_may_name_a_waypoint_of_its_own() -> None:
    pod = web().replace("tier: front", "istio.io/use-waypoint: waypoint")
    assert found(SHOP, pod, waypoint()) == []
    assert found(SHOP, pod, waypoint().replace("all", "service")) == ["WEFT0007"]


def test_a_waypoint_for_nothing_is_not_called_unused() -> None:
    assert found(waypoint().replace("all", "none")) == []


def test_a_waypoint_of_the_cluster_without_an_address_is_not_ready_and_one_of_a_manifest_may_be() -> None:
    texts = (SHOP, web("{istio.io/use-waypoint: waypoint}"), waypoint())
    assert found(*texts, file="") == ["WEFT0004"]
    assert found(*texts) == []
    addressed = texts[2] + "status: {addresses: [{value: 10.0.0.7}]}\n"
    assert found(*texts[:2], addressed, file="") == []


def test_a_service_that_opts_out_of_its_namespaces_waypoint_is_not_behind_it() -> None:
    labelled = SHOP.replace("ambient}", "ambient, istio.io/use-waypoint: waypoint}")
    targeted = policy("guard", "targetRefs: [{kind: Service, name: web}], rules: [{}]")
    assert found(labelled, web(), waypoint(), targeted) == []
    assert found(labelled, web("{istio.io/use-waypoint: none}"), waypoint(), targeted) == ["WEFT0011"]


@pytest.mark.parametrize(
    ("spec", "codes"),
    [
        ("ingress: []", []),  # closed altogether, as it is meant
        ("ingress: [{}]", []),
        ("ingress: [{ports: [{port: 80}]}]", ["WEFT0018"]),
        ("ingress: [{ports: [{port: 15000, endPort: 15010}]}]", []),
        ("ingress: [{ports: [{protocol: TCP}]}]", []),
        ("ingress: [{ports: [{port: 53, protocol: UDP}]}]", []),
        (
            "podSelector: {matchExpressions: [{key: other, operator: Exists}]}, ingress: [{ports: [{port: 80}]}]",
            [],
        ),
        ("policyTypes: [Egress], egress: [{to: [{podSelector: {}}], ports: [{port: 80}]}]", ["WEFT0018"]),
        ("policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 192.0.2.0/24}}], ports: [{port: 443}]}]", []),
    ],
)
def test_a_network_policy_must_leave_the_tunnel_open(spec: str, codes: list[str]) -> None:
    assert found(SHOP, web(), network_policy("some", spec)) == codes


def test_what_one_network_policy_opens_another_does_not_close() -> None:
    narrow = network_policy("narrow", "ingress: [{ports: [{port: 80}]}]")
    assert found(SHOP, web(), narrow, network_policy("mesh", "ingress: [{ports: [{port: 15008}]}]")) == []
    assert found(SHOP.replace("ambient", "none"), web(), narrow) == []


CLOSED = "action: DENY, rules: [{}]"
ALLOWED = "selector: {matchLabels: {app: web}}, rules: [{from: [{source: {namespaces: [shop]}}]}]"


@pytest.mark.parametrize(
    ("closing", "codes"),
    [
        (policy("closed", CLOSED), ["WEFT0021"]),
        (policy("closed", CLOSED, "istio-system"), ["WEFT0021"]),
        (policy("closed", f"selector: {{matchLabels: {{app: web}}}}, {CLOSED}"), ["WEFT0021"]),
        (policy("closed", f"selector: {{matchLabels: {{tier: front}}}}, {CLOSED}"), []),  # other pods may come
        (policy("closed", "action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]"), []),
        (policy("closed", CLOSED).replace("name: closed", "name: closed, annotations: {istio.io/dry-run: 'true'}"), []),
    ],
)
def test_a_policy_is_overruled_only_by_one_that_certainly_closes_all_its_pods(closing: str, codes: list[str]) -> None:
    assert found(SHOP, web(), closing, policy("guard", ALLOWED)) == codes


def test_of_two_that_close_the_same_pods_one_counts() -> None:
    assert found(SHOP, web(), policy("one", CLOSED), policy("two", CLOSED)) == ["WEFT0021"]


def test_a_policy_whose_author_prefers_no_protection_is_not_told_of_requests() -> None:
    asks = "rules: [{to: [{operation: {methods: [GET]}}]}]"
    assert found(SHOP, web(), policy("guard", asks)) == ["WEFT0009"]
    opted = policy("guard", asks).replace("name: guard", "name: guard, annotations: {weft.io/unenforceable: allow}")
    assert found(SHOP, web(), opted) == []


def test_what_a_controller_says_against_a_policy_or_a_route_is_told() -> None:
    status = "status: {conditions: [{type: ZtunnelAccepted, status: 'False', reason: Unsupported, message: no}]}\n"
    ports = "rules: [{to: [{operation: {ports: ['80']}}]}]"
    assert found(SHOP, web(), policy("guard", ports) + status) == ["IST0171"]
    route = """\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{group: '', kind: Service, name: web}], rules: [{backendRefs: [{name: web, port: 80}]}]}
status:
  parents:
  - parentRef: {group: '', kind: Service, name: web}
    controllerName: istio.io/gateway-controller
    conditions: [{type: Accepted, status: 'False', reason: NoMatchingParent, message: no such port}]
"""
    assert found(SHOP, web("{istio.io/use-waypoint: waypoint}"), waypoint(), route) == ["IST0171"]


def test_a_daemon_in_the_nodes_network_does_not_make_a_sidecar_resource_matter() -> None:
    sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: all, namespace: shop}\n"
    daemon = """\
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: meter, namespace: shop}
spec:
  template:
    metadata: {labels: {app: meter, istio.io/dataplane-mode: none}}
    spec: {hostNetwork: true, containers: [{name: meter}]}
"""
    assert found(SHOP, web(), daemon, sidecar + "spec: {egress: [{hosts: ['./*']}]}\n") == ["IST0167"]


EDGE = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: edge}
spec:
  selector: {matchLabels: {istio: edge}}
  template:
    metadata: {labels: {istio: edge}, annotations: {inject.istio.io/templates: gateway}}
    spec: {containers: [{name: istio-proxy}]}
"""


def test_a_policy_of_a_gateway_is_enforced_by_the_gateway() -> None:
    selected = policy("guard", "selector: {matchLabels: {istio: edge}}, rules: [{}]", "edge")
    assert found(EDGE, selected) == []
    assert found(EDGE.replace("templates: gateway", "templates: other").replace("-proxy", ""), selected) == ["WEFT0002"]


def test_a_namespace_of_gateways_needs_no_label() -> None:
    edge = "apiVersion: v1\nkind: Namespace\nmetadata: {name: edge}\n"
    assert found(edge, EDGE) == []
    assert found(edge, EDGE.replace("templates: gateway", "templates: other").replace("-proxy", "")) == ["IST0102"]


def test_a_policy_for_all_waypoints_names_a_class_that_the_control_plane_makes() -> None:
    target = "targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}], rules: [{}]"
    assert found(policy("all", target, "istio-system")) == []
    assert found(policy("all", target.replace("istio-waypoint", "mine"), "istio-system")) == ["WEFT0010"]


def test_tokens_read_by_pods_that_nobody_gave_are_not_called_missing() -> None:
    tokens = "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: t, namespace: edge}\n"
    rules = "spec: {selector: {matchLabels: {istio: edge}}, jwtRules: [{issuer: i, jwksUri: https://example.com/k}]}\n"
    assert found(tokens + rules) == []
    assert found(EDGE, tokens + rules) == []
    assert found(EDGE, (tokens + rules).replace("istio: edge", "istio: egde")) == ["IST0127"]
