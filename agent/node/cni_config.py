"""Rules: the plugin's entry in the node's CNI configuration. Pure, from text to text.

A runtime takes the first configuration file in lexical order. A `.conflist` holds a chain of
plugins, and ours is put at its end; a file of one plugin (`.conf`, `.json`) cannot, so a chain
takes its place: a `.conflist` of its name, while the file itself is kept under a name that no
runtime reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from agent.errors import InvalidObjectError

PLUGIN: Final = "weft-cni"
SAVED_SUFFIX: Final = ".weft-saved"
_CHAIN: Final = ".conflist"
_SINGLE: Final = (".conf", ".json")
_OLDEST: Final = (0, 3, 1)  # chains came with it, and the result of the plugins before

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Write:
    """Write the text to the file; `saves` is the file that it takes the place of, to be kept aside, or empty."""

    name: str
    text: str
    saves: str = ""


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring a file that was kept aside back, then remove the chain that took its place."""

    name: str
    chain: str


def entry(socket: str, exempt_namespaces: Iterable[str]) -> Json:
    """What our plugin is told; proxy/cni/src/configuration.rs reads it."""
    return {"type": PLUGIN, "socket": socket, "exemptNamespaces": sorted(exempt_namespaces)}


def candidates(names: Iterable[str], wanted: str = "") -> list[str]:
    """The configuration files among these, the one that a runtime takes first; only the wanted one if it is named."""
    found = sorted(name for name in names if PurePath(name).suffix in (_CHAIN, *_SINGLE) and not name.startswith("."))
    return [name for name in found if name in (wanted, f"{PurePath(wanted).stem}{_CHAIN}")] if wanted else found


def insertion(name: str, text: str, own: Mapping[str, Any]) -> Write | None:
    """What makes our plugin part of this file's chain; None when it is.

    InvalidObjectError, naming file and field, for a file that cannot be understood: leave it alone.
    """
    found = _object(name, text)
    if PurePath(name).suffix in _SINGLE:
        chain = _wrapped(name, found, own)
        return Write(str(PurePath(name).with_suffix(_CHAIN)), _written(chain), saves=name)
    plugins = _plugins(name, found)
    places = [place for place, plugin in enumerate(plugins) if plugin["type"] == PLUGIN]
    others = [plugin for plugin in plugins if plugin["type"] != PLUGIN]
    if not others:
        raise InvalidObjectError(f"{name}: plugins: none of them makes a network; {PLUGIN} only follows another one")
    # Where somebody has put it is fine, so that two who both want to be last do not fight.
    if len(places) == 1 and places[0] > 0 and plugins[places[0]] == own:
        return None
    place = places[0] if places and places[0] > 0 else len(others)
    return Write(name, _written({**found, "plugins": [*others[:place], dict(own), *others[place:]]}))


def removal(name: str, text: str, names: Iterable[str]) -> Write | Restore | None:
    """What takes our plugin out of a `.conflist`; None when it is not in it. `names`: all files of the folder."""
    if PurePath(name).suffix != _CHAIN:
        return None
    found = _object(name, text)
    plugins = _plugins(name, found)
    others = [plugin for plugin in plugins if plugin["type"] != PLUGIN]
    if len(others) == len(plugins):
        return None
    there = set(names)
    for suffix in _SINGLE:
        single = str(PurePath(name).with_suffix(suffix))
        if f"{single}{SAVED_SUFFIX}" in there:
            return Restore(single, name)
    return Write(name, _written({**found, "plugins": others}))


def _object(name: str, text: str) -> Json:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidObjectError(f"{name}: not JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise InvalidObjectError(f"{name}: not an object")
    version = found.get("cniVersion", "0.2.0")
    if not isinstance(version, str) or _number(version) < _OLDEST:
        raise InvalidObjectError(f"{name}: cniVersion: {version!r}; accepted is 0.3.1 or newer, which knows chains")
    return found


def _number(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


def _plugins(name: str, found: Json) -> list[Json]:
    plugins = found.get("plugins")
    if not isinstance(plugins, list) or not plugins:
        raise InvalidObjectError(f"{name}: plugins: accepted is a list of at least one")
    for place, plugin in enumerate(plugins):
        if not isinstance(plugin, dict) or not isinstance(plugin.get("type"), str):
            raise InvalidObjectError(f"{name}: plugins[{place}]: accepted is an object with a type")
    return plugins


def _wrapped(name: str, single: Json, own: Mapping[str, Any]) -> Json:
    """The chain of one plugin and ours; what is the chain's own moves up."""
    if not isinstance(single.get("type"), str):
        raise InvalidObjectError(f"{name}: type: accepted is the name of a plugin")
    if single["type"] == PLUGIN:
        raise InvalidObjectError(f"{name}: type: {PLUGIN} makes no network, it only follows another plugin")
    if not isinstance(single.get("name"), str):
        raise InvalidObjectError(f"{name}: name: accepted is the name of a network")
    plugin = {key: value for key, value in single.items() if key not in ("cniVersion", "name")}
    return {"cniVersion": single["cniVersion"], "name": single["name"], "plugins": [plugin, dict(own)]}


def _written(chain: Json) -> str:
    return json.dumps(chain, indent=2, ensure_ascii=False) + "\n"
