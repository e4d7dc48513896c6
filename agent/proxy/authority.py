"""The edge to the certificate authority, as Istio's: one call for each certificate.

Each call has a connection of its own: they are hours apart, and so it always has the root and
token of the moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.proto import ca_pb2
from agent.proxy.connection import call_metadata, channel, translated
from agent.proxy.settings import Server

_METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
DEADLINE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class GrpcAuthority:
    """Signs for the identities of this node's pods; `token` says that we are its node proxy."""

    server: Server
    token: Path
    cluster: str

    async def sign(self, identity: str, csr: bytes, seconds: float) -> list[str]:
        """As certificates.Authority."""
        request = ca_pb2.IstioCertificateRequest(csr=csr.decode(), validity_duration=int(seconds))
        request.metadata["ImpersonatedIdentity"] = identity
        metadata = call_metadata(self.token, self.cluster)
        with translated(self.server):
            async with channel(self.server) as opened:
                method = opened.unary_unary(
                    _METHOD,
                    request_serializer=ca_pb2.IstioCertificateRequest.SerializeToString,
                    response_deserializer=ca_pb2.IstioCertificateResponse.FromString,
                )
                response = await method(request, metadata=metadata, timeout=DEADLINE_SECONDS)
        return list(response.cert_chain)
