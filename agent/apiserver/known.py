"""What is known of one kind's objects, and how lists and events change it. Nothing here waits or asks."""

from __future__ import annotations

from collections.abc import Iterable

from agent.kube import Change, ChangeType, Kind, Object

_Key = tuple[str, str]
_Version = tuple[str, str]  # the object's UID and resourceVersion


class Known:
    """Which objects of a kind there are, and in which version: their names are kept, never what they hold.

    An event or an object that says nothing new gives no change, so a list may be read again at any time.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._objects: dict[_Key, _Version] = {}

    def listing(self) -> Listing:
        """To be told a whole list, page by page."""
        return Listing(self)

    def stored(self, new: Object) -> list[Change]:
        """The object is there, in this state."""
        key, version = _key(new), _version(new)
        old = self._objects.get(key)
        self._objects[key] = version
        if old == version:
            return []
        if old is not None and old[0] == version[0]:
            return [Change(ChangeType.MODIFIED, self._kind, new)]
        return [*self._gone(key, old), Change(ChangeType.ADDED, self._kind, new)]

    def removed(self, last: Object) -> list[Change]:
        """The object is gone; this was its last state."""
        if self._objects.pop(_key(last), None) is None:
            return []
        return [Change(ChangeType.DELETED, self._kind, last)]

    def is_news(self, item: Object) -> bool:
        """Whether storing it would change anything."""
        return self._objects.get(_key(item)) != _version(item)

    def keep_only(self, keys: Iterable[_Key]) -> list[Change]:
        """All others are gone, and nobody saw their last states."""
        gone = sorted(self._objects.keys() - keys)
        return [change for key in gone for change in self._gone(key, self._objects.pop(key))]

    @property
    def is_empty(self) -> bool:
        return not self._objects

    def _gone(self, key: _Key, version: _Version | None) -> list[Change]:
        """All that is left to say of an object whose end nobody saw: what it was, and which one of that name."""
        if version is None:
            return []
        namespace, name = key
        metadata = {"name": name, "uid": version[0], "resourceVersion": version[1]}
        if namespace:
            metadata["namespace"] = namespace
        named = {"apiVersion": self._kind.api_version, "kind": self._kind.name, "metadata": metadata}
        return [Change(ChangeType.DELETED, self._kind, named)]


class Listing:
    """A list that is being read.

    What is gone is told before what is new, so that a name or an address can be used again. What is gone is known at
    the end only: until then what is new is kept, but for a first list, before which there was nothing.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._is_first = known.is_empty
        self._seen: set[_Key] = set()
        self._kept: list[Object] = []

    def page(self, items: Iterable[Object]) -> list[Change]:
        """What can be told of the next page now."""
        changes: list[Change] = []
        for item in items:
            self._seen.add(_key(item))
            if self._is_first:
                changes += self._known.stored(item)
            elif self._known.is_news(item):
                self._kept.append(item)
        return changes

    def end(self) -> list[Change]:
        """There are no more pages."""
        return self._known.keep_only(self._seen) + [
            change for item in self._kept for change in self._known.stored(item)
        ]


def _key(item: Object) -> _Key:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _version(item: Object) -> _Version:
    metadata = item["metadata"]
    return metadata["uid"], metadata["resourceVersion"]
