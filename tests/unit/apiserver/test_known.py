from agent.apiserver.known import Known
from agent.kube import POD, Change, ChangeType, Object

ADDED, MODIFIED, DELETED = ChangeType.ADDED, ChangeType.MODIFIED, ChangeType.DELETED


def a_pod(name: str, version: int = 1, uid: str = "") -> Object:
    metadata = {"namespace": "shop", "name": name, "uid": uid or name, "resourceVersion": str(version)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def told(known: Known, *pages: list[Object]) -> list[list[Change]]:
    """What a list of these pages tells, after each page and at its end."""
    listing = known.listing()
    return [*map(listing.page, pages), listing.end()]


def change(type_: ChangeType, pod: Object) -> Change:
    return Change(type_, POD, pod)


def test_a_list_tells_what_is_gone_before_what_is_new() -> None:
    known = Known(POD)
    web, db, cache = a_pod("web"), a_pod("db"), a_pod("cache")
    told(known, [web, db])
    newer = a_pod("db", 2)
    wanted = [change(DELETED, web), change(MODIFIED, newer), change(ADDED, cache)]
    assert told(known, [newer], [cache]) == [[], [], wanted]


def test_the_first_list_is_told_as_it_comes() -> None:
    web, db = a_pod("web"), a_pod("db")
    assert told(Known(POD), [web], [db]) == [[change(ADDED, web)], [change(ADDED, db)], []]


def test_a_first_list_that_broke_off_is_told_once_it_has_been_read_anew() -> None:
    known = Known(POD)
    web, db, cache = a_pod("web"), a_pod("db"), a_pod("cache")
    known.listing().page([web, db])
    assert told(known, [db], [cache]) == [[], [], [change(DELETED, web), change(ADDED, cache)]]


def test_what_is_known_already_is_no_change() -> None:
    known = Known(POD)
    web = a_pod("web")
    told(known, [web])
    assert known.stored(web) == []
    assert told(known, [a_pod("web")]) == [[], []]
    assert known.removed(web) == [change(DELETED, web)]
    assert known.removed(web) == []


def test_another_object_of_the_same_name_comes_after_the_old_one_has_gone() -> None:
    known = Known(POD)
    old, new = a_pod("web", 1, uid="1"), a_pod("web", 5, uid="2")
    known.stored(old)
    assert told(known, [new]) == [[], [change(DELETED, old), change(ADDED, new)]]


def test_a_deleted_object_carries_its_last_state() -> None:
    known = Known(POD)
    known.stored(a_pod("web"))
    last = a_pod("web", 7)
    assert known.removed(last) == [change(DELETED, last)]
