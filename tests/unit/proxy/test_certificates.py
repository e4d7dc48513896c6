import asyncio
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.errors import RefusedError, UnavailableError
from agent.proxy.certificates import (
    CONCURRENCY,
    Certificates,
    State,
    accept,
    renewal_delay,
    retry_delay,
    signing_request,
    state_of,
)
from tests.support.proxy import IDENTITY, FakeAuthority, FakeClock, FakeEngine, running, until

DAY = 86400.0


def test_a_request_names_the_identity_and_nothing_else() -> None:
    request = x509.load_pem_x509_csr(signing_request(IDENTITY, ec.generate_private_key(ec.SECP256R1())))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(IDENTITY)]
    assert (list(request.subject), request.is_signature_valid) == ([], True)


async def test_takes_the_answer_apart_into_chain_and_single_roots() -> None:
    clock = FakeClock()
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await FakeAuthority(clock).sign(IDENTITY, signing_request(IDENTITY, key), DAY)
    certificate = accept(IDENTITY, key, answer, clock.now)
    root = answer[1][: len(answer[1]) // 2].encode()
    assert (certificate.chain, certificate.roots) == ((answer[0].encode(),), (root, root))
    assert certificate.not_after == clock.now + timedelta(days=1)


async def test_refuses_a_certificate_for_somebody_else() -> None:
    clock = FakeClock()
    authority = FakeAuthority(clock)
    authority.identity_instead = "spiffe://cluster.local/ns/shop/sa/admin"
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(RefusedError, match="sa/admin"):
        accept(IDENTITY, key, await authority.sign(IDENTITY, signing_request(IDENTITY, key), DAY), clock.now)


async def test_refuses_a_certificate_for_another_key() -> None:
    clock = FakeClock()
    authority = FakeAuthority(clock)
    authority.key_instead = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(RefusedError, match="another key"):
        accept(IDENTITY, key, await authority.sign(IDENTITY, signing_request(IDENTITY, key), DAY), clock.now)


async def test_refuses_a_certificate_that_is_over() -> None:
    clock = FakeClock()
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await FakeAuthority(clock).sign(IDENTITY, signing_request(IDENTITY, key), DAY)
    with pytest.raises(RefusedError, match="ended"):
        accept(IDENTITY, key, answer, clock.now + timedelta(days=2))


@pytest.mark.parametrize("answer", [[], ["no PEM", "at all"]])
def test_refuses_an_answer_without_certificates(answer: list[str]) -> None:
    with pytest.raises(RefusedError):
        accept(IDENTITY, ec.generate_private_key(ec.SECP256R1()), answer, FakeClock().now)


async def test_delays_follow_the_life_that_is_left() -> None:
    clock = FakeClock()
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await FakeAuthority(clock, lifetime_seconds=90).sign(IDENTITY, signing_request(IDENTITY, key), DAY)
    certificate = accept(IDENTITY, key, answer, clock.now)
    assert renewal_delay(certificate, clock.now, 1.1) == pytest.approx(49.5)
    assert retry_delay(certificate, clock.now, 150) == 30
    assert retry_delay(certificate, clock.now + timedelta(seconds=100), 150) == 0.5
    assert retry_delay(None, clock.now, 150) == 150
    assert state_of(certificate, "away", clock.now) is State.AVAILABLE
    assert state_of(certificate, "", clock.now + timedelta(seconds=90)) is State.UNAVAILABLE
    assert [state_of(None, "", clock.now), state_of(None, "away", clock.now)] == [
        State.INITIALIZING,
        State.UNAVAILABLE,
    ]


class World:
    """Certificates with a fake engine, authority and clock; the clock stops after `sleeps`."""

    def __init__(self, *failures: Exception, sleeps: int = 0, lifetime_seconds: float = DAY) -> None:
        self.clock = FakeClock(sleeps)
        self.engine = FakeEngine()
        self.authority = FakeAuthority(self.clock, *failures, lifetime_seconds=lifetime_seconds)
        self.certificates = Certificates(
            self.engine, self.authority, DAY, now=self.clock.time, sleep=self.clock.sleep, factor=lambda: 1.0
        )


async def test_the_engine_gets_what_it_wants_with_a_key_made_here() -> None:
    world = World()
    world.engine.extra_wanted = {IDENTITY}
    async with running(world.certificates.run()):
        await world.clock.asleep.wait()
        (status,) = world.certificates.statuses()
    key, chain, roots = world.engine.certificates[IDENTITY]
    private = load_pem_private_key(key, None)
    assert private.public_key() == x509.load_pem_x509_certificate(chain[0]).public_key()
    assert (len(chain), len(roots), status.state) == (1, 2, State.AVAILABLE)


async def test_tells_when_each_certificate_expires_and_who_has_none() -> None:
    world = World()
    world.authority.gate = asyncio.Event()
    world.engine.extra_wanted = {IDENTITY}
    async with running(world.certificates.run()):
        await until(lambda: world.authority.at_once == 1)
        assert world.certificates.expiries() == {IDENTITY: 0.0}
        world.authority.gate.set()
        await world.clock.asleep.wait()
        assert world.certificates.expiries() == {IDENTITY: world.clock.now.timestamp() + DAY}
    assert world.certificates.expiries() == {}


async def test_is_renewed_in_the_middle_of_its_life_with_a_new_key() -> None:
    world = World(sleeps=1)
    world.engine.extra_wanted = {IDENTITY}
    async with running(world.certificates.run()):
        await world.clock.asleep.wait()
    first, second = world.authority.requests
    assert world.clock.slept == [DAY / 2, DAY / 2]
    assert first.public_key() != second.public_key()


async def test_is_renewed_at_once_when_somebody_wants_it_and_then_in_its_own_time() -> None:
    world = World()
    world.engine.extra_wanted = {IDENTITY}
    async with running(world.certificates.run()):
        await world.clock.asleep.wait()
        before = world.engine.certificates[IDENTITY]
        world.certificates.renew()
        await until(lambda: len(world.clock.slept) == 2)
    assert world.clock.slept == [DAY / 2, DAY / 2]
    assert world.engine.certificates[IDENTITY] != before
    assert len(world.authority.requests) == 2


async def test_failures_are_repeated_at_doubling_intervals() -> None:
    world = World(*[UnavailableError("away")] * 10, sleeps=10)
    world.engine.extra_wanted = {IDENTITY}
    async with running(world.certificates.run()):
        await world.clock.asleep.wait()
    assert world.clock.slept[:-1] == [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 150]


async def test_the_one_in_force_stays_while_the_authority_is_away() -> None:
    world = World(sleeps=1, lifetime_seconds=60)
    world.engine.extra_wanted = {IDENTITY}
    original = world.authority.sign

    async def once(identity: str, csr: bytes, seconds: float) -> list[str]:
        if world.authority.calls:
            raise UnavailableError("away")
        return await original(identity, csr, seconds)

    world.authority.sign = once  # type: ignore[method-assign]
    async with running(world.certificates.run()):
        await world.clock.asleep.wait()
        (status,) = world.certificates.statuses()
    assert (status.state, status.error) == (State.AVAILABLE, "away")
    assert IDENTITY in world.engine.certificates
    assert world.clock.slept == [30, 0.5]


async def test_an_identity_nobody_wants_any_more_is_forgotten() -> None:
    world = World()
    world.engine.extra_wanted = {IDENTITY}
    async with running(world.certificates.run()):
        await world.clock.asleep.wait()
        world.engine.extra_wanted = set()
        world.certificates.refresh()
        await until(lambda: not world.certificates.statuses())
    assert world.engine.certificates == {}


async def test_no_more_than_eight_are_asked_for_at_once() -> None:
    world = World()
    world.authority.gate = asyncio.Event()
    world.engine.extra_wanted = {f"spiffe://cluster.local/ns/shop/sa/{number}" for number in range(20)}
    async with running(world.certificates.run()):
        await until(lambda: world.authority.at_once == CONCURRENCY)
        world.authority.gate.set()
        await until(lambda: len(world.engine.certificates) == 20)
    assert world.authority.most_at_once == CONCURRENCY


async def test_a_pod_that_is_about_to_come_has_its_certificate_first() -> None:
    world = World()
    async with running(world.certificates.run()):
        await asyncio.sleep(0)
        async with world.certificates.prepared(IDENTITY):
            assert IDENTITY in world.engine.certificates
        # The pod was not added after all.
        await until(lambda: not world.engine.certificates)


async def test_a_pod_does_not_wait_for_an_authority_that_refuses_or_is_away() -> None:
    world = World(UnavailableError("away"))
    async with running(world.certificates.run()):
        await asyncio.sleep(0)
        async with world.certificates.prepared(IDENTITY):
            assert world.engine.certificates == {}
        world.authority.gate = asyncio.Event()  # it hangs from now on: known to be away, nobody waits
        async with world.certificates.prepared("spiffe://cluster.local/ns/shop/sa/other"):
            assert world.engine.certificates == {}
