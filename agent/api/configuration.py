"""Typed models of what Kubernetes keeps for others to read: ConfigMap and Secret."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import AfterValidator, Field, PlainValidator, StrictBool, StrictStr, model_validator

from agent.api.objects import NamedObject

MOST_BYTES: Final = 1024 * 1024  # of all values together; an API server accepts no more (core/v1 MaxSecretSize)


class Hidden:
    """A value on its way into a Secret: whatever goes wrong there, no error shows it."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "a value that is not shown"


def _decoded(value: object) -> bytes:
    text = value.value if isinstance(value, Hidden) else value
    if not isinstance(text, str):
        raise ValueError("accepted is base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("accepted is base64") from None  # the cause would show the value


def _encoded(value: object) -> bytes:
    text = value.value if isinstance(value, Hidden) else value
    if not isinstance(text, str):
        raise ValueError("accepted is a text")
    return text.encode()


def _bounded(values: dict[str, bytes]) -> dict[str, bytes]:
    if sum(len(value) for value in values.values()) > MOST_BYTES:
        raise ValueError(f"accepted are {MOST_BYTES} bytes in all values together")
    return values


def _bounded_texts(values: dict[str, str]) -> dict[str, str]:
    if sum(len(value.encode()) for value in values.values()) > MOST_BYTES:
        raise ValueError(f"accepted are {MOST_BYTES} bytes in all values together")
    return values


Decoded = Annotated[bytes, PlainValidator(_decoded)]
Encoded = Annotated[bytes, PlainValidator(_encoded)]


class ConfigMap(NamedObject):
    """v1 ConfigMap."""

    data: Annotated[dict[StrictStr, StrictStr], AfterValidator(_bounded_texts)] = Field(default_factory=dict)
    binary_data: Annotated[dict[StrictStr, Decoded], AfterValidator(_bounded)] = Field(default_factory=dict)
    immutable: StrictBool = False


class Secret(NamedObject):
    """v1 Secret; no value of it is in its representation or in an error."""

    type: StrictStr = "Opaque"
    data: Annotated[dict[StrictStr, Decoded], AfterValidator(_bounded)] = Field(default_factory=dict, repr=False)
    string_data: Annotated[dict[StrictStr, Encoded], AfterValidator(_bounded)] = Field(default_factory=dict, repr=False)
    immutable: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _hide(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {key: _hidden(item) if key in ("data", "stringData") else item for key, item in value.items()}

    @property
    def values(self) -> Mapping[str, bytes]:
        """All values; what is given as text counts before what is given in base64, as when it is stored."""
        return {**self.data, **self.string_data}


def _hidden(item: object) -> object:
    if isinstance(item, Mapping):
        return {key: Hidden(inner) for key, inner in item.items() if inner is not None}
    return item if item is None else Hidden(item)
