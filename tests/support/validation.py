"""What the validation says of an object, in a form that tests compare."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from agent.api.validation import Validation, validate


def validated(kind: str, spec: str, **metadata: Any) -> Validation:
    """The verdict on an object; `spec` is YAML, `kind` is written API-VERSION/KIND."""
    api_version, _, name = kind.rpartition("/")
    named = {"name": "tested", "namespace": "shop", **metadata}
    found = yaml.safe_load(textwrap.dedent(spec))
    return validate({"apiVersion": api_version, "kind": name, "metadata": named, "spec": found}, "test.yaml")


def errors(kind: str, spec: str, **metadata: Any) -> dict[str, str]:
    """What is said of each field that makes the object unusable."""
    return {fault.field: fault.text for fault in validated(kind, spec, **metadata).errors}


def warnings(kind: str, spec: str, **metadata: Any) -> dict[str, str]:
    """What is said of each field of an object that can be used."""
    answer = validated(kind, spec, **metadata)
    assert not answer.errors, answer.errors
    return {fault.field: fault.text for fault in answer.warnings}
