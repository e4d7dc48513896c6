"""Which cluster a process works with: a state directory, or an API server and as whom."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent import config
from agent.config import Environment, Variable
from agent.kube import Cluster, Kind, StateDirectory

STATE_DIRECTORY: Final = Variable(
    "WEFT_STATE_DIRECTORY",
    "A folder with the objects of the cluster, one file each, in place of an API server.",
    config.A_PATH,
    unset="a Kubernetes cluster",
)
KUBECONFIG: Final = Variable(
    "KUBECONFIG",
    "Where the cluster's API server is, and as whom to call it; without a meaning for a state directory.",
    config.A_PATH,
    unset="the service account of the pod that it runs in",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """A state directory comes before a kubeconfig; with neither it is the cluster that the process is a pod of."""

    state_directory: Path | None = None
    kubeconfig: Path | None = None

    @classmethod
    def parse(cls, environment: Environment) -> Origin:
        state, kubeconfig = environment.get(STATE_DIRECTORY.name), environment.get(KUBECONFIG.name)
        return cls(Path(state) if state else None, Path(kubeconfig) if kubeconfig else None)

    @property
    def is_kubernetes(self) -> bool:
        return self.state_directory is None

    def __str__(self) -> str:
        return str(self.state_directory or self.kubeconfig or "the cluster of this pod")


@contextlib.asynccontextmanager
async def opened(origin: Origin, only: Mapping[Kind, str] | None = None) -> AsyncIterator[Cluster]:
    """The edge to it.

    only: by kind the field selector that lists and watches of an API server are narrowed to. A state directory is
    never large, and tells everything. Raises ConfigError when neither is there.
    """
    if origin.state_directory is not None:
        yield StateDirectory(origin.state_directory)
        return
    from agent.apiserver.cluster import api_server  # its client takes 50 MB, which a state directory has no use for

    async with api_server(origin.kubeconfig, only) as server:
        yield server
