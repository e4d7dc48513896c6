"""Compile, load and pin the BPF programs: `python -m agent.node.loader PIN-DIRECTORY`.

A process of its own, which exits when all is pinned: compiling takes LLVM, over 100 MiB and a
change of the working directory. Maps that are pinned already are taken over, after a check:
bcc itself would open any map, of whatever size. Attaching is the agent's work.
"""

from __future__ import annotations

import os
import sys
from importlib import resources
from pathlib import Path

from agent.errors import KernelError, NotFoundError, WeftError
from agent.node import layout, libbpf

# bcc compares the running kernel with LINUX_VERSION_CODE only for kprobes.
_FLAGS = ("-Wall", "-Werror", "-Wno-unused-function", "-Wno-macro-redefined", "-Wno-address-of-packed-member")


def sources() -> Path:
    """The folder of the programs' sources: beside the package in a checkout, within it when installed."""
    beside = Path(str(resources.files("agent"))).parent / "bpf"
    if not (beside / "mesh.h").exists():
        raise KernelError(f"the BPF sources are not in {beside}; is the installation complete?")
    return beside


def _text(folder: Path, source: str) -> str:
    # bcc turns map operations into calls in the main text only, so the header is put into it.
    return (folder / source).read_text().replace('#include "mesh.h"\n', (folder / "mesh.h").read_text())


def check_maps(maps: Path) -> None:
    """KernelError when a pinned map is not as layout.MAPS says."""
    for wanted in layout.MAPS:
        try:
            with libbpf.pinned(maps / wanted.name) as fd:
                shape = libbpf.map_shape(fd)
        except NotFoundError:
            continue
        if shape != (wanted.kind, wanted.key_bytes, wanted.value_bytes, wanted.entries):
            raise KernelError(
                f"{maps / wanted.name} has type, key, value, entries {shape}, this version needs {wanted}; "
                "remove the old version first (weft node --remove)"
            )


def _make(directory: Path) -> None:
    try:
        for name in ("maps", "programs", "links"):
            (directory / name).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise KernelError(
            f"{directory} cannot be made: {exc.strerror}; mount the node's BPF file system, /sys/fs/bpf, where "
            "WEFT_PIN_DIRECTORY is"
        ) from exc


def load(directory: Path) -> None:
    """Load every program anew and pin it below `directory`, with the maps."""
    _make(directory)
    check_maps(directory / "maps")
    folder = sources()
    os.environ["BCC_KERNEL_SOURCE"] = str(folder / "include")  # no kernel headers on the node
    from bcc import BPF  # here, because of its price

    flags = [*_FLAGS, f'-DPIN="{directory / "maps"}"']
    flags += [f"-D{name}={value}" for name, value in layout.DEFINITIONS.items()]
    for source in dict.fromkeys(program.source for program in layout.PROGRAMS):
        try:
            module = BPF(text=_text(folder, source), cflags=flags)
            for program in layout.PROGRAMS:
                if program.source == source:
                    function = module.load_func(program.name, program.kind, attach_type=program.attach)
                    libbpf.pin(function.fd, directory / "programs" / program.name)
        except Exception as exc:  # bcc raises the bare class
            raise KernelError(
                f"{source}: {exc}; the compiler's or the verifier's words are above; if they say `not permitted`, "
                "CAP_SYS_ADMIN is missing"
            ) from exc
    check_maps(directory / "maps")


def main() -> None:
    """Exit status 0 when all is pinned, 1 with a line on standard error when not."""
    try:
        load(Path(sys.argv[1]))
    except WeftError as exc:
        print(f"weft loader: {exc}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
