"""Reading the setting AMBIENT_ENABLEMENT_SELECTOR: which pods are enrolled, in place of the label of ambient."""

from __future__ import annotations

from agent import documents
from agent.errors import ConfigError
from agent.node.selection import Enablement

_NAME = "AMBIENT_ENABLEMENT_SELECTOR"


def enablements(text: str) -> tuple[Enablement, ...]:
    """What a YAML list of selectors says, nothing for an empty text; ConfigError names item and field."""
    if not text:
        return ()
    try:
        found = documents.load(text)
    except documents.UnreadableError as exc:
        raise ConfigError(f"{_NAME}: line {exc.line}: {exc.reason}") from exc
    value = found[0].value if len(found) == 1 else None
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{_NAME}={text!r}; accepted is a list of {{podSelector: …, namespaceSelector: …}}")
    return tuple(_enablement(number, item) for number, item in enumerate(value))


def _enablement(number: int, item: object) -> Enablement:
    # Imported on use: an agent without this setting has no use for the memory that models take.
    from pydantic import ValidationError

    from agent.api.enablement import EnablementSelector
    from agent.api.faults import faults_of, in_words

    try:
        read = EnablementSelector.model_validate(item)
    except ValidationError as exc:
        raise ConfigError(f"{_NAME}: [{number}]: {in_words(faults_of(exc))}") from exc
    return Enablement(read.pod_selector, read.namespace_selector)
