"""ReferenceGrant: leave for objects of other namespaces to name those of one's own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agent.api.gateway_api.fields import Group, KindName, NamespaceName, ObjectName, items
from agent.api.gateway_api.objects import GatewayObject, gateway_api
from agent.api.strict import StrictPart


class GrantedFrom(StrictPart):
    group: Group
    kind: KindName
    namespace: NamespaceName


class GrantedTo(StrictPart):
    """Objects of the grant's own namespace: all of the kind, or the one that is named."""

    group: Group
    kind: KindName
    name: ObjectName = ""


class ReferenceGrantSpec(StrictPart):
    from_: Annotated[tuple[GrantedFrom, ...], Field(alias="from"), items(16, least=1)]
    to: Annotated[tuple[GrantedTo, ...], items(16, least=1)]


class ReferenceGrant(GatewayObject):
    """Any of `from` may name any of `to`."""

    facts = gateway_api("referencegrants", "v1beta1", "v1")

    spec: ReferenceGrantSpec
