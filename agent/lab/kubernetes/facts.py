"""What a pod may learn of itself: the downward API, for its environment and for files. Rules only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from agent.api.pods.containers import RunnableContainer
from agent.api.pods.quantities import quantity
from agent.api.pods.spec import RunnablePod
from agent.api.pods.variables import ResourceFieldReference
from agent.errors import InvalidObjectError

_ONE_OF = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
CAPACITY = {"cpu": "8", "memory": "16Gi"}  # of a node: what a container without a limit may use at most


@dataclass(frozen=True, slots=True)
class Facts:
    """A pod, its addresses (none before it has a network) and its node's."""

    pod: RunnablePod
    addresses: Sequence[str]
    host_addresses: Sequence[str]

    def field(self, path: str) -> str:
        """What a fieldRef stands for; InvalidObjectError for one that is not known."""
        metadata = self.pod.metadata
        if found := _ONE_OF.fullmatch(path):
            values: Mapping[str, str] = getattr(metadata, found[1])
            return values.get(found[2], "")
        if path in ("metadata.labels", "metadata.annotations"):
            values = getattr(metadata, path.partition(".")[2])
            return "\n".join(f'{key}="{_escaped(value)}"' for key, value in sorted(values.items()))
        known = self._fields()
        if path not in known:
            raise InvalidObjectError(
                f"Pod {self.pod.full_name}: fieldPath {path!r}; accepted are {', '.join(known)}, metadata.labels and "
                "metadata.annotations, or one of them as metadata.labels['KEY']"
            )
        return known[path]

    def resource(self, reference: ResourceFieldReference, own: RunnableContainer | None = None) -> str:
        """What a resourceFieldRef stands for. `own`: the container whose environment it is for."""
        container = own if not reference.container_name else self._container(reference.container_name)
        if container is None:
            raise InvalidObjectError(f"Pod {self.pod.full_name}: resourceFieldRef: containerName is required in a file")
        group, _, resource = reference.resource.partition(".")
        limit = container.resources.limits.get(resource)
        asked = limit or CAPACITY[resource] if group == "limits" else container.resources.requests.get(resource) or "0"
        divisor = quantity(reference.divisor) if reference.divisor else Decimal(0)
        return str(int((quantity(asked) / (divisor or Decimal(1))).to_integral_value(ROUND_CEILING)))

    def _container(self, name: str) -> RunnableContainer | None:
        every = (*self.pod.spec.init_containers, *self.pod.spec.containers)
        return next((container for container in every if container.name == name), None)

    def _fields(self) -> dict[str, str]:
        metadata = self.pod.metadata
        return {
            "metadata.name": metadata.name,
            "metadata.namespace": metadata.namespace,
            "metadata.uid": metadata.uid,
            "spec.nodeName": self.pod.spec.node_name,
            "spec.serviceAccountName": self.pod.spec.service_account_name,
            "status.podIP": self.addresses[0] if self.addresses else "",
            "status.podIPs": ",".join(self.addresses),
            "status.hostIP": self.host_addresses[0],
            "status.hostIPs": ",".join(self.host_addresses),
        }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
