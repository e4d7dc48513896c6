from typing import Any

from agent.cli.health import Answers, document
from tests.support.answers import ALLOW, IDENTITY, NOW, a_certificate, a_pod, a_proxy, a_syncz


def seen(
    *,
    pod: dict[str, Any] | None = None,
    proxy: dict[str, Any] | None = None,
    policy: dict[str, Any] | None = None,
    **other: Any,
) -> dict[str, Any]:
    """The document of a mesh of one node, where all is well but for what is given."""
    answers: dict[str, Any] = {
        "syncz": a_syncz(),
        "policies": [ALLOW | (policy or {})],
        "agents": {"node-1": [pod or a_pod()]},
        "proxies": {"node-1": proxy or a_proxy()},
        **other,
    }
    return document(Answers(("node-1",), **answers), NOW)


def problems(found: dict[str, Any]) -> list[str]:
    assert found["state"] == "problems"
    return [problem["text"] for problem in found["problems"]]


def test_a_mesh_that_is_well_says_so_in_every_part() -> None:
    found = seen()
    assert (found["state"], found["problems"], found["unreachable"]) == ("well", [], [])
    assert found["controller"] == {"up": True, "synced": True, "resources": {"workloads": 3, "policies": 1}}
    counts = {"enrolled": 1, "pending": 0, "leaving": 0, "outside": 0}
    assert found["nodes"] == [{"node": "node-1", "agent_up": True, "proxy_up": True, "pods": counts}]
    synced = {"state": "synced", "pending": 0, "rejections": 0, "last_rejection": ""}
    assert found["proxies"] == [
        {
            "node": "node-1",
            "version": "0.1.0",
            "uptime_seconds": 60.0,
            "connected": True,
            "waits_for": [],
            "pods": 1,
            "discovery": {"workloads": synced, "policies": synced},
        }
    ]
    assert found["pods"] == [{**a_pod(), "node": "node-1", "served": True}]
    assert found["certificates"] == [{**a_certificate(), "node": "node-1", "seconds_left": 3600}]
    assert found["policies"] == [{**ALLOW, "enforced": True, "missing_on": [], "differs_on": []}]


def test_an_object_that_is_refused_is_a_problem_and_its_last_good_state_stays() -> None:
    stays = "; its last good state, if it had one, stays in force"
    assert problems(seen(written=["web.yaml: broken"])) == ["web.yaml: broken" + stays]
    assert problems(seen(syncz=a_syncz(refused=["pods/web.json: odd"]))) == ["pods/web.json: odd" + stays]
    assert problems(seen(syncz=a_syncz(problems=["address claimed"]))) == ["address claimed"]


def test_a_rejected_response_is_shown_with_the_proxys_reason() -> None:
    syncz = a_syncz(synced=False, sent="2-2", nacks=1, last_nack="shop/allow: rule 0 is odd")
    found = seen(syncz=syncz)
    assert found["proxies"][0]["discovery"]["policies"]["state"] == "rejected"
    assert problems(found) == ["the node proxy of node-1 rejected policies: shop/allow: rule 0 is odd"]


def test_a_response_on_its_way_is_pending_and_no_problem() -> None:
    found = seen(syncz=a_syncz(synced=False, sent="2-2", pending=2))
    assert found["state"] == "well"
    assert found["proxies"][0]["discovery"]["policies"]["state"] == "pending"


def test_a_rejection_that_is_over_is_no_problem() -> None:
    found = seen(syncz=a_syncz(nacks=1, last_nack="was odd"))
    assert found["state"] == "well"
    assert found["proxies"][0]["discovery"]["policies"]["rejections"] == 1


def test_a_policy_that_a_proxy_lacks_or_has_otherwise_is_named_with_the_node() -> None:
    name = "AuthorizationPolicy shop/allow"
    assert problems(seen(proxy=a_proxy(policies={}))) == [f"{name} is not known to the proxies of node-1"]
    older = seen(proxy=a_proxy(policies={"shop/allow": "v1"}))
    assert problems(older) == [f"{name} is in force in another version on node-1"]
    assert seen(policy={"version": None, "resource": None})["policies"][0]["missing_on"] == []


def test_a_policy_that_is_not_enforced_as_written_says_so() -> None:
    text = "spec.rules[0]: to[0].operation.methods: only a waypoint can tell"
    assert seen(policy={"shortfalls": [text]})["policies"][0]["enforced"] is False


def test_a_proxy_that_is_cut_off_or_waits_is_a_problem() -> None:
    found = seen(proxy=a_proxy(connected=False, pending=["pod hand-over"]))
    assert problems(found) == [
        "the node proxy of node-1 is not ready: it waits for pod hand-over",
        "the node proxy of node-1 is not connected to the controller and goes on with what it has",
    ]


def test_pods_that_are_not_where_they_belong_are_problems() -> None:
    pod = "pod shop/web on node-1"
    assert problems(seen(pod=a_pod(state="pending", reason="15001 is taken"))) == [
        f"{pod} is not in the mesh yet: 15001 is taken"
    ]
    assert problems(seen(pod=a_pod(state="outside", unusable=True, reason="odd label"))) == [
        f"{pod} is left as it is: odd label"
    ]
    assert problems(seen(proxy=a_proxy(pods=[]))) == [f"{pod} is enrolled, but the node proxy does not serve it"]
    assert problems(seen(pod=a_pod(sidecar=True))) == [
        f"{pod} is enrolled and asks for a sidecar too: take one of the labels off"
    ]
    assert seen(pod=a_pod(state="outside", reason="no label"))["state"] == "well"


def test_what_somebody_may_have_meant_otherwise_is_told_and_no_problem() -> None:
    outside = a_pod(state="outside", reason="no label", injection="istio-injection=enabled", sidecar=True)
    found = seen(agents={"node-1": [outside, outside]})
    assert (found["state"], found["notes"]) == (
        "well",
        [
            "namespace shop has the label istio-injection=enabled and 2 pods: that asks for sidecars, which Weft has "
            "not; istio.io/dataplane-mode=ambient enrols them"
        ],
    )
    note = "pod shop/web has the annotation ambient.istio.io/dns-capture, which has no effect"
    assert seen(pod=a_pod(without_effect=["ambient.istio.io/dns-capture"]))["notes"] == [note]


def test_a_certificate_that_is_missing_or_cannot_be_renewed_is_a_problem() -> None:
    away = a_certificate(error="the authority is away")
    none = a_certificate(state="Initializing", not_after=None)
    found = seen(proxy=a_proxy(certificates=[away, none]))
    where = f"certificate of {IDENTITY} on node-1"
    assert problems(found) == [f"{where}: Available: the authority is away", f"{where}: Initializing"]
    assert [each["seconds_left"] for each in found["certificates"]] == [3600, None]


def test_what_cannot_be_asked_leaves_the_state_unknown_and_the_rest_told() -> None:
    found = seen(syncz=None, policies=[], away=["the controller does not answer"])
    assert (found["state"], found["unreachable"]) == ("unknown", ["the controller does not answer"])
    assert found["controller"]["up"] is False
    assert found["proxies"][0]["discovery"] == {}
    assert found["problems"] == []


def test_without_the_agent_nobody_counts_pods() -> None:
    found = seen(agents={}, away=["the node agent of node-1 does not answer"])
    assert found["nodes"][0]["agent_up"] is False
    assert found["pods"] == []
