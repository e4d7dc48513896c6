"""Checks of TLS towards clients, in a Gateway's server or a Sidecar's listener."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from agent.api.networking.gateway import ServerTls, TlsCertificate
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, said, warning

# BoringSSL's, without those of pre-shared keys.
_CIPHERS: Final = frozenset(
    [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
    ]
)
_OLD: Final = ("TLSV1_0", "TLSV1_1")
_TERMINATING: Final = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")
_PASSING: Final = ("PASSTHROUGH", "AUTO_PASSTHROUGH")
_CREDENTIALS: Final = ("credentialName", "credentialNames")


def of_server_tls(tls: ServerTls, path: Path) -> Iterator[Remark]:
    yield from _ciphers(tls, path)
    given = _certificates(tls)
    if tls.mode == "ISTIO_MUTUAL":
        for field in given:
            if field != "caCrl":
                yield error("not accepted with mode ISTIO_MUTUAL, which uses the mesh's certificate", *path, field)
        return
    if tls.mode in _PASSING:
        for field in given:
            yield warning(f"without effect: mode {tls.mode} ends no TLS", *path, field)
    sources = [field for field in (*_CREDENTIALS, "tlsCertificates") if field in given]
    if sources and "serverCertificate" in given and "privateKey" in given:
        yield error(f"not accepted beside {sources[0]}", *path, "serverCertificate")
    if tls.mode in _TERMINATING and not any(field in given for field in _CREDENTIALS):
        yield from _files(tls, path)
    yield from _revocations(tls, path)


def _certificates(tls: ServerTls) -> list[str]:
    """Fields that say where certificates are."""
    fields = {
        "serverCertificate": tls.server_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "caCrl": tls.ca_crl,
        "tlsCertificates": tls.tls_certificates,
        "credentialName": tls.credential_name,
        "credentialNames": tls.credential_names,
    }
    return [field for field, value in fields.items() if value]


def _files(tls: ServerTls, path: Path) -> Iterator[Remark]:
    """Without a credential, files must have everything."""
    if tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL") and not tls.ca_certificates:
        yield error(f"missing; mode {tls.mode} needs it, or a credentialName", *path, "caCertificates")
    if tls.tls_certificates:
        for number, pair in enumerate(tls.tls_certificates):
            yield from _pair(pair, tls.mode, (*path, "tlsCertificates", number))
    else:
        yield from _pair(tls, tls.mode, path)


def _pair(pair: ServerTls | TlsCertificate, mode: str, path: Path) -> Iterator[Remark]:
    for field, file in (("serverCertificate", pair.server_certificate), ("privateKey", pair.private_key)):
        if not file:
            yield error(f"missing; mode {mode} needs it, or a credentialName", *path, field)


def _revocations(tls: ServerTls, path: Path) -> Iterator[Remark]:
    if not tls.ca_crl:
        return
    if tls.credential_name and tls.mode not in _TERMINATING:
        yield error("not accepted beside credentialName, whose Secret holds it", *path, "caCrl")
    elif tls.mode == "SIMPLE" and not (tls.credential_name or tls.credential_names):
        yield error("not accepted with mode SIMPLE, which asks clients for no certificate", *path, "caCrl")


def _ciphers(tls: ServerTls, path: Path) -> Iterator[Remark]:
    if tls.min_protocol_version in _OLD and not tls.cipher_suites:
        told = f"{tls.min_protocol_version} has no cipher in common with the default ones; name some in cipherSuites"
        yield warning(told, *path, "minProtocolVersion")
    seen: set[str] = set()
    for number, cipher in enumerate(tls.cipher_suites):
        is_expression = not cipher or cipher == "ALL" or not cipher[0].isalnum()  # such as -ALL, of OpenSSL's language
        if not is_expression and cipher not in _CIPHERS:
            yield warning(f"{said(cipher, 'a cipher of BoringSSL')}; it is left out", *path, "cipherSuites", number)
        elif cipher in seen:
            yield warning(f"read {cipher!r}, which is given already; it is left out", *path, "cipherSuites", number)
        seen.add(cipher)
