"""What a process exposes, read as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]


def series(name: str, labels: Mapping[str, str]) -> Series:
    """A sample's name with its labels, in a form that compares as a whole."""
    return name, frozenset(labels.items())


def read(text: str) -> dict[Series, float]:
    """Every sample of a page of metrics."""
    families = text_string_to_metric_families(text)
    return {series(each.name, each.labels): each.value for family in families for each in family.samples}


def increases(before: Mapping[Series, float], after: Mapping[Series, float], prefix: str) -> dict[Series, float]:
    """By how much samples with this prefix have changed; those that have not are left out."""
    changes = {key: value - before.get(key, 0.0) for key, value in after.items() if key[0].startswith(prefix)}
    return {key: change for key, change in changes.items() if change}
