import pytest

from agent.controller.dashboard.readings import Counts, Flow, Reading, parse, rates, totals, verdicts
from agent.errors import InvalidObjectError
from tests.support.traffic import a_flow, exposed

TO_WEB = a_flow("frontend", "web")


def test_a_proxys_metrics_become_flows_and_verdicts() -> None:
    text = exposed({TO_WEB: Counts(5, 3, 1, 100, 200)}, {("shop/deny", "refused"): 4})
    found = parse(text, 7.0)
    assert found == Reading(7.0, {TO_WEB: Counts(5, 3, 1, 100, 200)}, {("shop/deny", "refused"): 4})


def test_rows_that_differ_only_in_what_is_not_shown_are_added_up() -> None:
    one = exposed({TO_WEB: Counts(1, 0, 0, 10, 20)}, version="v1")
    two = exposed({TO_WEB: Counts(2, 0, 0, 30, 40)}, version="v2")
    assert parse(one + two, 0.0).flows == {TO_WEB: Counts(3, 0, 0, 40, 60)}


def test_a_label_keeps_whatever_a_name_holds() -> None:
    odd = a_flow('a"b\\c', "<img>")
    assert parse(exposed({odd: Counts(opened=1)}), 0.0).flows == {odd: Counts(opened=1)}


@pytest.mark.parametrize(
    "text", ["istio_tcp_sent_bytes_total{a=", "istio_tcp_sent_bytes_total{} x", "istio_tcp_x{a} 1"]
)
def test_what_is_no_metric_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InvalidObjectError, match="not metrics"):
        parse(text, 0.0)


def test_other_metrics_are_passed_over_unread() -> None:
    assert parse("process_open_fds 7\n# HELP x y\nnonsense{{{\n", 1.0) == Reading(1.0)


def test_rates_are_the_growth_of_each_proxy_over_its_own_time() -> None:
    before = {"a": Reading(10.0, {TO_WEB: Counts(opened=4)}), "b": Reading(10.0, {TO_WEB: Counts(opened=100)})}
    now = {"a": Reading(12.0, {TO_WEB: Counts(opened=10)}), "b": Reading(14.0, {TO_WEB: Counts(opened=104)})}
    assert rates(before, now) == {TO_WEB: Counts(opened=4.0)}


def test_a_counter_that_begins_anew_counts_from_nothing() -> None:
    before = {"a": Reading(0.0, {TO_WEB: Counts(opened=1000, sent=5)})}
    now = {"a": Reading(2.0, {TO_WEB: Counts(opened=6, sent=9)})}
    assert rates(before, now) == {TO_WEB: Counts(opened=3.0, sent=2.0)}


def test_a_proxy_that_was_read_once_has_no_rates_yet() -> None:
    now = {"a": Reading(2.0, {TO_WEB: Counts(opened=6)})}
    assert rates({}, now) == {} == rates(now, now)


def test_proxies_are_added_up() -> None:
    readings = [
        Reading(0.0, {TO_WEB: Counts(1, 1, 0, 2, 3)}, {("p", "refused"): 2, ("p", "allowed"): 1}),
        Reading(0.0, {TO_WEB: Counts(4, 1, 0, 2, 3)}, {("p", "refused"): 5}),
    ]
    assert totals(readings) == {TO_WEB: Counts(5, 2, 0, 4, 6)}
    assert verdicts(readings) == {"p": {"refused": 7, "allowed": 1}}


def test_a_flow_without_a_label_is_unknown_there() -> None:
    (flow,) = parse('istio_tcp_sent_bytes_total{reporter="source"} 1\n', 0.0).flows
    assert flow == Flow("source", *["unknown"] * 10)
