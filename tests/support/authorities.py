"""An authority of somebody's own, as it is plugged into a mesh: a root, what it vouches for, and the Secret."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.controller.authority.ca import SigningKey, key_pem
from agent.kube import Object

NOW = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=3650)
Issuer = tuple[x509.Certificate, SigningKey]


def an_authority(
    name: str,
    issuer: Issuer | None = None,
    key: SigningKey | None = None,
    life: timedelta = YEAR,
    *,
    begins: timedelta = -timedelta(days=1),
    signs: bool = True,
    most_below: int | None = None,
) -> Issuer:
    """Valid from `begins` until `life`, both counted from NOW; most_below: authorities that may be below it."""
    own = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject, own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + life)
        .add_extension(x509.BasicConstraints(ca=signs, path_length=most_below), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=signs,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .sign(issuer[1] if issuer else own, hashes.SHA256())
    )
    return certificate, own


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


def a_secret(**files: bytes) -> Object:
    names = {name.replace("_", "-") + ".pem": base64.b64encode(value).decode() for name, value in files.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "data": names,
    }


def cert_managers(**changed: bytes) -> Object:
    """The same as plugged_in(), in the words of cert-manager."""
    files = {"tls.crt": pem(SIGNER[0], MIDDLE[0]), "tls.key": key_pem(SIGNER[1]), "ca.crt": pem(ROOT[0]), **changed}
    data = {name: base64.b64encode(value).decode() for name, value in files.items()}
    return {**plugged_in(), "type": "kubernetes.io/tls", "data": data}


ROOT = an_authority("root")
MIDDLE = an_authority("middle", ROOT)
SIGNER = an_authority("signer", MIDDLE)


def plugged_in(**changed: bytes) -> Object:
    files = {
        "ca_cert": pem(SIGNER[0]),
        "ca_key": key_pem(SIGNER[1]),
        "cert_chain": pem(SIGNER[0], MIDDLE[0], ROOT[0]),
        "root_cert": pem(ROOT[0]),
    }
    return a_secret(**{**files, **changed})
