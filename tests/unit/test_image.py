"""What the image is called, and what its recipes agree on."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from scripts.image import archive

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DIGESTS = {name: "sha256:" + letter * 64 for name, letter in (("manifest", "a"), ("config", "b"), ("layer", "c"))}


def test_manifests_ask_for_the_image_that_is_made() -> None:
    (image,) = yaml.safe_load((ROOT / "daemonset" / "kustomization.yaml").read_text())["images"]
    (name,) = re.findall(r"^NAME=(\S+)", (ROOT / "scripts" / "image" / "build.sh").read_text(), re.MULTILINE)
    assert image == {"name": "weft", "newName": name, "newTag": VERSION}


def test_the_engine_has_the_packages_version() -> None:
    assert tomllib.loads((ROOT / "proxy" / "Cargo.toml").read_text())["workspace"]["package"]["version"] == VERSION


def test_an_image_has_the_name_where_containerd_and_where_oci_tools_look() -> None:
    index: dict[str, Any] = {"manifests": [{"digest": DIGESTS["manifest"]}]}
    archive.name(index, "localhost:5000/weft:1.2")
    assert index["manifests"][0]["annotations"] == {
        "io.containerd.image.name": "localhost:5000/weft:1.2",
        "org.opencontainers.image.ref.name": "1.2",
    }


def test_docker_finds_the_name_and_the_files_in_a_manifest_of_its_own() -> None:
    manifest = {"config": {"digest": DIGESTS["config"]}, "layers": [{"digest": DIGESTS["layer"]}]}
    assert archive.docker_manifest(manifest, "weft:1.2") == [
        {
            "Config": "blobs/sha256/" + "b" * 64,
            "RepoTags": ["weft:1.2"],
            "Layers": ["blobs/sha256/" + "c" * 64],
        }
    ]
