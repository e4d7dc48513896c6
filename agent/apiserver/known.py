"""What is known of one kind's objects, and how lists and events change it. Nothing here waits or asks."""

from __future__ import annotations

from collections.abc import Iterable

from agent.kube import Change, ChangeType, Kind, Object

_Key = tuple[str, str]
_NAMING = ("namespace", "name", "uid", "resourceVersion")


class Known:
    """Which objects of a kind there are, and in which version: their names are kept, never what they hold.

    An event or an object that says nothing new gives no change, so a list may be read again at any time.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._objects: dict[_Key, Object] = {}

    def listed(self, objects: Iterable[Object]) -> list[Change]:
        """What is different in a whole list: first what is gone, so that a name or an address can be used again."""
        wanted = {_key(item): item for item in objects}
        gone = [key for key in self._objects if key not in wanted]
        changes = [change for key in gone for change in self.removed(self._objects[key])]
        return changes + [change for item in wanted.values() for change in self.stored(item)]

    def stored(self, new: Object) -> list[Change]:
        """The object is there, in this state."""
        key = _key(new)
        old = self._objects.get(key)
        self._objects[key] = _name_of(new)
        if old is None:
            return [Change(ChangeType.ADDED, self._kind, new)]
        if old["metadata"]["uid"] != new["metadata"]["uid"]:
            return [Change(ChangeType.DELETED, self._kind, old), Change(ChangeType.ADDED, self._kind, new)]
        if old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]:
            return []
        return [Change(ChangeType.MODIFIED, self._kind, new)]

    def removed(self, last: Object) -> list[Change]:
        """The object is gone; this was its last state."""
        if self._objects.pop(_key(last), None) is None:
            return []
        return [Change(ChangeType.DELETED, self._kind, last)]


def _name_of(item: Object) -> Object:
    """What is left of an object whose end nobody saw: what it is, and which one of that name."""
    metadata = {key: item["metadata"][key] for key in _NAMING if key in item["metadata"]}
    return {**{key: item[key] for key in ("apiVersion", "kind") if key in item}, "metadata": metadata}


def _key(item: Object) -> _Key:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
