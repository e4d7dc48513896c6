"""Checks of how an endpoint is chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from agent.api.networking.connection_pool import OutlierDetection
from agent.api.networking.load_balancer import (
    ConsistentHash,
    Distribute,
    Failover,
    HttpCookie,
    LoadBalancer,
    LocalityLoadBalancing,
    Warmup,
    ZoneAwareLoadBalancing,
)
from agent.api.validation import formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, said, warning

_LARGEST_TABLE: Final = 5_000_011  # Envoy's limit of Maglev's table, itself not below it
_LEVELS: Final = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone")
_WITHOUT_EFFECT: Final = "without effect as long as there is no outlierDetection, which finds failing endpoints"


def of_load_balancer(found: LoadBalancer | None, detection: OutlierDetection | None, path: Path) -> Iterator[Remark]:
    if found is None:
        return
    if found.consistent_hash is not None:
        yield from _hash(found.consistent_hash, (*path, "consistentHash"))
    has_detection = detection is not None
    yield from of_localities(found.locality_lb_setting, (*path, "localityLbSetting"), has_detection=has_detection)
    yield from of_zones(found.zone_aware_lb_setting, (*path, "zoneAwareLbSetting"), has_detection=has_detection)
    if found.warmup_duration_secs is not None:
        yield from faulty(formats.duration(found.warmup_duration_secs), *path, "warmupDurationSecs")
    if found.warmup is not None:
        yield from _warmup(found.warmup, (*path, "warmup"))


def of_localities(found: LocalityLoadBalancing | None, path: Path, *, has_detection: bool) -> Iterator[Remark]:
    """`has_detection`: failing endpoints are found, without which nobody fails over."""
    if found is None:
        return
    if found.distribute and found.failover:
        yield error("accepted is one of distribute and failover", *path)
    topology = [name for name in found.failover_priority if name in _LEVELS]
    if found.failover and topology:
        yield error(
            f"read {topology[0]!r}; not accepted beside failover, which orders regions", *path, "failoverPriority"
        )
    for number, shares in enumerate(found.distribute):
        yield from _shares(shares, (*path, "distribute", number))
    yield from _distinct([shares.from_ for shares in found.distribute], (*path, "distribute"), "from")
    yield from _failovers(found.failover, found.failover_priority, path, has_detection=has_detection)


def of_zones(found: ZoneAwareLoadBalancing | None, path: Path, *, has_detection: bool) -> Iterator[Remark]:
    if found is None:
        return
    for number, name in enumerate(found.failover_priority):
        if name in _LEVELS:
            told = said(name, "a label that says nothing of region, zone or subzone, which count by themselves")
            yield error(told, *path, "failoverPriority", number)
    yield from _failovers(found.failover, found.failover_priority, path, has_detection=has_detection)


def _failovers(
    failovers: Sequence[Failover], priority: Sequence[str], path: Path, *, has_detection: bool
) -> Iterator[Remark]:
    for field, given in (("failover", failovers), ("failoverPriority", priority)):
        if given and not has_detection:
            yield warning(_WITHOUT_EFFECT, *path, field)
    for number, failover in enumerate(failovers):
        place = (*path, "failover", number)
        if failover.from_ == failover.to:
            yield error(said(failover.to, "a region other than the one that it is from"), *place, "to")
        for field, region in (("from", failover.from_), ("to", failover.to)):
            if "/" in region or "*" in region:
                yield error(said(region, "a region, without zone and wildcard"), *place, field)


def _shares(shares: Distribute, path: Path) -> Iterator[Remark]:
    for place, share in shares.to.items():
        if not 1 <= share <= 100:
            yield error(said(share, "a number from 1 to 100"), *path, "to", place)
    total = sum(shares.to.values())
    if total != 100:
        yield error(said(total, "a sum of 100 of all shares"), *path, "to")
    yield from _distinct(list(shares.to), (*path, "to"), "")


def _distinct(localities: Sequence[str], path: Path, field: str) -> Iterator[Remark]:
    """Each REGION[/ZONE[/SUBZONE]], the last of which may be *, and none within an earlier one."""
    earlier: list[tuple[str, ...]] = []
    for number, locality in enumerate(localities):
        place = (*path, number, field) if field else (*path, locality)
        steps = tuple(locality.split("/", 2))
        if not all(steps) or locality.count("*") > 1 or ("*" in locality and not locality.endswith("*")):
            yield error(said(locality, "REGION, REGION/ZONE or REGION/ZONE/SUBZONE, with * at the end at most"), *place)
        elif any(_overlap(other, steps) for other in earlier):
            yield error(f"read {locality!r}, which overlaps an earlier one; accepted is each place once", *place)
        earlier.append(steps)


def _overlap(earlier: tuple[str, ...], later: tuple[str, ...]) -> bool:
    """Whether the earlier one covers the later, or is part of it and that is no wildcard for the rest."""
    covering = tuple(step for step in earlier if step != "*")
    return later[: len(covering)] == covering or ("*" not in later and earlier[: len(later)] == later)


def _hash(found: ConsistentHash, path: Path) -> Iterator[Remark]:
    if found.http_cookie is not None:
        yield from _cookie(found.http_cookie, (*path, "httpCookie"))
    if found.minimum_ring_size:
        yield warning("deprecated: write ringHash.minimumRingSize", *path, "minimumRingSize", code="IST0002")
        if found.ring_hash or found.maglev:
            yield error("accepted is one of minimumRingSize, ringHash and maglev", *path, "minimumRingSize")
    if found.maglev is not None:
        size = found.maglev.table_size
        if not 0 < size < _LARGEST_TABLE or not _is_prime(size):
            told = said(size, f"a prime number below {_LARGEST_TABLE}, such as 65537")
            yield error(told, *path, "maglev", "tableSize")


def _cookie(cookie: HttpCookie, path: Path) -> Iterator[Remark]:
    if not cookie.name:
        yield error(said("", "the name of a cookie"), *path, "name")
    seen: set[str] = set()
    for number, attribute in enumerate(cookie.attributes):
        if not attribute.name or attribute.name in seen:
            yield error(said(attribute.name, "a name, each once"), *path, "attributes", number, "name")
        seen.add(attribute.name)


def _warmup(warmup: Warmup, path: Path) -> Iterator[Remark]:
    yield from faulty(formats.duration(warmup.duration), *path, "duration")
    if warmup.aggression is not None and warmup.aggression <= 0:
        yield error(said(warmup.aggression, "a number above 0"), *path, "aggression")


def _is_prime(number: int) -> bool:
    """As Envoy takes it, for which 1 is one too."""
    return number > 0 and all(number % factor for factor in range(2, math.isqrt(number) + 1))
