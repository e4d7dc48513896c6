"""Every object that the repository holds: its examples, the cases of its tests, and variations of them."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, Final

import yaml

from agent import manifests
from agent.documents import UnreadableError
from tests.support import gateway_objects, istio_objects
from tests.support.istio_faults import BAD
from tests.support.random_objects import INTEGERS, TEXTS, WRONG

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("examples", "tests/unit/analysis/cases")
TABLES: Final = "tests/unit/api"

Json = dict[str, Any]


def written() -> Iterator[tuple[str, Json]]:
    """The objects of manifests, each with its place. A file that is no YAML has none."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.yaml")):
            place = str(path.relative_to(ROOT))
            try:
                found = manifests.written(path.read_text(), place)
            except UnreadableError:
                continue
            yield from ((f"{place}:{one.lines.line}", one.value) for one in found if isinstance(one.value, dict))


def tabulated() -> Iterator[tuple[str, Json]]:
    """The objects of the tables of unit tests: whole ones, and specs of the kind that their module is about."""
    for path in sorted((ROOT / TABLES).rglob("test_*.py")):
        module = _loaded(path)
        for name, function in vars(module).items():
            for mark in getattr(function, "pytestmark", ()):
                if name.startswith("test_") and mark.name == "parametrize":
                    place = f"{path.relative_to(ROOT)}::{name}"
                    yield from ((place, found) for found in _of_table(module, *mark.args))
    yield from (("tests/support/istio_faults.py", istio_objects.an_object(kind, spec)) for kind, spec, *_ in BAD)


def good() -> list[Json]:
    """Valid objects, one at least of each kind that people write."""
    istio = [istio_objects.an_object(kind, spec) for kind, spec in istio_objects.GOOD.items()]
    return [
        *istio,
        gateway_objects.a_gateway(),
        gateway_objects.a_path("/"),
        gateway_objects.a_grpc_route({"matches": [{"method": {"service": "shop.Cart"}}]}),
        *(gateway_objects.a_stream_route(kind) for kind in ("TCPRoute", "TLSRoute")),
        gateway_objects.a_tls_policy(),
    ]


def varied(found: Json, random: Random) -> Json:
    """The object with one thing of its spec changed, taken out, doubled or emptied."""
    changed = copy.deepcopy(found)
    holder, key = random.choice(list(_places(changed["spec"])))
    before = holder[key]
    match random.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(before, list):
            holder[key] = [*before, *before]
        case 2 if isinstance(before, str | dict | list):
            holder[key] = type(before)()
        case _ if isinstance(before, str):
            holder[key] = random.choice(TEXTS)
        case _ if isinstance(before, int | float):
            holder[key] = random.choice(INTEGERS)
        case _:
            holder[key] = random.choice(WRONG)
    return changed


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder and key below a value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield value, key
        yield from _places(each)


def _loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"corpus_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _of_table(module: ModuleType, names: Any, rows: Any) -> Iterator[Json]:
    columns = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    for row in rows:
        values = (row,) if len(columns) == 1 else getattr(row, "values", row)
        for column, value in zip(columns, values, strict=False):
            if isinstance(value, dict) and {"apiVersion", "kind"} <= value.keys():
                yield value
            elif column == "spec" and isinstance(value, str) and hasattr(module, "KIND"):
                api_version, _, kind = module.KIND.rpartition("/")
                metadata = {"name": "tested", "namespace": "shop"}
                yield {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": yaml.safe_load(value)}
