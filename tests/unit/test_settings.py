"""What each process says of its variables, which is what docs/operating.md shows, is what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from agent import config
from agent.config import Variable
from agent.controller import settings as controller_settings
from agent.node import settings as node_settings
from agent.proxy import settings as proxy_settings

Parse = Callable[[Mapping[str, str]], Any]

PROCESSES: dict[str, tuple[type[Any], Parse]] = {
    "node": (node_settings.Settings, node_settings.Settings.parse),
    "proxy": (proxy_settings.Settings, lambda found: proxy_settings.Settings.parse(found, cores=2, descriptors=20_000)),
    "controller": (controller_settings.Settings, controller_settings.Settings.parse),
}


class Recording(dict[str, str]):
    """An environment that remembers what was asked for."""

    def __init__(self, content: Mapping[str, str]) -> None:
        super().__init__(content)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)


def required(settings: type[Any]) -> dict[str, str]:
    return {variable.name: "/there" for variable in config.variables(settings) if variable.is_required}


@pytest.mark.parametrize(("settings", "parse"), PROCESSES.values(), ids=PROCESSES)
def test_exactly_the_variables_that_are_described_are_read(settings: type[Any], parse: Parse) -> None:
    environment = Recording(required(settings))
    parse(environment)
    assert environment.asked == {variable.name for variable in config.variables(settings)}


@pytest.mark.parametrize(("settings", "parse"), PROCESSES.values(), ids=PROCESSES)
def test_a_default_that_is_described_is_the_one_that_holds(settings: type[Any], parse: Parse) -> None:
    defaults = {variable.name: variable.default for variable in config.variables(settings) if variable.default}
    assert parse({**required(settings), **defaults}) == parse(required(settings))


def test_a_field_without_a_variable_has_none() -> None:
    assert list(config.variables(proxy_settings.Server)) == []


def test_a_variable_without_a_value_for_when_it_is_not_set_is_required() -> None:
    assert Variable("X", "", "").is_required
    assert not Variable("X", "", "", default="1").is_required
    assert not Variable("X", "", "", unset="nothing").is_required
