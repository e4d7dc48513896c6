import pytest

from agent.cli.dashboard import has_display


@pytest.mark.parametrize(
    ("environment", "is_seen"),
    [({}, False), ({"DISPLAY": ""}, False), ({"DISPLAY": ":0"}, True), ({"WAYLAND_DISPLAY": "wayland-0"}, True)],
)
def test_a_browser_is_opened_only_where_it_is_seen(environment: dict[str, str], is_seen: bool) -> None:
    assert has_display(environment) is is_seen
