from agent.controller.dashboard.readings import Counts
from agent.controller.dashboard.traffic import OUTSIDE, Edge, Failures, Party, edges
from tests.support.traffic import a_flow

FRONTEND, WEB = Party("workload", "shop", "frontend"), Party("workload", "shop", "web")


def test_a_connection_that_two_proxies_count_is_one_edge() -> None:
    source = a_flow("frontend", "web", service="web")
    destination = source._replace(reporter="destination")
    counts, rate = Counts(5, 4, 0, 10, 20), Counts(1, 1, 0, 2, 4)
    (found,) = edges({source: counts, destination: counts}, {source: rate, destination: rate})
    assert found == Edge(
        FRONTEND,
        WEB,
        total=counts,
        rate=rate,
        opened_by_security={"mutual_tls": 5, "plain": 0},
        services=("shop/web",),
        source_identities=("spiffe://cluster.local/ns/shop/sa/frontend",),
        destination_identities=("spiffe://cluster.local/ns/shop/sa/web",),
    )
    assert found.security == "mutual_tls"


def test_of_two_proxies_the_one_that_saw_more_is_believed() -> None:
    source = a_flow("frontend", "web")
    destination = source._replace(reporter="destination")
    for lesser, greater in ((source, destination), (destination, source)):
        (found,) = edges({lesser: Counts(opened=2), greater: Counts(opened=9)}, {})
        assert found.total == Counts(opened=9)


def test_a_refusal_has_the_reason_that_the_servers_proxy_gives() -> None:
    source = a_flow("frontend", "web")
    destination = source._replace(reporter="destination")
    totals = {
        source: Counts(opened=3),
        source._replace(flag="CONNECT"): Counts(closed=3, failed=3),
        destination: Counts(opened=3),
        destination._replace(flag="DENY"): Counts(closed=3, failed=3),
    }
    rates = {destination._replace(flag="DENY"): Counts(failed=0.5)}
    (found,) = edges(totals, rates)
    assert found.failures == (Failures("DENY", 3, 0.5),)
    assert (found.total.failed, found.rate.failed) == (3, 0.5)


def test_mutual_tls_plain_and_both_are_told_apart() -> None:
    tls, plain = a_flow("frontend", "web"), a_flow("frontend", "web", security="unknown")
    securities = [
        edges(totals, {})[0].security
        for totals in (
            {tls: Counts(opened=1)},
            {plain: Counts(opened=1)},
            {tls: Counts(opened=1), plain: Counts(opened=1)},
            {tls: Counts(failed=1)},
        )
    ]
    assert securities == ["mutual_tls", "plain", "mixed", "none"]


def test_what_is_not_known_is_a_service_or_outside() -> None:
    totals = {
        a_flow("frontend", "unknown", service="web"): Counts(failed=1),
        a_flow("frontend", "unknown"): Counts(failed=1),
        a_flow("unknown", "web", reporter="destination"): Counts(opened=1),
    }
    ends = {(edge.source, edge.destination) for edge in edges(totals, {})}
    assert ends == {(FRONTEND, Party("service", "shop", "web")), (FRONTEND, OUTSIDE), (OUTSIDE, WEB)}


def test_a_row_that_never_counted_anything_is_no_edge() -> None:
    assert edges({a_flow("frontend", "web"): Counts()}, {}) == []
