"""Gateway: what a gateway at the edge of the mesh listens to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictStr

from agent.api.networking.kinds import ALL_VERSIONS, CATEGORIES, GROUP
from agent.api.scalars import Flag, OptionalPort, PortNumber, TextMap, Texts
from agent.api.strict import Facts, OneOf, StrictObject, StrictPart

TlsMode = Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]
TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class ServerPort(StrictPart):
    """The port that is listened to."""

    number: PortNumber
    """Number of the port."""
    protocol: StrictStr
    """HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS."""
    name: StrictStr
    """Name of the port."""
    target_port: OptionalPort = 0
    """Deprecated, without effect."""


class TlsCertificate(StrictPart):
    """Files of a certificate."""

    server_certificate: StrictStr = ""
    """File with the certificate; needed."""
    private_key: StrictStr = ""
    """File with its key; needed."""
    ca_certificates: StrictStr = ""
    """File with the authorities that clients' certificates may come from; needed with the MUTUAL modes."""


class ServerTls(StrictPart):
    """TLS towards clients."""

    one_ofs = (OneOf(("credentialName", "credentialNames", "tlsCertificates")),)

    https_redirect: StrictBool = False
    """Whether plain HTTP is answered with a redirect to https; for servers of HTTP only."""
    mode: TlsMode = "PASSTHROUGH"
    """Pass TLS on by its server name, or end it here and with which regard for clients' certificates."""
    server_certificate: StrictStr = ""
    """File with the certificate; needed with SIMPLE and MUTUAL, unless a credential is named."""
    private_key: StrictStr = ""
    """File with its key; needed with SIMPLE and MUTUAL, unless a credential is named."""
    ca_certificates: StrictStr = ""
    """File with the authorities that clients' certificates may come from."""
    ca_crl: StrictStr = ""
    """File with certificates that are revoked."""
    credential_name: StrictStr = ""
    """Secret with key and certificate, in the gateway workload's namespace."""
    credential_names: Annotated[Texts, Field(min_length=1, max_length=2)] | None = None
    """Secrets with keys and certificates of different kinds, such as RSA and ECDSA."""
    ca_cert_credential_name: StrictStr = ""
    """Secret or ConfigMap with the authorities for clients' certificates; comes before those of credentialName."""
    tls_certificates: Annotated[tuple[TlsCertificate, ...], Field(min_length=1, max_length=2)] | None = None
    """Files of certificates of different kinds."""
    subject_alt_names: Texts = ()
    """Names of which a client's certificate must carry one."""
    verify_certificate_spki: Texts = ()
    """SHA-256 of the public keys that clients may have, in base64."""
    verify_certificate_hash: Texts = ()
    """SHA-256 of the certificates that clients may have, in hexadecimal."""
    min_protocol_version: TlsVersion = "TLS_AUTO"
    """Oldest version of TLS; TLSV1_2 if TLS_AUTO."""
    max_protocol_version: TlsVersion = "TLS_AUTO"
    """Newest version of TLS; TLSV1_3 if TLS_AUTO."""
    cipher_suites: Texts = ()
    """Ciphers of TLS up to 1.2, as OpenSSL names them; Envoy's if empty."""
    insecure_skip_verify: Flag = None
    """Whether a client's certificate that does not verify is let through; false if absent."""


class Server(StrictPart):
    """A port with the hosts that are served there."""

    port: ServerPort
    """The port that is listened to."""
    bind: StrictStr = ""
    """Address, or unix:// and a path, that is listened at; the workload's if empty."""
    hosts: Texts
    """Names or wildcards, each as NAMESPACE/HOST or HOST; NAMESPACE may be '*' or '.'."""
    tls: ServerTls | None = None
    """TLS towards clients; none if absent."""
    default_endpoint: StrictStr = ""
    """Not implemented by Istio: where connections go that no route takes."""
    name: StrictStr = ""
    """Name of the server, unique if it is given."""


class GatewaySpec(StrictPart):
    """Servers, and the workloads that have them."""

    servers: tuple[Server, ...] = ()
    """Ports and hosts."""
    selector: TextMap = Field(default_factory=dict)
    """Labels of the gateway workloads, each of which must match."""


class Gateway(StrictObject):
    """Says what gateway workloads listen to, and for which hosts."""

    facts = Facts(GROUP, "gateways", ALL_VERSIONS, short_names=("gw",), categories=CATEGORIES)

    spec: GatewaySpec = GatewaySpec()
    """The servers."""
