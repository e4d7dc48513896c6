"""One root takes another's place, moment by moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from cryptography import x509

from agent.controller.authority.ca import Authority
from agent.controller.authority.trust import Periods, Trust, begun, due, step
from tests.support.authorities import NOW, YEAR, Issuer, an_authority

HOUR = timedelta(hours=1)
PERIODS = Periods(overlap=24 * HOUR, longest_life=100 * HOUR)
OLD, NEW, OTHER = an_authority("old"), an_authority("new"), an_authority("other")


def wanting(issuer: Issuer, *others: Issuer) -> Authority:
    return Authority(issuer[1], issuer[0], other_roots=tuple(each[0] for each in others))


def through(*authorities: x509.Certificate) -> Authority:
    """An intermediate of the old root."""
    certificate, key = an_authority("signer", OLD)
    return Authority(key, OLD[0], (certificate,))


def trusted(trust: Trust) -> set[x509.Certificate]:
    authority = trust.authority
    return {authority.root, *authority.other_roots}


def test_a_mesh_without_a_past_trusts_what_is_wanted_and_signs_with_it() -> None:
    trust = begun(wanting(OLD, OTHER), NOW)
    assert trust.authority == wanting(OLD, OTHER)
    assert step(trust, wanting(OLD, OTHER), NOW + HOUR, PERIODS) == trust
    assert due(trust, wanting(OLD, OTHER), PERIODS) is None


def test_another_intermediate_of_the_root_signs_at_once() -> None:
    signer = through()
    trust = step(begun(wanting(OLD), NOW), signer, NOW, PERIODS)
    assert trust.authority == signer
    assert due(trust, signer, PERIODS) is None


def test_a_new_root_is_trusted_at_once_and_signs_when_everybody_has_heard_of_it() -> None:
    trust = step(begun(wanting(OLD), NOW), wanting(NEW), NOW, PERIODS)
    assert trust.authority == wanting(OLD, NEW)
    assert due(trust, wanting(NEW), PERIODS) == NOW + 24 * HOUR
    assert step(trust, wanting(NEW), NOW + 23 * HOUR, PERIODS) == trust
    later = step(trust, wanting(NEW), NOW + 24 * HOUR, PERIODS)
    assert later.authority == wanting(NEW, OLD)
    assert due(later, wanting(NEW), PERIODS) == NOW + 124 * HOUR


def test_the_old_root_is_trusted_until_its_last_certificate_has_expired() -> None:
    trust = begun(wanting(OLD), NOW)
    for hours in (0, 24, 123):
        trust = step(trust, wanting(NEW), NOW + hours * HOUR, PERIODS)
    assert trusted(trust) == {NEW[0], OLD[0]}
    trust = step(trust, wanting(NEW), NOW + 124 * HOUR, PERIODS)
    assert trusted(trust) == {NEW[0]}
    assert due(trust, wanting(NEW), PERIODS) is None


def test_a_root_that_expires_itself_goes_before_that() -> None:
    dying = an_authority("dying", life=50 * HOUR)
    trust = step(begun(wanting(dying), NOW), wanting(NEW), NOW, PERIODS)
    trust = step(trust, wanting(NEW), NOW + 24 * HOUR, PERIODS)
    assert due(trust, wanting(NEW), PERIODS) == NOW + 50 * HOUR
    assert trusted(step(trust, wanting(NEW), NOW + 50 * HOUR, PERIODS)) == {NEW[0]}


def test_whoever_hands_the_new_root_out_first_need_not_wait_a_second_time() -> None:
    trust = step(begun(wanting(OLD), NOW), wanting(OLD, NEW), NOW, PERIODS)
    assert trust.authority == wanting(OLD, NEW)
    trust = step(trust, wanting(NEW, OLD), NOW + 24 * HOUR, PERIODS)
    assert trust.authority == wanting(NEW, OLD)


def test_a_root_that_has_signed_lingers_also_when_somebody_has_listed_it_for_a_while() -> None:
    trust = step(begun(wanting(OLD), NOW), wanting(OLD, NEW), NOW, PERIODS)
    trust = step(trust, wanting(NEW, OLD), NOW + 24 * HOUR, PERIODS)
    trust = step(trust, wanting(NEW), NOW + 25 * HOUR, PERIODS)
    assert trusted(trust) == {NEW[0], OLD[0]}


def test_a_root_that_never_signed_goes_with_its_entry() -> None:
    assert trusted(step(begun(wanting(OLD, OTHER), NOW), wanting(OLD), NOW, PERIODS)) == {OLD[0]}


def test_who_changes_their_mind_in_time_has_changed_nothing() -> None:
    first = begun(wanting(OLD), NOW)
    trust = step(first, wanting(NEW), NOW, PERIODS)
    assert step(trust, wanting(OLD), NOW + HOUR, PERIODS) == first


def test_who_goes_back_after_that_waits_for_nobody_and_the_new_one_lingers() -> None:
    trust = begun(wanting(OLD), NOW)
    for hours in (0, 24):
        trust = step(trust, wanting(NEW), NOW + hours * HOUR, PERIODS)
    trust = step(trust, wanting(OLD), NOW + 25 * HOUR, PERIODS)
    assert trust.authority == wanting(OLD, NEW)
    assert due(trust, wanting(OLD), PERIODS) == NOW + 125 * HOUR
    trust = step(trust, wanting(OTHER), NOW + 200 * HOUR, PERIODS)
    assert due(trust, wanting(OTHER), PERIODS) == NOW + 224 * HOUR


def test_a_third_root_begins_its_own_wait() -> None:
    trust = step(begun(wanting(OLD), NOW), wanting(NEW), NOW, PERIODS)
    trust = step(trust, wanting(OTHER), NOW + 20 * HOUR, PERIODS)
    assert trust.authority == wanting(OLD, OTHER)
    assert due(trust, wanting(OTHER), PERIODS) == NOW + 44 * HOUR


def test_an_authority_that_has_expired_is_replaced_at_once() -> None:
    dying = an_authority("dying", life=HOUR)
    trust = step(begun(wanting(dying), NOW), wanting(NEW), NOW, PERIODS)
    assert due(trust, wanting(NEW), PERIODS) == NOW + HOUR
    assert step(trust, wanting(NEW), NOW + HOUR, PERIODS).authority == wanting(NEW)


def test_a_root_renewed_with_the_same_key_is_another_root() -> None:
    again = an_authority("old", key=OLD[1], life=2 * YEAR)
    trust = step(begun(wanting(OLD), NOW), wanting(again), NOW, PERIODS)
    assert trust.authority == replace(wanting(OLD), other_roots=(again[0],))
