"""The certificates and keys of one control plane, in the files that its programs read. Valid for a day."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=1)
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class User:
    """Who a client certificate says its bearer is, in Kubernetes' reading of its subject."""

    name: str
    group: str = ""

    @property
    def subject(self) -> x509.Name:
        group = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.group)] if self.group else []
        return x509.Name([*group, x509.NameAttribute(NameOID.COMMON_NAME, self.name)])


class Authority:
    """A certificate authority that keeps everything it issues in one folder, as NAME.crt and NAME.key."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = _write_key(folder / f"{name}.key")
        self._subject = User(f"weft-test-{name}").subject
        builder = _builder(self._subject, self._subject, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        self._issue(name, builder)

    def server(self, name: str, hosts: Iterable[str], addresses: Iterable[str]) -> None:
        """Issue a server's certificate for the given names and addresses."""
        names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        alternatives = x509.SubjectAlternativeName(names)
        self._leaf(name, User(name), ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def client(self, name: str, user: User) -> None:
        """Issue a client's certificate, with which it is that user."""
        self._leaf(name, user, ExtendedKeyUsageOID.CLIENT_AUTH)

    def _leaf(self, name: str, user: User, purpose: x509.ObjectIdentifier, *more: x509.ExtensionType) -> None:
        key = _write_key(self._folder / f"{name}.key")
        builder = _builder(self._subject, user.subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        for extension in (x509.ExtendedKeyUsage([purpose]), *more):
            builder = builder.add_extension(extension, critical=False)
        self._issue(name, builder)

    def _issue(self, name: str, builder: x509.CertificateBuilder) -> None:
        certificate = builder.sign(self._key, hashes.SHA256())
        (self._folder / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))


def write_signing_key(folder: Path) -> None:
    """The key of service account tokens, as sa.key and sa.pub."""
    public = _write_key(folder / "sa.key").public_key()
    (folder / "sa.pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def _builder(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(now + LIFETIME)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key
