"""`weft describe` on manifests: what applies to a pod or a Service, and why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.analysis.run import Material
from agent.cli import portrait
from agent.cli.description import Description, Objects
from agent.cli.places import PodName
from agent.errors import NotFoundError

ROOT = Path(__file__).parents[3]
WEB = PodName("shop", "web")

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio.io/dataplane-mode: ambient}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: backend, containers: [{name: web, image: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
"""
WAYPOINT = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
"""
USE = "{istio.io/dataplane-mode: ambient, istio.io/use-waypoint: waypoint}"


def a_policy(name: str, spec: str, namespace: str = "shop", **annotations: str) -> str:
    metadata = json.dumps({"name": name, "namespace": namespace, "annotations": annotations})
    return f"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {metadata}\nspec: {spec}\n"


def a_peer(mode: str, name: str = "peers", namespace: str = "shop", more: str = "") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{mtls: {{mode: {mode}}}{more}}}\n"
    )


def a_route(name: str, spec: str) -> str:
    metadata = f"{{name: {name}, namespace: shop}}"
    return f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {metadata}\nspec: {spec}\n"


def objects(*texts: str) -> Objects:
    material = Material()
    for number, text in enumerate(texts):
        material.add_text(text, f"{number}.yaml")
    return Objects(material)


def of_pod(*texts: str) -> dict[str, Any]:
    return portrait.as_json(objects(*texts).pod(WEB))


def said(found: Description) -> str:
    return "\n".join(portrait.lines(found))


def test_a_pod_of_a_deployment_is_described_with_identity_and_services() -> None:
    found = of_pod(SHOP)
    assert found["object"] == "Deployment shop/web"
    assert found["pods"] == [
        {
            "namespace": "shop",
            "name": "web",
            "node": None,
            "addresses": [],
            "identity": "spiffe://cluster.local/ns/shop/sa/backend",
            "state": "enrolled",
            "reason": "by the label istio.io/dataplane-mode=ambient of namespace shop",
            "strict": False,
            "strict_by": None,
            "ports": {},
        }
    ]
    assert found["services"] == [
        {
            "namespace": "shop",
            "name": "web",
            "host": "web.shop.svc.cluster.local",
            "addresses": [],
            "ports": ["80/http"],
            "waypoint": None,
            "routes": [],
        }
    ]
    assert (found["waypoint"], found["policies"], found["problems"]) == (None, [], [])


@pytest.mark.parametrize(
    ("pod", "state", "reason"),
    [
        (
            "metadata: {labels: {istio.io/dataplane-mode: none}}",
            "outside",
            "its label says istio.io/dataplane-mode=none",
        ),
        ("spec: {hostNetwork: true}", "outside", "it is in its host's network, which never belongs to the mesh"),
        ("status: {phase: Succeeded}", "outside", "it has ended"),
        ("metadata: {uid: a}", "pending", "by the label istio.io/dataplane-mode=ambient of namespace shop"),
        (
            "metadata: {uid: a, annotations: {ambient.istio.io/redirection: enabled}}",
            "enrolled",
            "by the label istio.io/dataplane-mode=ambient of namespace shop",
        ),
    ],
)
def test_why_a_pod_is_in_the_mesh_or_not(pod: str, state: str, reason: str) -> None:
    written = {"metadata": {}, "spec": {}, **yaml.safe_load(pod)}
    written["metadata"] |= {"name": "web", "namespace": "shop"}
    written["spec"] |= {"nodeName": "node-1", "containers": [{"name": "web", "image": "web"}]}
    found = of_pod(SHOP, json.dumps({"apiVersion": "v1", "kind": "Pod", **written}))
    assert found["object"] == "Pod shop/web"
    assert (found["pods"][0]["state"], found["pods"][0]["reason"]) == (state, reason)


def test_policies_come_in_the_order_in_which_they_decide_each_with_what_it_falls_short_of() -> None:
    found = of_pod(
        SHOP,
        a_policy("allow", '{rules: [{to: [{operation: {methods: ["GET"]}}]}]}'),
        a_policy(
            "deny",
            "{action: DENY, selector: {matchLabels: {app: web}}, rules: [{from: [{source: {namespaces: [bank]}}]}]}",
        ),
        a_policy("everywhere", "{rules: [{}]}", namespace="istio-system"),
        a_policy("other", "{selector: {matchLabels: {app: other}}, rules: [{}]}"),
        a_policy("elsewhere", "{rules: [{}]}", namespace="bank"),
        a_policy("trial", "{action: DENY, rules: [{}]}", **{"istio.io/dry-run": "true"}),
    )
    assert [(each["name"], each["action"], each["scope"], each["enforced"]) for each in found["policies"]] == [
        ("shop/deny", "DENY", "workloads", True),
        ("shop/trial", "DENY", "namespace", False),
        ("istio-system/everywhere", "ALLOW", "mesh", True),
        ("shop/allow", "ALLOW", "namespace", False),
    ]
    assert found["policies"][3]["shortfalls"] == [
        "spec.rules[0]: to[0].operation.methods: only a waypoint can tell, so the rule allows nothing"
    ]


def test_policies_of_a_pod_outside_the_mesh_are_said_to_be_enforced_by_nobody() -> None:
    found = objects(SHOP.replace("ambient", "none"), a_policy("deny", "{action: DENY, rules: [{}]}")).pod(WEB)
    assert [each["enforced"] for each in portrait.as_json(found)["policies"]] == [False]
    assert "none of them enforced" in said(found)
    assert "anybody, in the clear" in said(found)


@pytest.mark.parametrize(
    ("peers", "strict", "by", "ports"),
    [
        ([a_peer("STRICT")], True, "PeerAuthentication shop/peers", {}),
        ([a_peer("STRICT", namespace="istio-system")], True, "PeerAuthentication istio-system/peers", {}),
        (
            [a_peer("STRICT", namespace="istio-system"), a_peer("PERMISSIVE")],
            False,
            "PeerAuthentication shop/peers",
            {},
        ),
        (
            [a_peer("STRICT"), a_peer("UNSET", "own", more=", selector: {matchLabels: {app: web}}")],
            True,
            "PeerAuthentication shop/peers",
            {},
        ),
        (
            [
                a_peer(
                    "STRICT",
                    "own",
                    more=", selector: {matchLabels: {app: web}}, portLevelMtls: {80: {mode: PERMISSIVE}}",
                )
            ],
            True,
            "PeerAuthentication shop/own",
            {"80": "PERMISSIVE"},
        ),
        ([a_peer("STRICT", namespace="bank")], False, None, {}),
    ],
)
def test_who_may_call_is_what_proxies_are_told(
    peers: list[str], strict: bool, by: str | None, ports: dict[str, str]
) -> None:
    known = objects(SHOP, *peers)
    found = portrait.as_json(known.pod(WEB))["pods"][0]
    assert (found["strict"], found["strict_by"], found["ports"]) == (strict, by, ports)
    pod = known.pod(WEB).pods[0].pod
    assert bool(known.state.listed_policies(pod)) == (strict or bool(ports))


def test_a_service_without_a_waypoint_has_its_routes_in_vain() -> None:
    route = a_route("web", "{hosts: [web], http: [{route: [{destination: {host: web}}]}]}")
    [found] = objects(SHOP, route).service(WEB).services[0].routes
    assert str(found.key) == "VirtualService shop/web"
    assert found.says == (
        "routes calls to it within the mesh, to web.shop.svc.cluster.local; "
        "in vain, for only a waypoint carries it out and the service has none"
    )


def test_with_a_waypoint_routes_and_its_policies_are_there() -> None:
    route = a_route("web", "{hosts: [web], http: [{route: [{destination: {host: web}}]}]}")
    policy = a_policy(
        "at-waypoint", "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}], rules: [{}]}"
    )
    shop = SHOP.replace("{istio.io/dataplane-mode: ambient}", USE)
    found = portrait.as_json(objects(shop, WAYPOINT, route, policy).service(WEB))
    assert found["services"][0]["waypoint"] == {"name": "shop/waypoint", "named_by": "Namespace shop", "trouble": None}
    assert "in vain" not in found["services"][0]["routes"][0]["text"]
    assert [(each["name"], each["scope"]) for each in found["policies"]] == [("shop/at-waypoint", "waypoint")]


@pytest.mark.parametrize(
    ("waypoint", "trouble"),
    [
        ("", "there is no such Gateway"),
        (WAYPOINT.replace("istio-waypoint", "istio"), "class istio is not a waypoint's"),
        (
            WAYPOINT.replace("namespace: shop}", "namespace: shop, labels: {istio.io/waypoint-for: workload}}"),
            "its label istio.io/waypoint-for says that it is not for services",
        ),
    ],
)
def test_a_waypoint_that_carries_nothing_is_said_to(waypoint: str, trouble: str) -> None:
    shop = SHOP.replace("{istio.io/dataplane-mode: ambient}", USE)
    [service] = objects(shop, waypoint).service(WEB).services
    assert service.waypoint is not None
    assert service.waypoint.trouble == trouble


def test_routes_of_others_that_lead_here_are_named_and_those_that_do_not_are_not() -> None:
    found = objects(
        SHOP,
        a_route(
            "front", "{hosts: [shop.example.com], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}"
        ),
        a_route("other", "{hosts: [other], http: [{route: [{destination: {host: other}}]}]}"),
    ).service(WEB)
    assert [(str(each.key), each.says) for each in found.services[0].routes] == [
        ("VirtualService shop/front", "leads here from gateway edge, for shop.example.com")
    ]


def test_problems_are_those_of_what_applies_and_of_policies_that_cannot_be_read() -> None:
    found = of_pod(SHOP, a_policy("broken", "{action: DENIE}"), a_policy("far", "{action: DENIE}", namespace="bank"))
    assert [(each["code"], each["object"]) for each in found["problems"]] == [
        ("IST0106", "AuthorizationPolicy shop/broken")
    ]
    assert found["problems"][0]["reference"] == "1.yaml:4"
    assert found["unusable_policies"] == ["AuthorizationPolicy shop/broken"]


def test_a_policy_that_cannot_be_used_is_said_to_close_what_it_is_for() -> None:
    text = said(objects(SHOP, a_policy("broken", "{action: DENIE}")).pod(WEB))
    instead = "unless a good version is in force, all that it is for is denied"
    assert f"  AuthorizationPolicy shop/broken cannot be used: {instead}" in text.splitlines()


def test_text_says_in_a_few_lines_what_json_says() -> None:
    text = said(objects(SHOP, a_policy("deny", "{action: DENY, rules: [{}]}"), a_peer("STRICT")).pod(WEB))
    assert text.splitlines() == [
        "Deployment shop/web",
        "  enrolled  yes, by the label istio.io/dataplane-mode=ambient of namespace shop",
        "  identity  spiffe://cluster.local/ns/shop/sa/backend",
        "  callers   with an identity of the mesh only, by PeerAuthentication shop/peers",
        "  services  web.shop.svc.cluster.local, port 80/http",
        "  waypoint  none",
        "Policies, in the order in which they decide:",
        "  DENY   shop/deny (namespace): enforced as written",
        "  what no policy denies is let in",
    ]


def test_a_service_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(NotFoundError, match="no usable Service shop/nobody; namespace shop has: web"):
        objects(SHOP).service(PodName("shop", "nobody"))


def test_a_pod_that_cannot_be_used_is_said_with_the_reason() -> None:
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: alone, namespace: shop}, spec: {containers: none}}"
    with pytest.raises(NotFoundError, match=r"no usable pod shop/alone; .*spec\.containers"):
        objects(SHOP, pod).pod(PodName("shop", "alone"))


def described(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent.cli.main", "describe", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)


def test_the_command_describes_the_example_shop() -> None:
    done = described(
        "-f", "examples/shop", "-f", "examples/policies", "-f", "examples/routes", "-o", "json", "svc/shop/web"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["name"] for each in found["policies"]] == ["shop/allow-frontend"]
    assert [each["object"] for each in found["services"][0]["routes"]] == [
        "VirtualService shop/web",
        "HTTPRoute shop/catalogue",
        "DestinationRule shop/web",
    ]


@pytest.mark.parametrize(
    ("target", "status", "says"),
    [
        ("shop/nobody", 1, "there is no usable pod shop/nobody; namespace shop has: frontend, greeter, redis, web"),
        ("gateway/shop/web", 64, "accepted are NAMESPACE/POD and svc/NAMESPACE/NAME"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(target: str, status: int, says: str) -> None:
    done = described("-f", "examples/shop", target)
    assert done.returncode == status
    assert says in done.stderr
