"""Certificates for those who may have them; each one is counted, and logged with who asked for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from agent.controller import auth
from agent.controller.authority import ca
from agent.controller.authority.in_force import InForce
from agent.controller.cluster import ClusterState
from agent.errors import InvalidObjectError, UnavailableError
from agent.metrics import ControllerMetrics
from agent.proto import ca_pb2

logger = logging.getLogger(__name__)

_IMPERSONATED = "ImpersonatedIdentity"


@dataclass(frozen=True, slots=True)
class Issuance:
    """The rules of who gets which certificate, applied. `trusted` are the accounts of node proxies."""

    in_force: InForce
    state: ClusterState
    trusted: Sequence[str]
    trust_domain: str
    default_ttl: timedelta
    longest_ttl: timedelta
    metrics: ControllerMetrics
    clock: Callable[[], datetime]

    def certify(self, request: ca_pb2.IstioCertificateRequest, caller: auth.Caller) -> tuple[str, ...]:
        """The chain, as Authority.sign_workload gives it; ForbiddenError, InvalidObjectError or UnavailableError."""
        self.metrics.csrs.inc()
        if not self.state.is_synced:  # "no such pod" would be a lie, and final
            raise UnavailableError("the cluster has not been read yet; try again")
        identity = auth.granted_identity(
            caller,
            _impersonated(request),
            trusted=self.trusted,
            live_pods=self.state.live_pods_on(caller.node),
            trust_domain=self.trust_domain,
        )
        ttl = self._ttl(request.validity_duration)
        chain = self.in_force.authority.sign_workload(ca.parse_request(request.csr), identity, ttl, self.clock())
        self.metrics.certificates.inc()
        leaf = x509.load_pem_x509_certificate(chain[0].encode())
        facts = {"identity": identity, "serial": f"{leaf.serial_number:x}", "expires": leaf.not_valid_after_utc}
        logger.info("issued a certificate", extra={**facts, **who(caller)})
        return chain

    def _ttl(self, asked_seconds: int) -> timedelta:
        # Compared as a number first: a timedelta cannot hold every int64.
        if asked_seconds <= 0:
            return min(self.default_ttl, self.longest_ttl)
        return timedelta(seconds=min(asked_seconds, self.longest_ttl.total_seconds()))


def who(caller: auth.Caller) -> dict[str, str]:
    """A caller, for people; what it is bound to by its token, if it is."""
    return {"caller": caller.account, "pod": caller.pod or "-", "node": caller.node or "-"}


def asked(request: ca_pb2.IstioCertificateRequest) -> str:
    """The identity that a request names, whatever it is; `its own` if it names none."""
    fields = request.metadata.fields
    return fields[_IMPERSONATED].string_value if _IMPERSONATED in fields else "its own"


def _impersonated(request: ca_pb2.IstioCertificateRequest) -> str:
    if _IMPERSONATED not in request.metadata.fields:
        return ""
    named = asked(request)
    if not named:
        raise InvalidObjectError(f"metadata {_IMPERSONATED}: accepted is a SPIFFE ID")
    return named
