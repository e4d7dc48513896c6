"""Checks of Telemetry."""

from __future__ import annotations

from collections.abc import Iterator

from agent.api.telemetry import Metrics, Telemetry
from agent.api.validation import formats
from agent.api.validation.destinations import Path
from agent.api.validation.remarks import Remark, error, faulty, said, warning
from agent.api.validation.selectors import of_selector


def applies_to(found: Telemetry) -> Iterator[Remark]:
    yield from of_selector(found.spec.selector)


def tracing(found: Telemetry) -> Iterator[Remark]:
    for number, each in enumerate(found.spec.tracing):
        path = ("spec", "tracing", number)
        if number:
            yield warning("without effect: only the first of several counts", *path)
        if len(each.providers) > 1:
            yield warning(f"read {len(each.providers)}; only the first counts", *path, "providers")
        for name, tag in each.custom_tags.items():
            place = (*path, "customTags", name)
            if not name:
                yield error(said(name, "the name of a tag"), *place)
            if not tag.model_fields_set:
                yield warning("without effect: it has none of literal, environment, header, formatter", *place)


def metrics(found: Telemetry) -> Iterator[Remark]:
    for number, each in enumerate(found.spec.metrics):
        path = ("spec", "metrics", number)
        yield from _overrides(each, path)


def _overrides(metrics: Metrics, path: Path) -> Iterator[Remark]:
    for number, override in enumerate(metrics.overrides):
        for name, tag in override.tag_overrides.items():
            place = (*path, "overrides", number, "tagOverrides", name)
            if not name:
                yield warning(said(name, "the name of a tag"), *place)
            if tag.operation == "UPSERT" and not tag.value:
                yield error("missing; operation UPSERT needs it", *place, "value")


def access_logging(found: Telemetry) -> Iterator[Remark]:
    for number, each in enumerate(found.spec.access_logging):
        if each.filter is not None:
            path = ("spec", "accessLogging", number, "filter", "expression")
            yield from faulty(formats.cel(each.filter.expression), *path)
