from agent.apiserver.known import Known
from agent.kube import POD, Change, ChangeType, Object

ADDED, MODIFIED, DELETED = ChangeType.ADDED, ChangeType.MODIFIED, ChangeType.DELETED


def a_pod(name: str, version: int = 1, uid: str = "") -> Object:
    return {"metadata": {"namespace": "shop", "name": name, "uid": uid or name, "resourceVersion": str(version)}}


def change(type_: ChangeType, pod: Object) -> Change:
    return Change(type_, POD, pod)


def test_a_list_tells_what_is_gone_before_what_is_new() -> None:
    known = Known(POD)
    web, db, cache = a_pod("web"), a_pod("db"), a_pod("cache")
    assert known.listed([web, db]) == [change(ADDED, web), change(ADDED, db)]
    newer = a_pod("db", 2)
    assert known.listed([newer, cache]) == [change(DELETED, web), change(MODIFIED, newer), change(ADDED, cache)]


def test_what_is_known_already_is_no_change() -> None:
    known = Known(POD)
    web = a_pod("web")
    known.listed([web])
    assert known.stored(web) == known.listed([a_pod("web")]) == []
    assert known.removed(web) == [change(DELETED, web)]
    assert known.removed(web) == []


def test_another_object_of_the_same_name_comes_after_the_old_one_has_gone() -> None:
    known = Known(POD)
    old, new = a_pod("web", 1, uid="1"), a_pod("web", 5, uid="2")
    known.stored(old)
    assert known.listed([new]) == [change(DELETED, old), change(ADDED, new)]


def test_a_deleted_object_carries_its_last_state() -> None:
    known = Known(POD)
    known.stored(a_pod("web"))
    last = a_pod("web", 7)
    assert known.removed(last) == [change(DELETED, last)]
