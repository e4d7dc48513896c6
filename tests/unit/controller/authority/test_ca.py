import base64
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store

from agent.controller.authority.ca import Authority, accepted_key, load_or_create, parse_request
from agent.errors import ConfigError, ForbiddenError, InvalidObjectError
from agent.model import Identity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB = Identity("shop", "web")
HOUR = timedelta(hours=1)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def a_csr(key: PrivateKey | None = None, *names: x509.GeneralName, common_name: str = "") -> str:
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    used = key or ec.generate_private_key(ec.SECP256R1())
    algorithm = None if isinstance(used, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(used, algorithm).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return load_or_create(tmp_path_factory.mktemp("ca"), NOW)


def leaf_of(authority: Authority, csr: str, ttl: timedelta = HOUR) -> x509.Certificate:
    chain = authority.sign_workload(parse_request(csr), WEB, ttl, NOW)
    return x509.load_pem_x509_certificate(chain[0].encode())


def test_the_chain_is_the_leaf_then_the_root(authority: Authority) -> None:
    chain = authority.sign_workload(parse_request(a_csr()), WEB, HOUR, NOW)
    assert len(chain) == 2
    assert x509.load_pem_x509_certificate(chain[-1].encode()) == authority.root
    x509.load_pem_x509_certificate(chain[0].encode()).verify_directly_issued_by(authority.root)


def test_a_leaf_passes_the_verification_of_a_strict_client(authority: Authority) -> None:
    leaf = leaf_of(authority, a_csr())
    verifier = PolicyBuilder().store(Store([authority.root])).time(NOW).build_client_verifier()
    verified = verifier.verify(leaf, [])
    assert verified.subjects == [x509.UniformResourceIdentifier(str(WEB))]


def test_a_leaf_says_who_it_is_in_a_critical_name_and_nothing_else(authority: Authority) -> None:
    leaf = leaf_of(authority, a_csr(None, common_name="admin"))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/web")]
    assert leaf.subject == x509.Name([])
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


@pytest.mark.parametrize(
    ("ttl", "backdate"),
    [
        (timedelta(hours=24), timedelta(minutes=2)),
        (timedelta(seconds=60), timedelta(seconds=6)),
        (timedelta(seconds=1), timedelta(0)),
    ],
)
def test_half_of_its_life_is_always_ahead_of_a_new_leaf(
    authority: Authority, ttl: timedelta, backdate: timedelta
) -> None:
    leaf = leaf_of(authority, a_csr(), ttl)
    assert leaf.not_valid_after_utc == NOW + ttl
    assert abs(leaf.not_valid_before_utc - (NOW - backdate)) <= timedelta(seconds=1)
    assert leaf.not_valid_before_utc + (leaf.not_valid_after_utc - leaf.not_valid_before_utc) / 2 > NOW - timedelta(
        seconds=1
    )


def test_a_leaf_does_not_outlive_the_root(authority: Authority) -> None:
    assert leaf_of(authority, a_csr(), timedelta(days=5000)).not_valid_after_utc == authority.root.not_valid_after_utc


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_strong_keys_are_signed(authority: Authority, key: PrivateKey) -> None:
    assert leaf_of(authority, a_csr(key)).public_key() == key.public_key()


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP224R1()),
        rsa.generate_private_key(65537, 1024),
        ed25519.Ed25519PrivateKey.generate(),
    ],
)
def test_weak_and_other_keys_are_refused(key: PrivateKey) -> None:
    with pytest.raises(InvalidObjectError, match="accepted are ECDSA from P-256 on"):
        parse_request(a_csr(key))


def test_a_key_that_takes_long_to_reckon_with_is_refused() -> None:
    with pytest.raises(ValueError, match="RSA of 2048 to 8192 bits"):
        accepted_key(rsa.RSAPublicNumbers(65537, (1 << 9000) + 1).public_key())


def test_what_else_a_csr_asks_for_is_not_granted(authority: Authority) -> None:
    asked = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
        x509.NameConstraints([x509.DNSName("example.com")], None),
        x509.OCSPNoCheck(),
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for each in asked:
        builder = builder.add_extension(each, critical=True)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    plain = leaf_of(authority, a_csr())
    leaf = leaf_of(authority, signed.public_bytes(serialization.Encoding.PEM).decode())
    assert list(leaf.extensions) == list(plain.extensions)


def test_a_csr_may_name_what_is_granted(authority: Authority) -> None:
    leaf_of(authority, a_csr(None, x509.UniformResourceIdentifier(str(WEB))))


@pytest.mark.parametrize(
    "names",
    [
        (x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/admin"),),
        (x509.UniformResourceIdentifier(str(WEB)), x509.UniformResourceIdentifier(str(WEB))),
        (x509.UniformResourceIdentifier(str(WEB)), x509.DNSName("istiod.istio-system.svc")),
        (x509.DNSName("istiod.istio-system.svc"),),
        (x509.DNSName(str(WEB)),),
    ],
)
def test_a_csr_that_names_anything_else_is_refused(authority: Authority, names: tuple[x509.GeneralName, ...]) -> None:
    with pytest.raises(ForbiddenError, match=r"granted is spiffe://cluster\.local/ns/shop/sa/web"):
        leaf_of(authority, a_csr(None, *names))


def test_a_csr_whose_signature_is_of_another_key_is_refused() -> None:
    der = bytearray(x509.load_pem_x509_csr(a_csr().encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    with pytest.raises(InvalidObjectError, match="CSR"):
        parse_request(_pem(bytes(der)))


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("text", ["", "nonsense", _pem(b"\x30\x00"), "\udc80", "x" * 20_000])
def test_noise_is_no_csr(text: str) -> None:
    with pytest.raises(InvalidObjectError, match="CSR"):
        parse_request(text)


def test_the_root_is_made_once_and_its_key_is_for_us_alone(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "ca", NOW)
    assert stat.S_IMODE((tmp_path / "ca/root-key.pem").stat().st_mode) == 0o600
    assert sorted(path.name for path in (tmp_path / "ca").iterdir()) == ["root-cert.pem", "root-key.pem"]
    again = load_or_create(tmp_path / "ca", NOW + timedelta(days=1))
    assert again.root == made.root
    assert made.root.not_valid_after_utc == NOW + timedelta(days=3650)


def test_a_start_that_was_cut_short_is_finished_with_the_same_key(tmp_path: Path) -> None:
    made = load_or_create(tmp_path, NOW)
    (tmp_path / "root-cert.pem").unlink()
    assert load_or_create(tmp_path, NOW).root.public_key() == made.root.public_key()


def test_an_authority_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    load_or_create(tmp_path / "a", NOW)
    load_or_create(tmp_path / "b", NOW)
    (tmp_path / "a/root-key.pem").write_bytes((tmp_path / "b/root-key.pem").read_bytes())
    with pytest.raises(ConfigError, match="is not the key of"):
        load_or_create(tmp_path / "a", NOW)
    with pytest.raises(ConfigError, match="expired"):
        load_or_create(tmp_path / "b", NOW + timedelta(days=4000))
    (tmp_path / "b/root-key.pem").write_text("?")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_or_create(tmp_path / "b", NOW)
    (tmp_path / "b/root-key.pem").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_or_create(tmp_path / "b", NOW)


def test_a_server_certificate_carries_its_names(authority: Authority) -> None:
    key, chain = authority.issue_server(["istiod.istio-system.svc"], HOUR, NOW)
    leaf, root = x509.load_pem_x509_certificates(chain.encode())
    assert root == authority.root
    loaded = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    assert leaf.public_key() == loaded.public_key()
    verifier = (
        PolicyBuilder().store(Store([root])).time(NOW).build_server_verifier(x509.DNSName("istiod.istio-system.svc"))
    )
    verifier.verify(leaf, [])
