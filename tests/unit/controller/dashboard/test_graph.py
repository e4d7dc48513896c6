from typing import Any

from agent import kube
from agent.controller.cluster import ClusterState
from agent.controller.dashboard import details, graph
from agent.controller.dashboard.readings import Counts
from agent.controller.dashboard.traffic import Edge, Party
from tests.support.objects import a_peer, a_pod, a_policy, a_service

ENROLLED = {"ambient.istio.io/redirection": "enabled"}
FRONTEND, WEB = Party("workload", "shop", "frontend"), Party("workload", "shop", "web-1")


def a_state(*objects: dict[str, Any]) -> ClusterState:
    kinds = {kind.name: kind for kind in (kube.POD, kube.SERVICE, kube.AUTHORIZATION_POLICY, kube.PEER_AUTHENTICATION)}
    state = ClusterState("state")
    for each in objects:
        state.apply(kube.Change(kube.ChangeType.ADDED, kinds[each["kind"]], each))
    return state


def known(state: ClusterState) -> dict[Party, Any]:
    return graph.workloads(candidate.pod for candidate in state.candidates.values())


def test_workloads_of_the_mesh_are_shown_and_others_only_when_they_talk_to_it() -> None:
    state = a_state(a_pod(annotations=ENROLLED), a_pod("frontend"), a_pod("stranger"))
    assert graph.assemble(known(state), []).parties == (WEB,)
    edge = Edge(FRONTEND, WEB, Counts(opened=1), Counts())
    assert graph.assemble(known(state), [edge]).parties == (FRONTEND, WEB)


def test_pods_of_one_workload_are_one_node_that_counts_them() -> None:
    owner = ("StatefulSet", "web")
    pods = [a_pod(f"web-{n}", ip=f"10.0.0.{n}", owner=owner, annotations=ENROLLED if n else {}) for n in range(3)]
    state = a_state(*pods, a_pod("web-9", owner=owner, phase="Succeeded"))
    picture: Any = graph.as_json(graph.assemble(known(state), []), known(state))
    (node,) = picture["nodes"]
    assert (node["id"], node["pods"], node["enrolled"]) == ("workload:shop/web", 3, 2)


def test_the_quietest_edges_are_left_out_when_there_are_too_many() -> None:
    made = [
        Edge(FRONTEND, Party("workload", "shop", f"w{number:04}"), Counts(opened=1), Counts(opened=number))
        for number in range(graph.MOST_EDGES + 7)
    ]
    found = graph.assemble({}, made)
    assert found.left_out == 7
    assert [edge.rate.opened for edge in found.edges] == list(range(7, graph.MOST_EDGES + 7))


def test_an_edge_is_active_while_it_moves_or_is_open() -> None:
    cases = {
        "moves": Edge(FRONTEND, WEB, Counts(opened=1, closed=1), Counts(sent=1)),
        "open": Edge(FRONTEND, WEB, Counts(opened=2, closed=1), Counts()),
        "idle": Edge(FRONTEND, WEB, Counts(opened=2, closed=2), Counts()),
    }
    pictures: dict[str, Any] = {name: graph.as_json(graph.assemble({}, [edge]), {}) for name, edge in cases.items()}
    active = {name: picture["edges"][0]["active"] for name, picture in pictures.items()}
    assert active == {"moves": True, "open": True, "idle": False}


def test_a_workload_has_its_identity_services_and_all_policies_that_apply() -> None:
    state = a_state(
        a_pod(annotations=ENROLLED),
        a_service(),
        a_policy("selected", selector={"matchLabels": {"app": "web"}}, rules=[{}]),
        a_policy("other", selector={"matchLabels": {"app": "other"}}, rules=[{}]),
        a_policy("wide", rules=[{}]),
        a_policy("mesh", "istio-system", rules=[{}]),
        a_policy("elsewhere", "else", rules=[{}]),
        a_peer(mode="STRICT"),
    )
    found: Any = details.workload(state, known(state)[WEB], "cluster.local")
    assert found["services"] == ["shop/web"]
    assert found["policies"] == [
        "AuthorizationPolicy istio-system/mesh",
        "AuthorizationPolicy shop/selected",
        "AuthorizationPolicy shop/wide",
        "PeerAuthentication shop/default",
    ]
    assert found["pods"] == [
        {
            "name": "web-1",
            "namespace": "shop",
            "node": "node-1",
            "addresses": ["10.0.0.7"],
            "identity": "spiffe://cluster.local/ns/shop/sa/web",
            "is_ready": True,
            "is_enrolled": True,
        }
    ]


def test_a_policy_is_shown_as_it_is_written_with_what_it_decided() -> None:
    mark = "<script>alert(1)</script>"
    rules = [{"to": [{"operation": {"paths": [mark]}}]}]
    state = a_state(a_policy("deny", action="DENY", rules=rules))
    (row,) = details.policy_list(state, lambda key: ("a shortfall",), {}, {"shop/deny": {"refused": 3.0}})
    assert row["spec"] == f"action: DENY\nrules:\n- to:\n  - operation:\n      paths:\n      - {mark}\n"
    assert (row["id"], row["shortfalls"], row["verdicts"]) == (
        "AuthorizationPolicy shop/deny",
        ["a shortfall"],
        {"refused": 3.0},
    )
