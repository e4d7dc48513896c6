import pytest

from agent.errors import ConfigError
from agent.node.enablement import enablements

AMBIENT = {"istio.io/dataplane-mode": "ambient"}
AS_ISTIO = """\
- podSelector:
    matchLabels: {istio.io/dataplane-mode: ambient}
- podSelector:
    matchExpressions: [{key: istio.io/dataplane-mode, operator: NotIn, values: [none]}]
  namespaceSelector:
    matchLabels: {istio.io/dataplane-mode: ambient}
"""


def test_istios_own_selectors_enrol_whom_the_label_enrols() -> None:
    found = enablements(AS_ISTIO)

    def is_enabled(pod: dict[str, str], namespace: dict[str, str]) -> bool:
        return any(each.matches(pod, namespace) for each in found)

    assert is_enabled(AMBIENT, {}) and is_enabled({}, AMBIENT)
    assert not is_enabled({}, {})
    assert not is_enabled({"istio.io/dataplane-mode": "none"}, AMBIENT)


def test_nothing_is_no_selector() -> None:
    assert enablements("") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "AMBIENT_ENABLEMENT_SELECTOR: line 2: "),
        ("matchLabels: {}", "accepted is a list of"),
        ("[]", "accepted is a list of"),
        ("- {podSelektor: {}}", r"AMBIENT_ENABLEMENT_SELECTOR: \[0\]: podSelektor: "),
        (
            "- {}\n- {podSelector: {matchLabels: {a: 5}}}",
            r"AMBIENT_ENABLEMENT_SELECTOR: \[1\]: podSelector.matchLabels",
        ),
    ],
)
def test_what_is_no_list_of_selectors_is_refused_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        enablements(text)
