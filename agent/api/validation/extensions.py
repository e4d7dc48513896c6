"""Checks of WasmPlugin, TrafficExtension and ProxyConfig: their models say the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from agent.api.extensions import TrafficExtension, WasmPlugin
from agent.api.networking.proxy_config import ProxyConfig
from agent.api.validation.remarks import Remark, error, said
from agent.api.validation.selectors import of_selector

_BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def applies_to(found: WasmPlugin | TrafficExtension | ProxyConfig) -> Iterator[Remark]:
    yield from of_selector(found.spec.selector)


def module(found: WasmPlugin | TrafficExtension) -> Iterator[Remark]:
    """Where a WebAssembly module comes from."""
    if isinstance(found, WasmPlugin):
        yield from _url(found.spec.url, "spec", "url")
    elif found.spec.wasm is not None:
        yield from _url(found.spec.wasm.url, "spec", "wasm", "url")


def _url(url: str, *path: str) -> Iterator[Remark]:
    if _BROKEN_ESCAPE.search(url):
        yield error(said(url, "a URL, in which two hexadecimal digits follow each %"), *path)
