"""Whoever hands roots out begins anew when they change, and at no other time."""

from __future__ import annotations

import asyncio

import pytest

from agent.controller.authority.ca import Authority
from agent.controller.authority.in_force import InForce
from tests.support.authorities import ROOT, an_authority

OLD = Authority(ROOT[1], ROOT[0])
OTHER = an_authority("other")[0]
BOTH = Authority(ROOT[1], ROOT[0], other_roots=(OTHER,))
SIGNER = an_authority("signer", ROOT)


async def test_work_begins_anew_with_new_roots_and_goes_on_with_another_intermediate() -> None:
    in_force, begun = InForce(OLD), asyncio.Queue[str]()

    async def work(roots: str) -> None:
        begun.put_nowait(roots)
        await asyncio.Event().wait()

    task = asyncio.create_task(in_force.with_roots(work))
    assert await begun.get() == OLD.root_pem
    in_force.replace(Authority(SIGNER[1], ROOT[0], (SIGNER[0],)))
    in_force.replace(BOTH)
    assert await begun.get() == BOTH.root_pem
    assert begun.empty()
    task.cancel()
    await asyncio.wait([task])


async def test_what_fails_is_told() -> None:
    async def work(roots: str) -> None:
        raise ValueError(roots)

    with pytest.raises(ExceptionGroup) as caught:
        await InForce(OLD).with_roots(work)
    assert caught.group_contains(ValueError, match="BEGIN CERTIFICATE")
