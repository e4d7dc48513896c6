"""Writes daemonset/crds/ from the models; with --check only says whether it is what it would write."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from agent.api import crds
from agent.api.istio import KINDS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "daemonset" / "crds"
HEAD = "# Made from the models in agent/api; `make gen` makes it anew.\n"


class _Plain(yaml.CSafeDumper):
    """Writes what is the same in every version out each time, as people and tools expect."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def files() -> dict[str, str]:
    """What has to be in the folder, by name: a definition for each kind, and a list of them for kustomize."""
    made = {f"{kind.facts.plural}.{kind.facts.group}.yaml": _text(crds.definition(kind)) for kind in KINDS}
    listed = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(made),
    }
    return made | {"kustomization.yaml": _text(listed)}


def _text(object: Mapping[str, object]) -> str:
    return HEAD + yaml.dump(object, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


def main() -> None:
    """Exit status 1 when --check finds a file that is not what the models say, or one too many."""
    wanted = files()
    found = {path.name: path.read_text() for path in FOLDER.glob("*.yaml")}
    if "--check" in sys.argv[1:]:
        if stale := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
            sys.exit(f"{FOLDER.relative_to(ROOT)}: {', '.join(stale)}: not what the models say; run `make gen`")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in found.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
