"""What is in the image, and what is not."""

from __future__ import annotations

import json
import stat
import subprocess
import tarfile
import tomllib
from pathlib import Path

from tests.support.image import LAYOUT, ROOT, Image

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_every_file_of_the_source_that_the_code_may_open_is_in_the_image(image: Image) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "agent", "bpf"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout.splitlines()
    there = [name for name in listed if (ROOT / name).exists()]
    assert "bpf/connect.c" in there
    assert [name for name in there if not (image.packages / name).is_file()] == []


def test_it_runs_weft_from_a_path_that_has_it(image: Image) -> None:
    assert image.process["args"] == ["weft"]
    path = next(entry for entry in image.process["env"] if entry.startswith("PATH=")).removeprefix("PATH=")
    assert [folder for folder in path.split(":") if (image.files / folder.lstrip("/") / "weft").is_file()] == [
        "/opt/weft/bin"
    ]


def test_its_labels_say_which_version_of_what_it_is() -> None:
    labels = json.loads(_blob(_manifest()["config"]["digest"]))["config"]["Labels"]
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30
    ).stdout.strip()
    prefix = "org.opencontainers.image."
    assert {name: labels[prefix + name] for name in ("title", "version", "revision", "licenses")} == {
        "title": "Weft",
        "version": VERSION,
        "revision": revision,
        "licenses": "Apache-2.0",
    }


def test_one_archive_is_what_docker_containerd_and_oci_tools_load() -> None:
    with tarfile.open(LAYOUT.parent / f"weft-{VERSION}.oci.tar") as archive:
        names = set(archive.getnames())
        (docker,) = json.load(archive.extractfile("manifest.json") or b"")  # type: ignore[arg-type]
        (entry,) = json.load(archive.extractfile("index.json") or b"")["manifests"]  # type: ignore[arg-type]
    assert docker["RepoTags"] == [entry["annotations"]["io.containerd.image.name"]]
    assert docker["RepoTags"] == [f"localhost/weft:{VERSION}"]
    assert {docker["Config"], *docker["Layers"], "oci-layout"} <= names


def test_it_has_no_compiler_no_package_lists_and_no_caches(image: Image) -> None:
    programs = {path.name for folder in ("usr/bin", "opt/weft/bin") for path in (image.files / folder).iterdir()}
    assert programs & {"gcc", "cc", "clang", "ld", "as", "make", "rustc", "cargo", "pip", "pip3"} == set()
    for folder in ("var/lib/apt/lists", "var/cache/apt", "root/.cache", "var/log", "tmp", "opt/weft/share"):
        assert [path for path in _files(image.files / folder) if path.stat().st_size] == []


def test_nothing_in_it_says_where_the_packages_came_from(image: Image) -> None:
    assert [*(image.files / "etc/apt").glob("sources.list*")] == []
    assert [*(image.files / "etc/apt/apt.conf.d").glob("*mmdebstrap")] == []
    assert [(image.files / "etc" / name).read_text() for name in ("hostname", "resolv.conf")] == ["", ""]


def test_no_program_in_it_changes_its_user(image: Image) -> None:
    special = [path for path in _files(image.files) if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)]
    assert special == []


def test_modules_are_compiled_and_do_not_go_by_the_time_of_their_source(image: Image) -> None:
    """PEP 552: the second word of a .pyc is 1 for a hash that nobody checks. A read-only root cannot be compiled in."""
    standard_library = next(image.files.glob("usr/lib/python3.*/asyncio"))
    for folder in (image.packages / "agent", image.packages / "grpc", standard_library):
        for source in folder.rglob("*.py"):
            (compiled,) = source.parent.glob(f"__pycache__/{source.stem}.cpython-3??.pyc")
            assert compiled.read_bytes()[4:8] == bytes([1, 0, 0, 0]), compiled


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if not path.is_symlink() and path.is_file()]


def _manifest() -> dict[str, dict[str, str]]:
    index = json.loads((LAYOUT / "index.json").read_text())
    manifest: dict[str, dict[str, str]] = json.loads(_blob(index["manifests"][0]["digest"]))
    return manifest


def _blob(digest: str) -> bytes:
    return (LAYOUT / "blobs" / digest.replace(":", "/")).read_bytes()
