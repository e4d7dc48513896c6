"""The authority that a Secret holds: what is accepted, and what is said of the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store

from agent.controller.authority.ca import key_pem, parse_request, self_sign
from agent.controller.authority.secret import own, read
from agent.errors import ConfigError
from agent.model import Identity
from tests.support.authorities import (
    MIDDLE,
    NOW,
    ROOT,
    SIGNER,
    YEAR,
    Issuer,
    a_secret,
    an_authority,
    cert_managers,
    pem,
    plugged_in,
)
from tests.support.controller import a_csr


def test_an_intermediate_signs_and_its_chain_leads_to_the_root() -> None:
    authority = read(plugged_in(), NOW)
    leaf, *middle, roots = authority.sign_workload(parse_request(a_csr()), Identity("shop", "web"), YEAR, NOW)
    assert [each.encode() for each in middle] == [pem(SIGNER[0]), pem(MIDDLE[0])]
    assert roots.encode() == pem(ROOT[0])
    verifier = PolicyBuilder().store(Store([ROOT[0]])).time(NOW).build_client_verifier()
    verifier.verify(x509.load_pem_x509_certificate(leaf.encode()), [SIGNER[0], MIDDLE[0]])


@pytest.mark.parametrize(
    "chain", [pem(MIDDLE[0]), pem(ROOT[0], MIDDLE[0], SIGNER[0]), pem(an_authority("x")[0], MIDDLE[0])]
)
def test_the_chain_may_be_in_any_order_and_hold_more(chain: bytes) -> None:
    assert read(plugged_in(cert_chain=chain), NOW).intermediates == (SIGNER[0], MIDDLE[0])


def test_an_rsa_key_signs_as_well() -> None:
    certificate, key = an_authority("signer", ROOT, rsa.generate_private_key(65537, 2048))
    authority = read(plugged_in(ca_cert=pem(certificate), ca_key=key_pem(key), cert_chain=b""), NOW)
    leaf, *_ = authority.sign_workload(parse_request(a_csr()), Identity("shop", "web"), YEAR, NOW)
    x509.load_pem_x509_certificate(leaf.encode()).verify_directly_issued_by(certificate)


def test_every_root_that_is_given_is_trusted() -> None:
    other = an_authority("other")[0]
    assert read(plugged_in(root_cert=pem(other, ROOT[0])), NOW).root_pem.encode() == pem(ROOT[0], other)


def test_no_leaf_outlives_what_vouches_for_it() -> None:
    middle = an_authority("middle", ROOT, life=timedelta(hours=2))
    signer = an_authority("signer", middle)
    authority = read(
        a_secret(ca_cert=pem(signer[0]), ca_key=key_pem(signer[1]), cert_chain=pem(middle[0]), root_cert=pem(ROOT[0])),
        NOW,
    )
    leaf, *_ = authority.sign_workload(parse_request(a_csr()), Identity("shop", "web"), YEAR, NOW)
    assert x509.load_pem_x509_certificate(leaf.encode()).not_valid_after_utc == NOW + timedelta(hours=2)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ca_cert": b""}, "ca-cert.pem: accepted are certificates"),
        ({"ca_key": b"secret"}, "ca-key.pem: accepted is a private key"),
        ({"ca_key": key_pem(ROOT[1])}, "ca-key.pem is not the key of ca-cert.pem"),
        ({"cert_chain": b""}, "cert-chain.pem does not lead to root-cert.pem"),
        ({"root_cert": pem(an_authority("root")[0])}, "does not lead"),
        ({"root_cert": b"no PEM"}, "root-cert.pem: accepted are certificates"),
        ({"root_cert": pem(an_authority("root", key=ROOT[1], life=-timedelta(hours=1))[0])}, "expired"),
    ],
)
def test_what_cannot_be_used_is_named_and_never_shown(changed: dict[str, bytes], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^Secret istio-system/cacerts: .*{says}") as caught:
        read(plugged_in(**changed), NOW)
    assert "secret" not in str(caught.value)


EXPIRED = -timedelta(hours=1)


@pytest.mark.parametrize(
    ("signer", "says"),
    [
        (an_authority("leaf", MIDDLE, signs=False), "ca-cert.pem: 'CN=leaf' is not the certificate of an authority"),
        (an_authority("old", MIDDLE, life=EXPIRED), "ca-cert.pem: 'CN=old' expired at 2025-12-31 23:00 UTC"),
        (
            an_authority("early", MIDDLE, begins=timedelta(hours=1)),
            "ca-cert.pem: 'CN=early' is not valid before 2026-01-01 01:00 UTC",
        ),
        (
            an_authority("weak", MIDDLE, rsa.generate_private_key(65537, 1024)),
            "ca-cert.pem: 'CN=weak' has a weak key: key not accepted; accepted are ECDSA from P-256 on",
        ),
        (
            an_authority("stranger", an_authority("nobody")),
            "cert-chain.pem does not lead to root-cert.pem: nobody there has signed the certificate of 'CN=stranger'",
        ),
    ],
    ids=["no authority", "expired", "not valid yet", "weak", "of another root"],
)
def test_a_signer_that_may_not_sign_is_named(signer: Issuer, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(plugged_in(ca_cert=pem(signer[0]), ca_key=key_pem(signer[1])), NOW)
    assert str(caught.value).startswith(f"Secret istio-system/cacerts: {says}")


@pytest.mark.parametrize(
    ("middle", "says"),
    [
        (an_authority("middle", ROOT, life=EXPIRED), "cert-chain.pem: 'CN=middle' expired"),
        (an_authority("middle", ROOT, most_below=0), "cert-chain.pem: 'CN=middle' lets 0 authorities be below it, and"),
        (an_authority("middle", ROOT, signs=False), "cert-chain.pem: 'CN=middle' is not the certificate of an author"),
    ],
    ids=["expired", "too short a path", "no authority"],
)
def test_what_stands_between_is_looked_at_as_well(middle: Issuer, says: str) -> None:
    signer = an_authority("signer", middle)
    with pytest.raises(ConfigError, match=says):
        read(plugged_in(ca_cert=pem(signer[0]), ca_key=key_pem(signer[1]), cert_chain=pem(middle[0])), NOW)


def test_an_intermediate_without_a_root_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"root-cert\.pem is missing, and ca-cert\.pem is no root itself"):
        read(plugged_in(root_cert=b""), NOW)


def test_what_cert_manager_writes_is_the_same() -> None:
    assert read(cert_managers(), NOW) == read(plugged_in(), NOW)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"tls.key": b"secret"}, "tls.key: accepted is a private key"),
        ({"ca.crt": b""}, "ca.crt is missing, and tls.crt is no root itself"),
        ({"tls.crt": pem(SIGNER[0])}, "tls.crt does not lead to ca.crt"),
    ],
)
def test_what_is_wrong_with_it_is_said_in_its_own_words(changed: dict[str, bytes], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^Secret istio-system/cacerts: {says}"):
        read(cert_managers(**changed), NOW)


def test_what_is_made_is_read_again() -> None:
    made = self_sign(ec.generate_private_key(ec.SECP256R1()), NOW)
    secret = own(made)
    assert (secret["metadata"]["name"], secret["type"]) == ("istio-ca-secret", "istio.io/ca-root")
    assert read(secret, NOW) == made
