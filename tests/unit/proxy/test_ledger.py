from agent.proxy.ledger import TYPES, Ledger, Node, Resource, Update, answer, subscription, update
from agent.wire import ADDRESS_TYPE, AUTHORIZATION_TYPE
from tests.support.proxy import a_response

NODE = Node("weft-proxy-1", "istio-system", "10.0.0.5", "node-1", "Kubernetes", "1.2.3")


def test_asks_for_everything_of_a_type_under_the_name_of_a_ztunnel() -> None:
    request = subscription(ADDRESS_TYPE, NODE, {"a": "1"})
    assert request.node.id == "ztunnel~10.0.0.5~weft-proxy-1.istio-system~istio-system.svc.cluster.local"
    assert dict(request.node.metadata) == {
        "NAME": "weft-proxy-1",
        "NAMESPACE": "istio-system",
        "INSTANCE_IPS": "10.0.0.5",
        "NODE_NAME": "node-1",
        "CLUSTER_ID": "Kubernetes",
        "WEFT_VERSION": "1.2.3",
    }
    assert (list(request.resource_names_subscribe), dict(request.initial_resource_versions)) == ([], {"a": "1"})


def test_policies_are_asked_for_before_the_workloads_that_name_them() -> None:
    assert TYPES == (AUTHORIZATION_TYPE, ADDRESS_TYPE)


def test_an_update_carries_the_protobuf_as_it_came() -> None:
    unknown_field = b"\xf8\x07\x01"  # would be lost or moved by encoding anew
    response = a_response(ADDRESS_TYPE, ("a", "1", unknown_field), removed=["b"], nonce="7")
    assert update(response) == Update(ADDRESS_TYPE, "7", (Resource("a", "1", unknown_field),), ("b",))


def test_a_resource_of_another_type_than_its_response_is_a_mistake() -> None:
    response = a_response(ADDRESS_TYPE, ("a", "1", b""))
    response.resources[0].resource.type_url = AUTHORIZATION_TYPE
    assert update(response) == Update(ADDRESS_TYPE, "1", mistakes=(("a", f"is of type {AUTHORIZATION_TYPE!r}"),))


def test_acknowledges_with_the_nonce() -> None:
    reply = answer(Update(ADDRESS_TYPE, "7"), [])
    assert (reply.type_url, reply.response_nonce, reply.HasField("error_detail")) == (ADDRESS_TYPE, "7", False)


def test_a_refusal_joins_the_reasons() -> None:
    reply = answer(Update(ADDRESS_TYPE, "7"), [("a", "no address"), ("b", "no uid")])
    assert (reply.response_nonce, reply.error_detail.message) == ("7", "a: no address; b: no uid")


def test_a_resource_rejected_from_the_start_is_not_claimed_after_a_reconnect() -> None:
    ledger = Ledger(keeps_values=False)
    ledger.record(Update(ADDRESS_TYPE, "1", (Resource("a", "1", b"x"), Resource("b", "1", b"y"))), {"b": "bad"})
    assert ledger.versions(ADDRESS_TYPE) == {"a": "1"}


def test_a_rejected_change_leaves_the_version_that_is_in_force() -> None:
    ledger = Ledger(keeps_values=True)
    ledger.record(Update(ADDRESS_TYPE, "1", (Resource("a", "1", b"good"),)), {})
    ledger.record(Update(ADDRESS_TYPE, "2", (Resource("a", "2", b"bad"),)), {"a": "bad"})
    assert ledger.resources(ADDRESS_TYPE) == (Resource("a", "1", b"good"),)


def test_a_removed_resource_is_forgotten() -> None:
    ledger = Ledger(keeps_values=False)
    ledger.record(Update(ADDRESS_TYPE, "1", (Resource("a", "1", b""),)), {})
    ledger.record(Update(ADDRESS_TYPE, "2", removed=("a", "never seen")), {})
    assert ledger.versions(ADDRESS_TYPE) == {}


def test_is_complete_when_every_type_has_answered_even_with_nothing() -> None:
    ledger = Ledger(keeps_values=False)
    ledger.record(Update(ADDRESS_TYPE, "1"), {})
    assert not ledger.is_complete
    ledger.record(Update(AUTHORIZATION_TYPE, "2"), {})
    assert ledger.is_complete


def test_values_are_kept_only_for_saving() -> None:
    ledger = Ledger(keeps_values=False)
    ledger.record(Update(ADDRESS_TYPE, "1", (Resource("a", "1", b"value"),)), {})
    assert ledger.resources(ADDRESS_TYPE) == (Resource("a", "1", b""),)
