"""Which mesh a command asks: a lab on this machine, or the one in a Kubernetes cluster."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from agent.cli import reach
from agent.errors import ConfigError, NotFoundError, WeftError
from agent.lab.layout import RUN

P = ParamSpec("P")
R = TypeVar("R")


def mesh_options(command: Callable[..., R]) -> Callable[..., R]:
    """The options --lab, --kubeconfig and --context of a command, which gets a Choice as `choice` in their place."""

    @click.option("--lab", metavar="NAME", help="A lab on this machine; by default the one that runs.")
    @click.option(
        "--kubeconfig",
        type=click.Path(path_type=Path),
        help="The cluster of this file; without a lab, by default the one that kubectl uses.",
    )
    @click.option("--context", metavar="NAME", help="The kubeconfig's context, by default its current one.")
    @functools.wraps(command)
    def chosen(lab: str | None, kubeconfig: Path | None, context: str | None, **others: Any) -> R:
        return command(choice=Choice(lab, kubeconfig, context), **others)

    return chosen


class Choice:
    """What a person has said of where the mesh is; nothing is looked for yet."""

    def __init__(self, lab: str | None = None, kubeconfig: Path | None = None, context: str | None = None) -> None:
        if lab is not None and (kubeconfig is not None or context is not None):
            raise ConfigError("--lab is a mesh on this machine, --kubeconfig and --context one in a cluster; give one")
        self._lab = lab
        self._kubeconfig = kubeconfig
        self._context = context

    def mesh(self, run: Path = RUN, environment: Mapping[str, str] = os.environ) -> reach.Mesh:
        """The mesh. ConfigError for what cannot be used, NotFoundError without one, others as it is reached."""
        is_cluster = self._kubeconfig is not None or self._context is not None
        if not is_cluster:
            try:
                return reach.running_lab(self._lab, run)
            except NotFoundError as exc:
                if self._lab is not None or not _has_kubeconfig(environment):
                    raise NotFoundError(f"{exc}; for a mesh in a cluster give --kubeconfig") from exc
        from agent.cli.cluster_reach import installed_mesh  # its client takes a while to load

        return installed_mesh(self._kubeconfig, self._context)

    def mesh_or_exit(self, status: int) -> reach.Mesh:
        """The mesh; ends the command with this exit status if there is none. Raises ConfigError as mesh()."""
        try:
            return self.mesh()
        except ConfigError:
            raise
        except WeftError as exc:
            click.echo(f"weft: {exc}", err=True)
            sys.exit(status)


def _has_kubeconfig(environment: Mapping[str, str]) -> bool:
    named = environment.get("KUBECONFIG", "").split(os.pathsep)
    return any(map(os.path.exists, filter(None, named))) or Path("~/.kube/config").expanduser().exists()
