import pytest

from agent import config
from agent.errors import ConfigError


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("1.5m", 90), ("", 10)])
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert config.duration({"X": text}, "X", "10s") == seconds


@pytest.mark.parametrize("text", ["90", "s", "-1s", "1d", "1s x"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a duration"):
        config.duration({"X": text}, "X", "10s")


def test_a_required_variable_may_not_be_empty() -> None:
    assert config.required({"X": "a"}, "X") == "a"
    for environment in ({}, {"X": ""}):
        with pytest.raises(ConfigError, match="X is not set"):
            config.required(environment, "X")


def test_whole_numbers_stay_in_their_range() -> None:
    assert config.integer({}, "X", 3, least=1, most=5) == 3
    for text in ("0", "6", "two", "1.5"):
        with pytest.raises(ConfigError, match="X="):
            config.integer({"X": text}, "X", 3, least=1, most=5)


def test_a_choice_names_what_is_accepted() -> None:
    assert config.choice({"X": "b"}, "X", "a", ("a", "b")) == "b"
    with pytest.raises(ConfigError, match="accepted are a, b"):
        config.choice({"X": "c"}, "X", "a", ("a", "b"))


@pytest.mark.parametrize(
    ("text", "address"),
    [("https://istiod:15012/", "istiod:15012"), ("10.0.0.1:1", "10.0.0.1:1"), ("[::1]:2", "[::1]:2"), ("", "d:9")],
)
def test_an_address_may_be_a_url(text: str, address: str) -> None:
    assert config.host_and_port({"X": text}, "X", "d:9") == address


@pytest.mark.parametrize("text", ["host", "host:", ":1", "host:0", "host:65536", "http://host:1", "host:1/path"])
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        config.host_and_port({"X": text}, "X", "d:9")
