"""A mesh of two nodes: frontend on node-1 and web on node-2 are enrolled, client on node-2 is not."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from agent.cli import narrative, places, reach
from agent.cli.explanation import explain
from agent.cli.verdict import Answer, Leg, conclusion
from tests.support.answers import a_certificate, a_listed_service, a_pod, a_proxy, a_workload
from tests.support.reach import FakeMesh

FRONTEND, WEB = "spiffe://cluster.local/ns/shop/sa/frontend", "spiffe://cluster.local/ns/shop/sa/web"
NODES = ("node-1", "node-2")
STRICT = "istio-system/istio_converted_static_strict"
ALLOW_POLICY = {"name": "allow", "namespace": "shop", "scope": "Namespace", "action": "Allow", "dryRun": False}
ENROL_CLIENT = "Enrol out/client: label namespace out, or the pod, istio.io/dataplane-mode=ambient."
Arrival = dict[str, Any]


def arrival(allowed: bool, reason: str, policy: str | None = None, rule: int | None = None, **more: Any) -> Arrival:
    return {"allowed": allowed, "reason": reason, "policy": policy, "rule": rule, **more}


OPEN = arrival(True, "no allow policy applies")
NONE_ALLOWED = arrival(False, "allow policies exist, but none allowed")
DENIED = arrival(False, f"explicitly denied by: {STRICT}", STRICT, 0)


def a_mesh(
    *,
    named: Arrival = OPEN,
    nameless: Arrival = OPEN,
    departure: dict[str, Any] | None = None,
    workloads: list[dict[str, Any]] | None = None,
    services: list[dict[str, Any]] | None = None,
    policies: list[dict[str, Any]] | None = None,
    certificates: list[dict[str, Any]] | None = None,
) -> FakeMesh:
    """`named`, `nameless`: what web's proxy says of a client with an identity, and of one without."""
    dump = {
        "workloads": workloads
        or [
            a_workload("shop/frontend", node="node-1", ip="10.0.1.1"),
            a_workload("shop/web", node="node-2", ip="10.0.2.1"),
            a_workload("out/client", node="node-2", ip="10.0.2.2", enrolled=False),
        ],
        "services": [a_listed_service("shop/web", "shop/web")] if services is None else services,
        "policies": policies or [],
        "pods": [{"namespace": "shop", "name": "frontend", "uid": "uid-frontend"}],
    }

    def explained(target: str) -> dict[str, Any]:
        asked = parse_qs(urlsplit(target).query)
        if "pod" in asked:
            return departure or {"route": "hbone", "identity": WEB, "reason": None}
        return named if "source" in asked else nameless

    held = [a_certificate(identity=FRONTEND), a_certificate(identity=WEB)] if certificates is None else certificates
    pages = {"/config_dump": dump, "/explain": explained, "/status": a_proxy(certificates=held)}
    rows = [a_pod(namespace="out", name="client", state="outside", reason="no label")]
    strict = {"kind": "PeerAuthentication", "namespace": "shop", "name": "strict", "resource": STRICT}
    return FakeMesh(
        NODES,
        {
            (reach.CONTROLLER, 15014): {"/debug/policies": [strict]},
            **{(reach.proxy_of(node), 15000): pages for node in NODES},
            **{(reach.agent_of(node), 15014): {"/debug/pods": rows} for node in NODES},
        },
    )


def asked(mesh: FakeMesh, source: str = "shop/frontend", target: str = "web:80") -> Answer:
    return explain(mesh, places.pod_name(source), places.target(target))


def test_between_enrolled_pods_both_proxies_are_asked_and_the_path_is_told() -> None:
    mesh = a_mesh(named=arrival(True, "explicitly allowed by: shop/allow", "shop/allow", 0))
    answer = asked(mesh)
    assert (answer.verdict, answer.reason, answer.advice) == ("allowed", "explicitly allowed by: shop/allow", [])
    assert "node proxy of node-1: /explain?pod=uid-frontend&destination=10.96.0.1%3A80" in mesh.asked
    source = "source=spiffe%3A%2F%2Fcluster.local%2Fns%2Fshop%2Fsa%2Ffrontend"
    assert f"node proxy of node-2: /explain?destination=10.0.2.1%3A8080&source_ip=10.0.1.1&{source}" in mesh.asked
    assert narrative.path(answer) == [
        "pod shop/frontend",
        "node proxy of node-1 (port 15001 in the pod)",
        "HBONE, mutual TLS, from 10.0.1.1",
        "node proxy of node-2 (port 15008 in the pod)",
        "pod shop/web, 10.0.2.1:8080",
    ]


CONSIDERED = [
    {
        "policy": "shop/deny",
        "action": "DENY",
        "dryRun": False,
        "matches": True,
        "rule": 1,
        "field": "source.principals",
        "lack": None,
    },
    {
        "policy": "shop/allow",
        "action": "ALLOW",
        "dryRun": False,
        "matches": False,
        "rule": 0,
        "field": "operation.ports",
        "lack": "operation.ports does not hold 8080",
    },
    {
        "policy": "shop/try",
        "action": "ALLOW",
        "dryRun": True,
        "matches": True,
        "rule": None,
        "field": "source.namespaces",
        "lack": None,
    },
]
IN_FULL = arrival(
    False,
    "no",
    "shop/deny",
    1,
    field="source.principals",
    considered=CONSIDERED,
    consideredMore=7,
    trial={"allowed": True, "policy": "shop/try"},
)


def test_the_document_has_every_part_under_its_stable_name() -> None:
    found = narrative.as_json(asked(a_mesh(named=IN_FULL)))
    assert found == {
        "verdict": "refused",
        "reason": "no",
        "from": {
            "pod": "shop/frontend",
            "node": "node-1",
            "addresses": ["10.0.1.1"],
            "identity": FRONTEND,
            "enrolled": True,
        },
        "to": {"asked": "web:80", "addresses": ["10.96.0.1:80"], "service": "web.shop.svc.cluster.local"},
        "departure": {"route": "hbone", "identity": WEB, "reason": None},
        "endpoints": [
            {
                "pod": "shop/web",
                "node": "node-2",
                "target": "10.0.2.1:8080",
                "by": "hbone",
                "identity": WEB,
                "enrolled": True,
                "verdict": "refused",
                "policy": "shop/deny",
                "rule": 1,
                "field": "source.principals",
                "reason": "no",
                "considered": CONSIDERED,
                "considered_more": 7,
                "trial": {"allowed": True, "policy": "shop/try"},
            }
        ],
        "endpoints_in_all": 1,
        "path": found["path"],
        "advice": [
            f"Change rule 1 of AuthorizationPolicy shop/deny so that it does not match {FRONTEND} on port 8080."
        ],
        "unreachable": [],
    }


def test_the_text_names_policy_rule_field_and_all_that_was_considered() -> None:
    text = "\n".join(narrative.lines(asked(a_mesh(named=IN_FULL))))
    assert text.startswith("REFUSED: shop/frontend to web:80\n  no\n")
    for line in (
        "refused by policy shop/deny, rule 1, source.principals",
        "- shop/allow (ALLOW), rule 0: operation.ports does not hold 8080",
        "- shop/try (ALLOW, dry run): matches by source.namespaces",
        "- and 7 more policies",
        "(if the dry-run policies counted, it would be allowed by policy shop/try)",
    ):
        assert line in text
    assert "- shop/deny" not in text


def test_where_no_allow_policy_matches_one_is_named_with_the_principal_to_add() -> None:
    mesh = a_mesh(named=NONE_ALLOWED, policies=[ALLOW_POLICY])
    principal = "cluster.local/ns/shop/sa/frontend"
    advice = f"Add a rule to AuthorizationPolicy shop/allow that allows principal {principal} to port 8080."
    assert asked(mesh).advice == [advice]


def test_a_policy_of_which_a_part_needs_a_waypoint_is_named_with_that_part() -> None:
    mesh = a_mesh(named=NONE_ALLOWED, policies=[ALLOW_POLICY])
    shortfall = "spec.rules[0]: to[0].operation.methods: only a waypoint can tell, so the rule allows nothing"
    row = {"kind": "AuthorizationPolicy", "resource": "shop/allow", "shortfalls": [shortfall]}
    other = {"kind": "AuthorizationPolicy", "resource": "shop/other", "shortfalls": ["not asked about"]}
    mesh.answers[reach.CONTROLLER, 15014]["/debug/policies"] = [row, other]
    first, second = asked(mesh).advice
    assert first == f"Mend AuthorizationPolicy shop/allow, {shortfall}."
    assert second.startswith("Add a rule to AuthorizationPolicy shop/allow ")


def test_a_pod_outside_comes_as_plain_tcp_and_is_told_to_enrol_when_strict_refuses_it() -> None:
    mesh = a_mesh(nameless=DENIED)
    answer = asked(mesh, "out/client", "web.shop:80")
    assert (answer.verdict, answer.departure) == ("refused", None)
    assert "node proxy of node-2: /explain?destination=10.0.2.1%3A8080&source_ip=10.0.2.2" in mesh.asked
    assert answer.advice == [
        ENROL_CLIENT,
        "Or set PeerAuthentication shop/strict to PERMISSIVE; "
        "then whoever has no identity may connect to shop/web too.",
    ]
    assert "mode STRICT: callers must show an identity" in "\n".join(narrative.lines(answer))


def test_advice_to_enrol_goes_on_where_an_allow_policy_would_refuse_then() -> None:
    mesh = a_mesh(nameless=DENIED, named=NONE_ALLOWED, policies=[ALLOW_POLICY])
    then = "Then add a rule to AuthorizationPolicy shop/allow that allows principal cluster.local/ns/out/sa/client"
    assert asked(mesh, "out/client", "shop/web:8080").advice == [ENROL_CLIENT, f"{then} to port 8080."]


def test_a_pod_outside_that_is_denied_whatever_it_shows_is_not_told_to_enrol() -> None:
    denied = arrival(False, "explicitly denied by: shop/deny", "shop/deny", 0)
    answer = asked(a_mesh(nameless=denied, named=denied), "out/client", "shop/web:8080")
    nobody = "a client without an identity (10.0.2.2)"
    change = f"hange rule 0 of AuthorizationPolicy shop/deny so that it does not match {nobody} on port 8080."
    assert answer.advice == [f"C{change}"]
    answer = asked(a_mesh(nameless=denied), "out/client", "shop/web:8080")
    assert answer.advice == [ENROL_CLIENT, f"Or c{change}"]


def test_a_policy_that_the_proxy_cannot_judge_by_is_looked_for_in_the_status() -> None:
    lost = arrival(False, "policy shop/lost is not known here", "shop/lost")
    advice = "See in `weft status` why the node proxy of node-2 cannot judge by policy shop/lost."
    assert asked(a_mesh(named=lost)).advice == [advice]


def test_a_pod_that_cannot_be_enrolled_is_told_why() -> None:
    mesh = a_mesh(nameless=DENIED)
    mesh.answers[reach.agent_of("node-1"), 15014]["/debug/pods"] = [
        a_pod(namespace="out", name="client", state="pending", reason="15001 is taken")
    ]
    advice = "out/client is not in the mesh for this reason: 15001 is taken."
    assert asked(mesh, "out/client", "shop/web:8080").advice[0] == advice
    hosted = a_workload("out/client", node="node-2", ip="10.0.2.2", enrolled=False, networkMode="HostNetwork")
    web = a_workload("shop/web", node="node-2", ip="10.0.2.1")
    answer = asked(a_mesh(nameless=DENIED, workloads=[hosted, web]), "out/client", "shop/web:8080")
    assert (
        answer.advice[0] == "out/client is in its host's network and cannot be enrolled: give it a network of its own."
    )


def test_endpoints_that_disagree_refuse_some_connections_and_say_how_many() -> None:
    legs = [Leg("10.0.0.1:80", "hbone", "allowed", "yes"), Leg("10.0.0.2:80", "hbone", "refused", "no")]
    assert conclusion(legs, []) == ("refused", "1 of 2 endpoints refuse: no")
    assert conclusion([*legs, Leg("10.0.0.3:80", "hbone", "unknown", "away")], []) == ("unknown", "away")


def test_while_no_proxy_answers_the_document_is_whole_all_the_same() -> None:
    mesh = a_mesh()
    for node in NODES:
        del mesh.answers[reach.proxy_of(node), 15000]
    found = narrative.as_json(asked(mesh))
    assert (found["verdict"], found["from"]["node"], found["path"], found["advice"]) == ("unknown", None, [], [])
    assert found["unreachable"] == [found["reason"]]


def test_a_destination_outside_the_mesh_is_plain_and_judged_by_nobody() -> None:
    mesh = a_mesh(departure={"route": "direct", "identity": None, "reason": None})
    answer = asked(mesh, target="192.0.2.1:443")
    assert (answer.verdict, answer.legs[0].by, answer.advice) == ("allowed", "plain", [])
    assert narrative.path(answer)[-1] == "outside the cluster, 192.0.2.1:443"
    answer = asked(mesh, target="out/client:9")
    assert answer.advice == [ENROL_CLIENT]


def test_a_port_that_the_service_has_not_is_refused_on_both_sides_of_the_mesh() -> None:
    reason = "service shop/web.shop.svc.cluster.local has no port 81"
    advice = ["Call a port that the Service has (80), or add 81 to its ports."]
    answer = asked(a_mesh(departure={"route": "refused", "reason": reason}), target="web:81")
    assert (answer.verdict, answer.reason, answer.advice) == ("refused", reason, advice)
    answer = asked(a_mesh(), "out/client", "web.shop:81")
    assert (answer.verdict, answer.reason, answer.advice) == ("refused", reason, advice)


def test_a_service_without_a_healthy_endpoint_names_the_pods_to_mend() -> None:
    sick = a_workload("shop/web", node="node-2", ip="10.0.2.1", status="Unhealthy")
    client = a_workload("out/client", node="node-2", ip="10.0.2.2", enrolled=False)
    answer = asked(a_mesh(workloads=[client, sick]), "out/client", "web.shop:80")
    assert (answer.verdict, answer.reason) == (
        "refused",
        "no healthy endpoint of service shop/web.shop.svc.cluster.local",
    )
    assert answer.advice == ["Make one of its pods ready: shop/web."]
    answer = asked(a_mesh(services=[a_listed_service("shop/web")]), "out/client", "web.shop:80")
    assert answer.advice == [
        "No pod has the labels that Service web.shop.svc.cluster.local selects: start one, or mend the selector."
    ]


def test_of_many_endpoints_some_are_asked_and_the_answer_says_of_how_many() -> None:
    pods = [a_workload(f"shop/web-{n}", node="node-2", ip=f"10.0.3.{n}") for n in range(40)]
    frontend = a_workload("shop/frontend", node="node-1", ip="10.0.1.1")
    service = a_listed_service("shop/web", *(f"shop/web-{n}" for n in range(40)))
    mesh = a_mesh(
        workloads=[frontend, *pods],
        services=[service],
        certificates=[
            a_certificate(identity=FRONTEND),
            *(a_certificate(identity=f"spiffe://cluster.local/ns/shop/sa/web-{n}") for n in range(40)),
        ],
    )
    answer = asked(mesh)
    assert (answer.verdict, len(answer.legs), answer.endpoints) == ("allowed", 16, 40)
    assert "asked for 16 of 40 endpoints" in "\n".join(narrative.lines(answer))


def test_a_headless_service_stands_for_its_pods() -> None:
    mesh = a_mesh(services=[a_listed_service("shop/web", "shop/web", vips=())])
    answer = asked(mesh, target="web:8080")
    assert (answer.verdict, [leg.target for leg in answer.legs]) == ("allowed", ["10.0.2.1:8080"])


def test_a_pod_that_calls_its_own_address_is_not_redirected() -> None:
    mesh = a_mesh()
    answer = asked(mesh, target="shop/frontend:80")
    assert (answer.verdict, answer.reason) == ("allowed", "the pod calls itself: nothing judges the connection")
    assert not [line for line in mesh.asked if "/explain" in line]


def test_while_the_clients_proxy_is_down_nothing_can_be_told_for_sure_but_the_far_end() -> None:
    mesh = a_mesh()
    del mesh.answers[reach.proxy_of("node-1"), 15000]
    answer = asked(mesh)
    assert answer.verdict == "unknown"
    assert answer.reason == (
        "the node proxy of node-1 does not answer on port 15000: Connection refused; "
        "while it is down, what enrolled pods of node-1 send is refused"
    )
    assert [(leg.verdict, leg.reason) for leg in answer.legs] == [("allowed", "no allow policy applies")]


def test_while_the_servers_proxy_is_down_the_departure_is_told() -> None:
    mesh = a_mesh()
    del mesh.answers[reach.proxy_of("node-2"), 15000]
    answer = asked(mesh)
    assert answer.verdict == "unknown" and answer.departure is not None
    assert "while it is down, what comes to enrolled pods of node-2 is refused" in answer.reason
    assert "CANNOT TELL" in next(narrative.lines(answer))


def test_the_controller_and_the_node_agents_are_asked_for_advice_only() -> None:
    mesh = a_mesh(nameless=DENIED)
    for process in (reach.CONTROLLER, *map(reach.agent_of, NODES)):
        del mesh.answers[process, 15014]
    answer = asked(mesh, "out/client", "web.shop:80")
    assert answer.verdict == "refused"
    assert answer.advice[1].startswith("Or set the PeerAuthentication that is STRICT for it to PERMISSIVE")


def test_a_pod_that_nobody_knows_and_a_name_that_means_nothing_cannot_be_told() -> None:
    answer = asked(a_mesh(), "shop/nobody")
    assert (answer.verdict, narrative.path(answer)) == ("unknown", [])
    assert answer.reason == (
        "no pod shop/nobody is known to the proxies; of its namespace they know: shop/frontend, shop/web"
    )
    answer = asked(a_mesh(), target="nothing:80")
    assert (answer.verdict, answer.reason.partition(";")[0]) == (
        "unknown",
        "no Service is called 'nothing' where shop/frontend is",
    )
    assert asked(a_mesh(), target="shop/nobody:80").verdict == "unknown"


def test_a_pod_that_discovery_does_not_tell_of_yet_is_explained_by_its_agent() -> None:
    mesh = a_mesh()
    mesh.answers[reach.agent_of("node-2"), 15014]["/debug/pods"] = [
        a_pod(name="new", state="pending", reason="it has no address yet")
    ]
    mesh.answers[reach.agent_of("node-1"), 15014] = mesh.answers[reach.agent_of("node-2"), 15014]
    reason = "pod shop/new is on node-1, but discovery does not tell of it: it has no address yet"
    assert asked(mesh, "shop/new").reason == reason


def test_a_tunnel_without_a_certificate_is_refused_and_says_whose() -> None:
    answer = asked(a_mesh(certificates=[a_certificate(identity=WEB)]))
    reason = f"the node proxy of node-1 has no certificate for {FRONTEND}"
    assert (answer.verdict, answer.reason) == ("refused", reason)
    away = a_certificate(identity=WEB, state="Unavailable", error="the authority is away")
    answer = asked(a_mesh(certificates=[a_certificate(identity=FRONTEND), away]))
    assert answer.reason == f"the node proxy of node-2 has no certificate in force for {WEB}: the authority is away"


def test_a_proxy_that_cannot_answer_the_question_leaves_it_open() -> None:
    mesh = a_mesh()
    pages = {**mesh.answers[reach.proxy_of("node-1"), 15000], "/explain": (400, "pod: discovery does not know it\n")}
    mesh.answers[reach.proxy_of("node-1"), 15000] = pages
    assert asked(mesh).reason == "the node proxy of node-1 answers /explain with 400: pod: discovery does not know it"
