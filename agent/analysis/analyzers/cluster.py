"""What the mesh's settings and a cluster's extensions say that cannot be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from agent.analysis import mesh
from agent.analysis.corpus import Corpus, Entry, Finding
from agent.api.api_server import CustomResourceDefinition, MutatingWebhookConfiguration, ValidatingWebhookConfiguration
from agent.api.configuration import Secret
from agent.api.kubernetes import Deployment, Service
from agent.api.request_authentication import RequestAuthentication
from agent.wire import SYSTEM_NAMESPACE

_REGISTRIES: Final = ("Kubernetes", "External", "Mock")
_CLUSTER_SECRET: Final = "istio/multiCluster"
_MESH_WEBHOOKS: Final = (".istio.io", ".weft.io")
_GATEWAY_API: Final = "gateway.networking.k8s.io"
_BUNDLE: Final = "gateway.networking.k8s.io/bundle-version"
_BETA_KINDS: Final = ("Gateway", "GatewayClass", "HTTPRoute", "ReferenceGrant")  # read as v1beta1 by older parts
_STABLE_KINDS: Final = ("Gateway", "GatewayClass", "HTTPRoute", "GRPCRoute")
_LEAST: Final[Mapping[str, tuple[int, int]]] = {  # release of the Gateway API in which the kind took today's form
    "grpcroutes.gateway.networking.k8s.io": (1, 1),
    "backendtlspolicies.gateway.networking.k8s.io": (1, 4),
    "tlsroutes.gateway.networking.k8s.io": (1, 5),
    "tcproutes.gateway.networking.k8s.io": (1, 6),
}
_GONE: Final = "rbac.istio.io"
_BLOCKED: Final = "BLOCKED_CIDRS_IN_JWKS_URIS"


def networks(corpus: Corpus) -> Iterator[Finding]:
    """IST0126: a network of a registry that nobody knows."""
    source = mesh.source(corpus)
    clusters = [
        name
        for secret in corpus.of(Secret)
        if secret.value.metadata.labels.get(_CLUSTER_SECRET) == "true"
        for name in secret.value.values
    ]
    for network, found in mesh.networks(corpus).networks.items() if source else ():
        for endpoints in found.endpoints:
            registry = endpoints.from_registry
            if registry and source and registry not in (*_REGISTRIES, *clusters):
                accepted = ", ".join((*_REGISTRIES[:1], *clusters))
                path = ("data", "meshNetworks")
                yield source.finding("IST0126", *path, network=network, registry=registry, accepted=accepted)


def webhooks(corpus: Corpus) -> Iterator[Finding]:
    """IST0139: a webhook of the mesh whose service is not there."""
    found: list[Entry[MutatingWebhookConfiguration] | Entry[ValidatingWebhookConfiguration]] = [
        *corpus.of(MutatingWebhookConfiguration),
        *corpus.of(ValidatingWebhookConfiguration),
    ]
    for entry in found:
        for number, webhook in enumerate(entry.value.webhooks):
            service = webhook.client_config.service
            is_ours = webhook.name.endswith(_MESH_WEBHOOKS) or (service and service.namespace == SYSTEM_NAMESPACE)
            if service and is_ours and corpus.lacks(Service, service.namespace, service.name):
                path = ("webhooks", number, "clientConfig", "service")
                name = f"{service.namespace}/{service.name}"
                yield entry.finding("IST0139", *path, webhook=webhook.name, service=name, policy=webhook.failure_policy)


def definitions(corpus: Corpus) -> Iterator[Finding]:
    """IST0156, IST0172, IST0176: Gateway API too old; IST0002: resources that are gone."""
    for entry in corpus.of(CustomResourceDefinition):
        spec, served = entry.value.spec, entry.value.served_versions
        facts = {"kind": spec.names.kind, "versions": ", ".join(served) or "none"}
        if spec.group == _GONE:
            told = f"kind {spec.names.kind} of {_GONE} is gone; AuthorizationPolicy took its place"
            yield entry.finding("IST0002", "spec", "group", error=told)
        if spec.group != _GATEWAY_API:
            continue
        if spec.names.kind in _BETA_KINDS and not {"v1beta1", "v1"} & set(served):
            yield entry.finding("IST0156", "spec", "versions", **facts)
        elif spec.names.kind in _STABLE_KINDS and "v1" not in served:
            yield entry.finding("IST0172", "spec", "versions", **facts)
        bundle = entry.value.metadata.annotations.get(_BUNDLE, "")
        release, least = re.match(r"v?(\d+)\.(\d+)", bundle), _LEAST.get(entry.name)
        if release and least and (int(release[1]), int(release[2])) < least:
            told = ".".join(map(str, least))
            yield entry.finding("IST0176", "metadata", "annotations", _BUNDLE, bundle=bundle, least=told, **facts)


def key_sets(corpus: Corpus) -> Iterator[Finding]:
    """IST0175: a control plane that fetches keys of tokens from anywhere."""
    fetched = [
        each.value.full_name
        for each in corpus.of(RequestAuthentication)
        if any(rule.jwks is None for rule in each.value.spec.jwt_rules)
    ]
    for entry in corpus.of(Deployment) if fetched else ():
        if entry.value.metadata.labels.get("app") != "istiod":
            continue
        containers = entry.value.spec.template.spec.containers
        if not any(each.name == _BLOCKED and each.value for container in containers for each in container.env):
            told = ", ".join(fetched[:5]) + (f" and {len(fetched) - 5} more" if len(fetched) > 5 else "")
            yield entry.finding("IST0175", "spec", "template", "spec", "containers", setting=_BLOCKED, names=told)
