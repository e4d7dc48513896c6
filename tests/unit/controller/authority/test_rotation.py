"""What becomes of the mesh's authority when somebody changes, breaks or deletes its Secrets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.controller.authority import record as ca_record
from agent.controller.authority import secret as ca_secret
from agent.controller.authority.ca import Authority, key_pem
from agent.controller.authority.rotation import OwnRoot, Rotation
from agent.controller.authority.trust import Periods
from agent.errors import ConfigError, UnavailableError
from agent.kube import Object
from tests.support.authorities import MIDDLE, NOW, ROOT, SIGNER, an_authority, pem, plugged_in
from tests.support.secrets import Secrets

HOUR = timedelta(hours=1)
PERIODS = Periods(overlap=24 * HOUR, longest_life=100 * HOUR)
OWN = OwnRoot(1000 * HOUR, 20)
NEW = an_authority("new")


def rooted(root: tuple[Any, Any]) -> Object:
    """cacerts with a root that signs itself."""
    return plugged_in(ca_cert=pem(root[0]), ca_key=key_pem(root[1]), cert_chain=b"", root_cert=pem(root[0]))


class Controller:
    """One of several, whose clock stands still until a test moves it."""

    def __init__(self, secrets: Secrets) -> None:
        self.now = NOW
        self.rotation = Rotation(secrets, PERIODS, OWN, self._time)  # type: ignore[arg-type]

    def _time(self) -> datetime:
        return self.now

    @property
    def authority(self) -> Authority:
        return self.rotation.in_force.authority

    async def until(self, *roots: Any) -> None:
        """It trusts these roots, and signs with the first of them."""
        while (self.authority.root, *self.authority.other_roots) != roots:
            await self.rotation.in_force.replaced()

    async def pass_time(self, hours: float) -> None:
        """As if it had slept until then."""
        self.now += hours * HOUR
        await self.rotation._settle()


@contextlib.asynccontextmanager
async def running(secrets: Secrets) -> AsyncIterator[Controller]:
    controller = Controller(secrets)
    await controller.rotation.begin()
    task = asyncio.create_task(controller.rotation.run())
    async with asyncio.timeout(10):
        yield controller
    task.cancel()
    await asyncio.wait([task])


async def began(secrets: Secrets) -> Controller:
    controller = Controller(secrets)
    await controller.rotation.begin()
    return controller


async def test_without_a_secret_the_first_controller_makes_a_root_and_the_next_one_finds_it() -> None:
    secrets = Secrets()
    first = await began(secrets)
    assert first.authority == (await began(secrets)).authority
    assert first.authority.expires == NOW + 1000 * HOUR
    assert ca_record.read(secrets.stored["weft-ca-record"]).authority == first.authority


async def test_of_two_that_begin_at_once_the_slower_takes_what_the_other_has_made() -> None:
    other, secrets = Secrets(), Secrets()
    theirs = await began(other)
    secrets.before_write = lambda: [secrets.put(each) for each in other.stored.values()] and None
    assert (await began(secrets)).authority == theirs.authority


async def test_what_is_plugged_in_comes_first() -> None:
    assert (await began(Secrets(plugged_in()))).authority == Authority(SIGNER[1], ROOT[0], (SIGNER[0], MIDDLE[0]))


async def test_another_intermediate_is_taken_up_while_it_runs() -> None:
    secrets, signer = Secrets(plugged_in()), an_authority("next", ROOT)
    async with running(secrets) as controller:
        secrets.put(plugged_in(ca_cert=pem(signer[0]), ca_key=key_pem(signer[1]), cert_chain=b""))
        await controller.rotation.in_force.replaced()
        assert controller.authority == Authority(signer[1], ROOT[0], (signer[0],))


async def test_another_root_is_trusted_first_then_signs_and_then_is_alone() -> None:
    secrets = Secrets(rooted(ROOT))
    async with running(secrets) as controller:
        secrets.put(rooted(NEW))
        await controller.until(ROOT[0], NEW[0])
        await controller.pass_time(23.9)
        await controller.until(ROOT[0], NEW[0])
        await controller.pass_time(0.1)
        await controller.until(NEW[0], ROOT[0])
        await controller.pass_time(99.9)
        await controller.until(NEW[0], ROOT[0])
        await controller.pass_time(0.1)
        await controller.until(NEW[0])


async def test_a_controller_that_starts_meanwhile_signs_with_the_key_that_is_gone_from_its_secret() -> None:
    secrets = Secrets(rooted(ROOT))
    await began(secrets)
    secrets.put(rooted(NEW))
    late = await began(secrets)
    assert late.authority == Authority(ROOT[1], ROOT[0], other_roots=(NEW[0],))
    assert late.authority.key.public_key() == ROOT[1].public_key()


async def test_two_controllers_go_the_same_way(caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets(rooted(ROOT))
    async with running(secrets) as one, running(secrets) as two:
        secrets.put(rooted(NEW))
        for each in (one, two):
            await each.until(ROOT[0], NEW[0])
        await two.pass_time(24)  # by its clock; the other one hears of it
        for each in (one, two):
            await each.until(NEW[0], ROOT[0])


async def test_what_goes_away_is_followed_by_a_root_of_our_own_not_before_everybody_knows() -> None:
    secrets = Secrets(plugged_in())
    async with running(secrets) as controller:
        secrets.remove("cacerts")
        await controller.rotation.in_force.replaced()
        made = ca_secret.read(secrets.stored["istio-ca-secret"], NOW).root
        await controller.until(ROOT[0], made)
        assert controller.authority.signer == SIGNER[0]


async def test_deleting_our_own_root_renews_it() -> None:
    secrets = Secrets()
    async with running(secrets) as controller:
        first = controller.authority.root
        secrets.remove("istio-ca-secret")
        await controller.rotation.in_force.replaced()
        second = ca_secret.read(secrets.stored["istio-ca-secret"], NOW).root
        assert second != first
        await controller.until(first, second)


async def test_our_own_root_is_renewed_before_it_expires() -> None:
    secrets = Secrets()
    controller = await began(secrets)
    first = controller.authority.root
    await controller.pass_time(799)
    assert controller.authority.other_roots == ()
    await controller.pass_time(1)
    second = ca_secret.read(secrets.stored["istio-ca-secret"], controller.now)
    assert (controller.authority.root, *controller.authority.other_roots) == (first, second.root)
    assert second.expires == NOW + 1800 * HOUR
    await controller.pass_time(24)
    assert (controller.authority.root, *controller.authority.other_roots) == (second.root, first)


async def test_what_somebody_else_vouches_for_is_theirs_to_renew() -> None:
    controller = await began(Secrets(plugged_in()))
    stored = dict(controller.rotation._stored)
    await controller.pass_time(87599)
    assert controller.rotation._stored == stored


async def test_a_secret_that_cannot_be_used_changes_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets(plugged_in())
    controller = await began(secrets)
    before = controller.authority
    secrets.put(plugged_in(ca_key=key_pem(NEW[1])))
    says = "Secret istio-system/cacerts: ca-key.pem is not the key of ca-cert.pem"
    for _ in range(2):
        await controller.rotation._read()
        await controller.pass_time(0)
    assert controller.authority is before
    assert controller.rotation.problems() == [f"{says}; the last good authority goes on"]
    errors = [vars(each)["reason"] for each in caplog.records if each.levelno == logging.ERROR]
    assert [str(each) for each in errors] == [says]
    secrets.put(plugged_in())
    await controller.rotation._read()
    await controller.pass_time(0)
    assert controller.rotation.problems() == []


async def test_a_controller_that_starts_with_such_a_secret_goes_on_with_what_was_last_in_force() -> None:
    secrets = Secrets(rooted(ROOT))
    await began(secrets)
    secrets.put(plugged_in(ca_cert=b""))
    late = await began(secrets)
    assert late.authority == Authority(ROOT[1], ROOT[0])
    assert len(late.rotation.problems()) == 1


async def test_without_a_past_such_a_secret_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"cacerts: ca-cert\.pem"):
        await began(Secrets(plugged_in(ca_cert=b"")))


async def test_a_record_that_somebody_has_spoilt_is_put_right() -> None:
    secrets = Secrets(rooted(ROOT))
    async with running(secrets):
        whole = ca_record.read(secrets.stored["weft-ca-record"])
        secrets.put({**secrets.stored["weft-ca-record"], "data": {}})
        await secrets.written("weft-ca-record")
        assert ca_record.read(secrets.stored["weft-ca-record"]) == whole


async def test_a_controller_that_finds_only_a_spoilt_record_says_what_deleting_it_does() -> None:
    secrets = Secrets(rooted(ROOT))
    await began(secrets)
    secrets.put({**secrets.stored["weft-ca-record"], "data": {}})
    with pytest.raises(ConfigError, match=r"weft-ca-record: ca-cert\.pem .*a mesh without this Secret trusts at once"):
        await began(secrets)


async def test_deleting_the_record_forgets_the_past_at_once() -> None:
    secrets = Secrets(rooted(ROOT))
    async with running(secrets) as controller:
        secrets.put(rooted(NEW))
        await controller.until(ROOT[0], NEW[0])
        secrets.remove("weft-ca-record")
        await controller.until(NEW[0])
    assert ca_record.read(secrets.stored["weft-ca-record"]).authority == Authority(NEW[1], NEW[0])


async def test_what_cannot_be_recorded_is_not_in_force_and_tried_again() -> None:
    secrets = Secrets(rooted(ROOT))
    controller = await began(secrets)
    secrets.put(rooted(NEW))
    await controller.rotation._read()
    secrets.failure = UnavailableError("away")
    with pytest.raises(UnavailableError):
        await controller.pass_time(0)
    assert controller.authority == Authority(ROOT[1], ROOT[0])
    secrets.failure = None
    await controller.pass_time(0)
    assert controller.authority.other_roots == (NEW[0],)
