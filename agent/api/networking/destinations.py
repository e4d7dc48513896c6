"""Where a route sends traffic to, and which share of it."""

from __future__ import annotations

from pydantic import StrictStr

from agent.api.scalars import PercentDouble, PortNumber
from agent.api.strict import StrictPart


class PortSelector(StrictPart):
    """A port of a service."""

    number: PortNumber | None = None
    """Number of the port."""


class Destination(StrictPart):
    """A service, or some of its endpoints."""

    host: StrictStr
    """Name of the service in the registry; a short name is completed from the namespace of the resource."""
    subset: StrictStr = ""
    """Name of a subset that a DestinationRule for the host declares; empty for all endpoints."""
    port: PortSelector | None = None
    """Port of the service; needed if it has more than one."""


class Percent(StrictPart):
    """A share, 0 to 100 per cent; 0 if absent."""

    value: PercentDouble = 0.0
    """The share in per cent, such as 0.1 for one in a thousand."""
