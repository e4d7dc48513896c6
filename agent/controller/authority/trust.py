"""Which roots the mesh trusts, and which authority signs, while one takes another's place. Rules only.

A certificate of a new root is refused by everybody who has not been told of that root yet, and proxies are told with
their own certificates, which they renew hours apart. So a new root is trusted first, and signs only after a period in
which everybody has come by; and the old one is trusted for as long as a certificate of it may be in force. Another
intermediate of a root that has been trusted for that long signs at once. See docs/decisions/0012.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509

from agent.controller.authority.ca import Authority


@dataclass(frozen=True, slots=True)
class Periods:
    """overlap: how long a root is trusted before it signs. longest_life: of any certificate that is signed."""

    overlap: timedelta
    longest_life: timedelta


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """since: when proxies could first be told of it. used_until: when the last certificate of it has expired."""

    certificate: x509.Certificate
    since: datetime
    used_until: datetime | None = None  # nothing has been signed with it here, or it is being signed with now


@dataclass(frozen=True, slots=True)
class Trust:
    """The authority that signs, and every root that is trusted, that of the signing one among them."""

    signing: Authority
    roots: tuple[TrustedRoot, ...]

    @property
    def authority(self) -> Authority:
        """The one that signs, vouched for by its root and all the others."""
        others = (each.certificate for each in self.roots if each.certificate != self.signing.root)
        return replace(self.signing, other_roots=tuple(others))


def begun(wanted: Authority, now: datetime) -> Trust:
    """Of a mesh that has no past: there is nobody yet who would have to learn of a root."""
    return Trust(_alone(wanted), _sorted(TrustedRoot(each, now) for each in dict.fromkeys(_given(wanted))))


def step(trust: Trust, wanted: Authority, now: datetime, periods: Periods) -> Trust:
    """What holds from now on, if that is the authority which somebody wants to sign."""
    signing = _alone(wanted) if _may_sign(trust, wanted, now, periods) else trust.signing
    left = trust.signing.root
    known = {each.certificate: each for each in trust.roots}
    if signing.root != left:
        known[left] = replace(known[left], used_until=now + periods.longest_life)
    given = {each: known.get(each) or TrustedRoot(each, now) for each in _given(wanted)}
    kept = {each: root for each, root in known.items() if each == signing.root or _is_in_use(root, now)}
    roots = {**kept, **given}
    roots[signing.root] = replace(roots[signing.root], used_until=None)
    return Trust(signing, _sorted(roots.values()))


def due(trust: Trust, wanted: Authority, periods: Periods) -> datetime | None:
    """When the next step will change something; None while nothing is under way."""
    given = _given(wanted)
    moments = [ends for each in trust.roots if each.certificate not in given and (ends := _end_of_use(each))]
    if trust.signing != _alone(wanted):
        moments += [each.since + periods.overlap for each in trust.roots if each.certificate == wanted.root]
        moments.append(trust.signing.expires)
    return min(moments, default=None)


def _may_sign(trust: Trust, wanted: Authority, now: datetime, periods: Periods) -> bool:
    if wanted.root == trust.signing.root or now >= trust.signing.expires:  # then nobody has anything to lose
        return True
    return any(each.certificate == wanted.root and now >= each.since + periods.overlap for each in trust.roots)


def _is_in_use(root: TrustedRoot, now: datetime) -> bool:
    ends = _end_of_use(root)
    return ends is not None and now < ends


def _end_of_use(root: TrustedRoot) -> datetime | None:
    return None if root.used_until is None else min(root.used_until, root.certificate.not_valid_after_utc)


def _given(wanted: Authority) -> tuple[x509.Certificate, ...]:
    return wanted.root, *wanted.other_roots


def _alone(wanted: Authority) -> Authority:
    return replace(wanted, other_roots=())


def _sorted(roots: Iterable[TrustedRoot]) -> tuple[TrustedRoot, ...]:
    """In one order, whoever works it out: every controller gives the same bundle."""
    return tuple(sorted(roots, key=lambda each: (each.since, each.certificate.serial_number)))
