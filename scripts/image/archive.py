"""Make one file of an OCI layout, that every runtime loads under the same name.

    python scripts/image/archive.py LAYOUT NAME FILE

Runtimes find the name in different places: containerd in an annotation of its own, podman and skopeo in OCI's, Docker
in a manifest.json beside the layout's index. Docker's `save` writes all three too. The layout gets the annotations.
"""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import Any


def name(index: dict[str, Any], image: str) -> None:
    """Give the layout's only image its name, in an index.json as OCI's image-layout.md describes it."""
    (entry,) = index["manifests"]
    entry["annotations"] = {
        "io.containerd.image.name": image,
        "org.opencontainers.image.ref.name": image.rpartition(":")[2],
    }


def docker_manifest(manifest: dict[str, Any], image: str) -> list[dict[str, Any]]:
    """What Docker's image tarball has as manifest.json (specification v1.2), with OCI's blobs for its files."""
    return [
        {
            "Config": _path(manifest["config"]["digest"]),
            "RepoTags": [image],
            "Layers": [_path(layer["digest"]) for layer in manifest["layers"]],
        }
    ]


def _path(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def pack(layout: Path, archive: Path) -> None:
    """The folder's files, in order of their names and with nobody's time and owner."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as target:
        for path in sorted(layout.rglob("*")):
            target.add(path, arcname=str(path.relative_to(layout)), recursive=False, filter=plain)


def main(layout: Path, image: str, archive: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    name(index, image)
    (layout / "index.json").write_text(json.dumps(index))
    manifest = json.loads((layout / _path(index["manifests"][0]["digest"])).read_text())
    (layout / "manifest.json").write_text(json.dumps(docker_manifest(manifest, image)))
    pack(layout, archive)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
