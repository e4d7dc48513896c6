"""Checks of WasmPlugin, TrafficExtension and ProxyConfig: their models say the rest."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.extensions import TrafficExtension, WasmPlugin
from agent.api.networking.proxy_config import ProxyConfig
from agent.api.validation.remarks import Remark
from agent.api.validation.selectors import of_selector


def applies_to(found: WasmPlugin | TrafficExtension | ProxyConfig) -> Iterator[Remark]:
    yield from of_selector(found.spec.selector)
