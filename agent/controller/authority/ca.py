"""The mesh's certificate authority: it signs the certificates of workloads, and its own server's.

It is a root that signs itself, or an intermediate that somebody's root vouches for. Its key is in
a file that only we can read, or in a Secret (ca_secret.py). No private key of a workload is ever
here: they come as certificate signing requests.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import ConfigError, ForbiddenError, InvalidObjectError, UnavailableError
from agent.model import Identity

KEY_FILE: Final = "root-key.pem"
ROOT_FILE: Final = "root-cert.pem"
ROOT_LIFETIME: Final = timedelta(days=3650)
_CLOCK_SKEW: Final = timedelta(minutes=2)
_LONGEST_CSR: Final = 16 * 1024
_LEAST_CURVE_BITS: Final = 256
_RSA_BITS: Final = range(2048, 8193)

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """What counts of a CSR whose signature proves that the asker has the key."""

    key: PublicKey
    names: tuple[str, ...] | None  # its subject alternative names; None without any


@dataclass(frozen=True, slots=True)
class Authority:
    """The key that signs, and what vouches for it.

    intermediates: from the signing certificate up to the one that the root signed; none if the root itself signs.
    other_roots: whom the mesh trusts besides.
    """

    key: SigningKey = field(compare=False)  # the certificate says which one it is
    root: x509.Certificate
    intermediates: tuple[x509.Certificate, ...] = ()
    other_roots: tuple[x509.Certificate, ...] = ()

    @property
    def root_pem(self) -> str:
        """All roots."""
        return "".join(map(self._pem, (self.root, *self.other_roots)))

    @property
    def signer(self) -> x509.Certificate:
        return self.intermediates[0] if self.intermediates else self.root

    @property
    def expires(self) -> datetime:
        """When the first certificate of the chain does: no leaf lives longer."""
        return min(each.not_valid_after_utc for each in (self.root, *self.intermediates))

    def sign_workload(
        self, request: SigningRequest, identity: Identity, ttl: timedelta, now: datetime
    ) -> tuple[str, ...]:
        """The chain as PEM: leaf first, the roots together last.

        Raises ForbiddenError when the request names anybody but `identity`.
        """
        if request.names is not None and request.names != (str(identity),):
            raise ForbiddenError(f"the CSR names {', '.join(request.names) or 'nobody'}; granted is {identity}")
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(identity))])
        leaf = self._pem(self._sign(request.key, names, ttl, now))
        return leaf, *map(self._pem, self.intermediates), self.root_pem

    def issue_server(self, hosts: Sequence[str], ttl: timedelta, now: datetime) -> tuple[str, str]:
        """A new key and the chain of a certificate for it, as PEM; the key is nowhere else."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        leaf = self._sign(key.public_key(), names, ttl, now)
        return key_pem(key).decode(), "".join(map(self._pem, (leaf, *self.intermediates, self.root)))

    def _sign(
        self, key: PublicKey, names: x509.SubjectAlternativeName, ttl: timedelta, now: datetime
    ) -> x509.Certificate:
        if now >= self.expires:
            raise UnavailableError(f"the mesh's authority expired at {self.expires:%Y-%m-%d %H:%M} UTC")
        # Clients renew at half of a certificate's life. A backdate that is long against the
        # life would put that moment into the past, so it shrinks with it.
        backdate = min(_CLOCK_SKEW, ttl / 10)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.signer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - backdate, self.signer.not_valid_before_utc))
            .not_valid_after(min(now + ttl, self.expires))
            .add_extension(names, critical=True)  # RFC 5280, 4.2.1.6: critical when the subject is empty
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(encipherment=isinstance(key, rsa.RSAPublicKey)), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                critical=False,
            )
            .add_extension(_key_identifier(self.signer), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256())

    @staticmethod
    def _pem(certificate: x509.Certificate) -> str:
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_identifier(signer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the signer names its own key: whoever made it may not have hashed it as we would."""
    try:
        own = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(accepted_key(signer.public_key()))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def parse_request(pem: str) -> SigningRequest:
    """A CSR (PKCS #10, PEM) that can be signed; InvalidObjectError says what is wrong with it."""
    if len(pem) > _LONGEST_CSR:
        raise InvalidObjectError(f"CSR of {len(pem)} characters; accepted are at most {_LONGEST_CSR}")
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        key = accepted_key(csr.public_key())  # before it is reckoned with: a large one takes long
        if not csr.is_signature_valid:
            raise InvalidObjectError("CSR: its signature does not match its key")
        names = _names(csr)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension) as exc:
        raise InvalidObjectError(f"CSR: cannot be read: {exc}") from exc
    return SigningRequest(key, names)


def accepted_key(key: object) -> PublicKey:
    """The public key, if it is strong enough to be signed or to sign; ValueError if not."""
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.key_size >= _LEAST_CURVE_BITS:
            return key
        case rsa.RSAPublicKey() if key.key_size in _RSA_BITS:
            return key
    raise ValueError("key not accepted; accepted are ECDSA from P-256 on, and RSA of 2048 to 8192 bits")


def _names(csr: x509.CertificateSigningRequest) -> tuple[str, ...] | None:
    try:
        found = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    # A name of another kind must not pass for a SPIFFE ID because it reads the same.
    return tuple(
        name.value if isinstance(name, x509.UniformResourceIdentifier) else f"{type(name).__name__}:{name.value}"
        for name in found.value
    )


def _key_usage(*, encipherment: bool = False, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def load_or_create(directory: Path, now: datetime) -> Authority:
    """The authority in a directory; what is missing of it is made.

    Raises ConfigError when what is there cannot be used, or a root has lost its key.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key_path, root_path = directory / KEY_FILE, directory / ROOT_FILE
    if not root_path.exists():
        # The key is written first, so a key without a root is an unfinished start: finish it.
        if not key_path.exists():
            _write(key_path, key_pem(ec.generate_private_key(ec.SECP256R1())), mode=0o600)
        _write(root_path, self_sign(_load_key(key_path), now).root_pem.encode(), mode=0o644)
    return _load(key_path, root_path, now)


def self_sign(key: ec.EllipticCurvePrivateKey, now: datetime, lifetime: timedelta = ROOT_LIFETIME) -> Authority:
    """A new root of this key."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "weft")])
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - min(_CLOCK_SKEW, lifetime / 10))
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, root)


def _load(key_path: Path, root_path: Path, now: datetime) -> Authority:
    key = _load_key(key_path)
    try:
        root = x509.load_pem_x509_certificate(root_path.read_bytes())
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{root_path} cannot be read: {exc}") from exc
    if key.public_key() != root.public_key():
        raise ConfigError(f"{key_path} is not the key of {root_path}")
    if now >= root.not_valid_after_utc:
        raise ConfigError(f"{root_path} expired at {root.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    return Authority(key, root)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is not an ECDSA key")
    return key


def key_pem(key: SigningKey) -> bytes:
    """As PKCS #8, PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Appear complete, or not at all, and never readable by more than `mode` says."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
