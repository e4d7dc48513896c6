import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from agent import kube
from agent.controller import auth
from agent.controller.authority import ca
from agent.controller.authority.in_force import InForce
from agent.controller.cluster import ClusterState
from agent.controller.discovery import Discovery
from agent.controller.server import HOSTS, ServerCertificate, Services, utc_now
from agent.errors import UnavailableError
from agent.metrics import ControllerMetrics
from agent.proto import ca_pb2
from tests.support.objects import a_pod
from tests.support.signer import Signer, claims_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_servers_certificate_is_new_at_half_of_its_life_and_not_before(tmp_path: Path) -> None:
    clock = [NOW]
    own = ServerCertificate(InForce(ca.load_or_create(tmp_path, NOW)), timedelta(hours=24), lambda: clock[0])
    renewals = []
    for hours in (0, 1, 11, 12, 13, 24):
        clock[0] = NOW + timedelta(hours=hours)
        renewals.append(own.renewed() is not None)
    assert renewals == [True, False, False, True, False, True]


def test_the_server_goes_by_the_name_every_istio_part_looks_for_and_by_its_own() -> None:
    assert HOSTS == (
        "istiod.istio-system",
        "istiod.istio-system.svc",
        "istiod.istio-system.svc.cluster.local",
        "weft-controller.istio-system",
        "weft-controller.istio-system.svc",
        "weft-controller.istio-system.svc.cluster.local",
    )


class Aborted(Exception):
    """What a call ends with when it is refused."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(code, details)
        self.code = code


class FakeContext:
    """A call with these metadata."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def peer(self) -> str:
        return "ipv4:10.0.0.2:4711"

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


class World:
    """The services over a cluster with one pod, shop/web on node-1."""

    def __init__(self, folder: Path, *, synced: bool = True) -> None:
        self.signer = Signer()
        (folder / "jwks.json").write_text(self.signer.key_set())
        self.registry = CollectorRegistry()
        metrics = ControllerMetrics(self.registry)
        state = ClusterState("state")
        state.apply(kube.Change(kube.ChangeType.ADDED, kube.POD, a_pod()))
        if synced:
            state.apply(kube.Change(kube.ChangeType.SYNCED))
        self.services = Services(
            in_force=InForce(ca.load_or_create(folder / "ca", utc_now())),
            state=state,
            discovery=Discovery(metrics),
            callers=auth.KeyFile(folder / "jwks.json"),
            trusted=("istio-system/weft-proxy",),
            trust_domain="cluster.local",
            default_ttl=timedelta(hours=1),
            longest_ttl=timedelta(hours=2),
            metrics=metrics,
        )

    async def certificate(self, csr: str, identity: object, *, context: FakeContext | None = None) -> x509.Certificate:
        request = ca_pb2.IstioCertificateRequest(csr=csr)
        if identity is not None:
            request.metadata.update({"ImpersonatedIdentity": identity})
        call: Any = context or FakeContext(("authorization", f"Bearer {self.signer.token(claims_of())}"))
        response = await self.services.create_certificate(request, call)
        return x509.load_pem_x509_certificate(response.cert_chain[0].encode())

    async def refusal(self, csr: str, identity: object, *, context: FakeContext | None = None) -> grpc.StatusCode:
        with pytest.raises(Aborted) as caught:
            await self.certificate(csr, identity, context=context)
        return caught.value.code


WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture(scope="module")
def csr() -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


async def test_a_certificate_is_issued_and_counted(tmp_path: Path, csr: str) -> None:
    world = World(tmp_path)
    leaf = await world.certificate(csr, WEB)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(WEB)]
    assert world.registry.get_sample_value("citadel_server_csr_count_total") == 1
    assert world.registry.get_sample_value("citadel_server_success_cert_issuance_count_total") == 1


async def test_an_issued_certificate_is_logged_with_who_asked_for_whom(
    tmp_path: Path, csr: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = World(tmp_path)
    leaf = await world.certificate(csr, WEB)
    (facts,) = [vars(each) for each in caplog.records if each.message == "issued a certificate"]
    assert {name: str(facts[name]) for name in ("identity", "serial", "expires", "caller", "pod", "node")} == {
        "identity": WEB,
        "serial": f"{leaf.serial_number:x}",
        "expires": str(leaf.not_valid_after_utc),
        "caller": "istio-system/weft-proxy",
        "pod": "weft-proxy-node-1",
        "node": "node-1",
    }


async def test_a_refused_one_is_logged_with_who_wanted_whom_and_why_not(
    tmp_path: Path, csr: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = "spiffe://cluster.local/ns/shop/sa/db"
    await World(tmp_path).refusal(csr, other)
    (facts,) = [vars(each) for each in caplog.records if each.message == "refused a call"]
    assert {name: facts[name] for name in ("call", "code", "caller", "pod", "node", "identity", "reason")} == {
        "call": "certificate",
        "code": "PERMISSION_DENIED",
        "caller": "istio-system/weft-proxy",
        "pod": "weft-proxy-node-1",
        "node": "node-1",
        "identity": other,
        "reason": f"no pod on node node-1 runs as {other}",
    }


async def test_every_call_for_a_certificate_is_counted_by_its_outcome(tmp_path: Path, csr: str) -> None:
    world = World(tmp_path)
    await world.certificate(csr, WEB)
    await world.refusal("noise", WEB)
    await world.refusal(csr, "spiffe://cluster.local/ns/shop/sa/db")
    await world.refusal(csr, WEB, context=FakeContext())
    name = "weft_controller_certificate_requests_total"
    counts = [
        world.registry.get_sample_value(name, {"outcome": each})
        for each in ("issued", "invalid", "forbidden", "unauthenticated")
    ]
    assert counts == [1, 1, 1, 1]


async def test_a_server_keeps_its_certificate_when_its_authority_has_expired(tmp_path: Path) -> None:
    clock = [NOW]
    own = ServerCertificate(InForce(ca.load_or_create(tmp_path, NOW)), timedelta(hours=24), lambda: clock[0])
    assert own.issue_if_due() is not None
    clock[0] = NOW + timedelta(days=3650)
    assert own.issue_if_due() is None
    late = ServerCertificate(InForce(ca.load_or_create(tmp_path, NOW)), timedelta(hours=24), lambda: clock[0])
    with pytest.raises(UnavailableError, match="the mesh's authority expired at 2035-12-30"):
        late.issue_if_due()


async def test_the_servers_certificate_is_new_when_another_authority_signs(tmp_path: Path) -> None:
    in_force = InForce(ca.load_or_create(tmp_path / "one", NOW))
    own = ServerCertificate(in_force, timedelta(hours=24), lambda: NOW)
    assert [own.issue_if_due() is not None for _ in range(2)] == [True, False]
    in_force.replace(ca.load_or_create(tmp_path / "two", NOW))
    assert [own.issue_if_due() is not None for _ in range(2)] == [True, False]


async def test_without_an_identity_asked_for_the_caller_gets_its_own(tmp_path: Path, csr: str) -> None:
    leaf = await World(tmp_path).certificate(csr, None)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/istio-system/sa/weft-proxy")]


@pytest.mark.parametrize("identity", ["", 7, ["x"], "web"])
async def test_an_identity_that_is_none_is_an_invalid_argument(tmp_path: Path, csr: str, identity: object) -> None:
    assert await World(tmp_path).refusal(csr, identity) == grpc.StatusCode.INVALID_ARGUMENT


async def test_each_refusal_has_its_code(tmp_path: Path, csr: str) -> None:
    world = World(tmp_path)
    other = "spiffe://cluster.local/ns/shop/sa/db"
    assert await world.refusal("noise", WEB) == grpc.StatusCode.INVALID_ARGUMENT
    assert await world.refusal(csr, other) == grpc.StatusCode.PERMISSION_DENIED
    assert await world.refusal(csr, WEB, context=FakeContext()) == grpc.StatusCode.UNAUTHENTICATED
    assert world.registry.get_sample_value("citadel_server_authentication_failure_count_total") == 1
    assert world.registry.get_sample_value("weft_controller_forbidden_total") == 1


async def test_before_the_cluster_is_read_a_caller_is_told_to_come_back(tmp_path: Path, csr: str) -> None:
    assert await World(tmp_path, synced=False).refusal(csr, WEB) == grpc.StatusCode.UNAVAILABLE


async def test_a_header_that_claims_an_identity_proves_nothing(tmp_path: Path, csr: str) -> None:
    claims = FakeContext(("x-forwarded-client-cert", f"URI={WEB}"), ("clusterid", "Kubernetes"))
    assert await World(tmp_path).refusal(csr, WEB, context=claims) == grpc.StatusCode.UNAUTHENTICATED
