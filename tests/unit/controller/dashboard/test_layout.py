from hypothesis import given
from hypothesis import strategies as st

from agent.controller.dashboard.layout import Layout, arrange

NAMES = st.sampled_from("abcdefgh")
EDGES = st.frozensets(st.tuples(NAMES, NAMES), max_size=30)


def test_callers_stand_left_of_whom_they_call() -> None:
    found = arrange("abc", [("a", "b"), ("b", "c")])
    assert found == Layout({"a": (0, 0), "b": (1, 0), "c": (2, 0)})


def test_an_edge_goes_round_what_stands_in_its_way() -> None:
    found = arrange("abc", [("a", "b"), ("b", "c"), ("a", "c")])
    (via,) = found.routes["a", "c"]
    assert via[0] == 1 and via != found.nodes["b"]
    assert found.routes["c", "a"] == (via,)


def test_two_that_call_one_another_stand_side_by_side() -> None:
    found = arrange("ab", [("a", "b"), ("b", "a")])
    assert found.nodes == {"a": (0, 0), "b": (1, 0)}


def test_an_answer_is_turned_round_and_not_the_call() -> None:
    found = arrange("abc", [("c", "b"), ("b", "a"), ("a", "b")])
    assert [found.nodes[name][0] for name in "cba"] == [0, 1, 2]


def test_columns_are_ordered_so_that_edges_do_not_cross() -> None:
    found = arrange("abyz", [("a", "z"), ("b", "y")])
    rows = {name: found.nodes[name][1] for name in "abyz"}
    assert (rows["a"] < rows["b"]) == (rows["z"] < rows["y"])


def test_nodes_without_edges_stand_below() -> None:
    found = arrange("abcd", [("a", "b")])
    assert {found.nodes["c"][1], found.nodes["d"][1]} == {1.5}


@given(EDGES)
def test_every_node_has_a_place_of_its_own_and_the_picture_is_the_same_each_time(
    edges: frozenset[tuple[str, str]],
) -> None:
    nodes = {*"abcdefgh"}
    found = arrange(nodes, edges)
    assert found.nodes.keys() == nodes
    assert len(set(found.nodes.values())) == len(nodes)
    assert not set(found.nodes.values()) & {point for route in found.routes.values() for point in route}
    assert arrange(sorted(nodes, reverse=True), sorted(edges, reverse=True)) == found
