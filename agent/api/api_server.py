"""Typed models of how an API server is extended: webhooks and custom resources."""

from __future__ import annotations

from typing import Literal

from pydantic import StrictBool, StrictStr

from agent.api.fields import PortNumber
from agent.api.label_selector import LabelSelector
from agent.api.objects import NamedObject, Part


class WebhookService(Part):
    namespace: StrictStr
    name: StrictStr
    path: StrictStr = ""
    port: PortNumber = 443


class WebhookClient(Part):
    """Where the webhook is: a service or a URL; ca_bundle is base64 of the PEM that vouches for it."""

    service: WebhookService | None = None
    url: StrictStr = ""
    ca_bundle: StrictStr = ""


class Webhook(Part):
    """Which objects are sent to it, and what becomes of them when it does not answer."""

    name: StrictStr
    client_config: WebhookClient
    namespace_selector: LabelSelector = LabelSelector()
    object_selector: LabelSelector = LabelSelector()
    failure_policy: Literal["Ignore", "Fail"] = "Fail"


class MutatingWebhookConfiguration(NamedObject):
    """admissionregistration.k8s.io/v1 MutatingWebhookConfiguration."""

    webhooks: tuple[Webhook, ...] = ()


class ValidatingWebhookConfiguration(NamedObject):
    """admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration."""

    webhooks: tuple[Webhook, ...] = ()


class ResourceNames(Part):
    kind: StrictStr
    plural: StrictStr


class ResourceVersion(Part):
    name: StrictStr
    served: StrictBool
    storage: StrictBool


class CustomResourceDefinitionSpec(Part):
    group: StrictStr
    names: ResourceNames
    scope: Literal["Namespaced", "Cluster"]
    versions: tuple[ResourceVersion, ...]


class CustomResourceDefinition(NamedObject):
    """apiextensions.k8s.io/v1 CustomResourceDefinition, without its schemas."""

    spec: CustomResourceDefinitionSpec

    @property
    def served_versions(self) -> tuple[str, ...]:
        return tuple(version.name for version in self.spec.versions if version.served)
