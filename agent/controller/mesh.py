"""What is said of the whole mesh: by the process's settings, and by the ConfigMap that its owner may change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from agent import kube, wire
from agent.api.faults import in_words
from agent.api.mesh_config.config_map import settings_of
from agent.api.mesh_config.mesh import MeshConfig
from agent.api.mesh_config.name import config_map_name
from agent.api.mesh_config.reading import Reading
from agent.errors import Fault

_AS_BUILT_IN: Final = MeshConfig()


@dataclass(frozen=True, slots=True)
class Mesh:
    """trust_domain: what identities are made with, for as long as the process runs. default_trust_domain: where the
    ConfigMap says none. left_out: what of the ConfigMap nobody knows, or nobody can use.
    """

    revision: str = wire.DEFAULT_REVISION
    default_trust_domain: str = wire.DEFAULT_TRUST_DOMAIN
    trust_domain: str = wire.DEFAULT_TRUST_DOMAIN
    config: MeshConfig = _AS_BUILT_IN
    left_out: tuple[Fault, ...] = ()

    @property
    def root_namespace(self) -> str:
        """The namespace whose policies are for all of the mesh."""
        return self.config.root_namespace

    @property
    def config_map(self) -> str:
        """The name of the ConfigMap, in the system namespace."""
        return config_map_name(self.revision)

    @property
    def problems(self) -> list[str]:
        """What of the ConfigMap is not in force."""
        where = f"ConfigMap {wire.SYSTEM_NAMESPACE}/{self.config_map}: mesh"
        found = [f"{where}: {in_words([fault])}; it is left out" for fault in self.left_out]
        wanted = self._wanted_trust_domain
        if wanted != self.trust_domain:
            found.append(
                f"{where}: trustDomain: read {wanted!r}; {self.trust_domain!r} stays in force until the controller is "
                "started anew, and the node proxies with the same TRUST_DOMAIN"
            )
        return found

    @property
    def _wanted_trust_domain(self) -> str:
        is_said = "trust_domain" in self.config.model_fields_set
        return self.config.trust_domain if is_said else self.default_trust_domain

    def configured(self, found: kube.Object | None) -> Mesh:
        """With what the ConfigMap says now, None: there is none. InvalidObjectError names ConfigMap, key and field."""
        reading = settings_of(found) if found is not None else Reading(_AS_BUILT_IN)
        return replace(self, config=reading.value, left_out=reading.left_out)

    def started(self) -> Mesh:
        """With the trust domain that is to be the process's own."""
        return replace(self, trust_domain=self._wanted_trust_domain)

    def is_for_another(self, kind: kube.Kind, found: kube.Object) -> bool:
        """Whether an object of the mesh's configuration names another revision; one that names none is for all."""
        labels = found["metadata"].get("labels")
        named = labels.get(wire.REVISION_LABEL) if isinstance(labels, dict) else None
        return "istio.io/" in kind.api_version and bool(named) and named != self.revision
