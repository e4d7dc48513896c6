"""The authority that a Secret holds: what is accepted, and what is said of the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.verification import PolicyBuilder, Store

from agent.controller.ca import key_pem, parse_request
from agent.controller.ca_secret import load_or_create, read
from agent.errors import ConfigError, ConflictError, NotFoundError
from agent.kube import Kind, Object
from agent.model import Identity
from tests.support.authorities import MIDDLE, NOW, ROOT, SIGNER, YEAR, a_secret, an_authority, pem, plugged_in
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
        ({"cert_chain": b""}, "cert-chain.pem does not lead from ca-cert.pem to root-cert.pem"),
        ({"root_cert": pem(an_authority("root")[0])}, "does not lead"),
        ({"root_cert": pem(an_authority("root", key=ROOT[1], life=-timedelta(hours=1))[0])}, "expired"),
    ],
)
def test_what_cannot_be_used_is_named_and_never_shown(changed: dict[str, bytes], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^Secret istio-system/cacerts: .*{says}") as caught:
        read(plugged_in(**changed), NOW)
    assert "secret" not in str(caught.value)


class Secrets:
    """A cluster with secrets; another controller may create its own just before us."""

    def __init__(self, *stored: Object, rival: Object | None = None) -> None:
        self.stored = {each["metadata"]["name"]: each for each in stored}
        self._rival = rival

    async def get(self, kind: Kind, namespace: str, name: str) -> Object:
        if name not in self.stored:
            raise NotFoundError(name)
        return self.stored[name]

    async def create(self, kind: Kind, new: Object) -> Object:
        if self._rival is not None:
            self.stored[new["metadata"]["name"]] = self._rival
            raise ConflictError("exists already")
        self.stored[new["metadata"]["name"]] = new
        return new


async def test_what_is_made_is_found_again() -> None:
    secrets = Secrets()
    made = await load_or_create(secrets, NOW)  # type: ignore[arg-type]
    found = await load_or_create(secrets, NOW)  # type: ignore[arg-type]
    assert (found.root, found.root_pem, found.intermediates) == (made.root, made.root_pem, ())
    assert secrets.stored["istio-ca-secret"]["type"] == "istio.io/ca-root"


async def test_whoever_is_slower_takes_what_the_other_has_made() -> None:
    other = Secrets()
    theirs = await load_or_create(other, NOW)  # type: ignore[arg-type]
    slower = Secrets(rival=other.stored["istio-ca-secret"])
    assert (await load_or_create(slower, NOW)).root == theirs.root  # type: ignore[arg-type]


async def test_what_is_plugged_in_comes_first() -> None:
    secrets = Secrets()
    await load_or_create(secrets, NOW)  # type: ignore[arg-type]
    secrets.stored["cacerts"] = plugged_in()
    assert (await load_or_create(secrets, NOW)).root == ROOT[0]  # type: ignore[arg-type]
