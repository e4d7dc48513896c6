"""The built image, unpacked, and containers of it: as a manifest in daemonset/ says, started by runc."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from agent.api.pods import runnable_pod
from agent.api.pods.spec import RunnablePod
from agent.lab import namespaces
from agent.lab.layout import netns_path
from agent.lab.oci.runtime import read_machine
from agent.lab.oci.specification import Mount, Place, specification

ROOT = Path(__file__).parents[2]
LAYOUT = ROOT / "build" / "image"
RUN_SECONDS = 60


def shipped_pod(manifest: str, name: str) -> RunnablePod:
    """The pod that the workload of this name in daemonset/MANIFEST makes."""
    documents = yaml.safe_load_all((ROOT / "daemonset" / manifest).read_text())
    workload = next(
        found for found in documents if found["metadata"]["name"] == name and "template" in found.get("spec", {})
    )
    metadata = {"name": name, "namespace": "istio-system", "uid": "1"}
    return runnable_pod({"metadata": metadata, "spec": workload["spec"]["template"]["spec"]}, manifest)


@dataclass(frozen=True)
class Image:
    """`folder`: the bundle that umoci made; its config.json has what the image says of itself."""

    folder: Path
    namespace: str  # of networks, with nothing in it but a loopback that is down

    @property
    def files(self) -> Path:
        return self.folder / "rootfs"

    @property
    def packages(self) -> Path:
        """Where Python's packages of the image are, on this machine."""
        (found,) = self.files.glob("opt/weft/lib/python3.*/site-packages")
        return found

    @property
    def process(self) -> dict[str, Any]:
        """What runs, and how, when nobody says otherwise."""
        process: dict[str, Any] = json.loads((self.folder / "config.json").read_text())["process"]
        return process

    def command(self, pod: RunnablePod, words: Sequence[str], name: str, **given: Any) -> list[str]:
        """The command line that runs `words` in a container with the privileges of the pod's; see `started`."""
        (container,) = pod.spec.containers
        place = Place(netns_path(self.namespace), f"/{name}", name, Path("/opt/weft/bin"), read_machine())
        environment = dict(entry.split("=", 1) for entry in self.process["env"]) | given.get("environment", {})
        spec = specification(pod, container, place, given.get("mounts", ()), environment, words)
        spec["root"]["path"] = str(self.files)
        bundle = self.folder / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(spec))
        return ["runc", "--root", str(self.folder / "states"), "run", "--bundle", str(bundle), name]

    @contextlib.contextmanager
    def started(
        self,
        pod: RunnablePod,
        *words: str,
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A container of the image, with the pod's privileges and these mounts; gone at the end."""
        name = f"weft-image-{uuid.uuid4().hex[:8]}"
        command = self.command(pod, words, name, mounts=mounts, environment=environment or {})
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        try:
            yield process
        finally:
            delete = ["runc", "--root", str(self.folder / "states"), "delete", "--force", name]
            subprocess.run(delete, check=True, capture_output=True, timeout=RUN_SECONDS)
            process.communicate(timeout=RUN_SECONDS)
            shutil.rmtree(self.folder / name)

    def run(
        self,
        pod: RunnablePod,
        *words: str,
        mounts: Sequence[Mount] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """What the words print in a container that ends well."""
        with self.started(pod, *words, mounts=mounts, environment=environment) as process:
            output, errors = process.communicate(timeout=RUN_SECONDS)
        assert process.returncode == 0, f"{words}: {output.decode()}{errors.decode()}"
        return output.decode()


@contextlib.contextmanager
def unpacked(folder: Path) -> Iterator[Image]:
    """The image of build/image, below the folder."""
    index = json.loads((LAYOUT / "index.json").read_text())
    tag = index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
    bundle = folder / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{LAYOUT}:{tag}", str(bundle)], check=True, timeout=300)
    namespace = f"weft-test-image-{uuid.uuid4().hex[:8]}"
    namespaces.create(namespace)
    try:
        yield Image(bundle, namespace)
    finally:
        namespaces.delete(namespace)
        shutil.rmtree(bundle)


@contextlib.contextmanager
def a_bpffs(folder: Path) -> Iterator[Path]:
    """A BPF file system of the test's own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "bpf", "bpffs", str(folder)], check=True, timeout=10)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=10)
