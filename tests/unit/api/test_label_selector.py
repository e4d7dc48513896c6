import pytest
from pydantic import ValidationError

from agent.api.label_selector import LabelSelector


def selector(*expressions: tuple[str, str, list[str]], **labels: str) -> LabelSelector:
    given = [{"key": key, "operator": operator, "values": values} for key, operator, values in expressions]
    return LabelSelector.model_validate({"matchLabels": labels, "matchExpressions": given})


@pytest.mark.parametrize(
    ("found", "labels", "matches"),
    [
        (selector(), {}, True),
        (selector(a="1"), {"a": "1", "b": "2"}, True),
        (selector(a="1"), {"a": "2"}, False),
        (selector(a="1", b="2"), {"a": "1"}, False),
        (selector(("a", "In", ["1", "2"])), {"a": "2"}, True),
        (selector(("a", "In", ["1"])), {}, False),
        (selector(("a", "NotIn", ["1"])), {"a": "1"}, False),
        (selector(("a", "NotIn", ["1"])), {}, True),
        (selector(("a", "Exists", [])), {"a": ""}, True),
        (selector(("a", "Exists", [])), {}, False),
        (selector(("a", "DoesNotExist", [])), {"a": ""}, False),
        (selector(("a", "DoesNotExist", [])), {"b": ""}, True),
        (selector(("a", "Exists", []), b="1"), {"a": "", "b": "2"}, False),
    ],
)
def test_all_of_a_selector_must_hold(found: LabelSelector, labels: dict[str, str], matches: bool) -> None:
    assert found.matches(labels) is matches


@pytest.mark.parametrize(
    "expression",
    [("a", "In", []), ("a", "NotIn", []), ("a", "Exists", ["1"]), ("a", "DoesNotExist", ["1"]), ("a", "Gt", ["1"])],
)
def test_an_expression_that_can_mean_nothing_is_refused(expression: tuple[str, str, list[str]]) -> None:
    with pytest.raises(ValidationError, match=r"accepted|should be"):
        selector(expression)
