"""Quantities of Kubernetes, such as 100m, 1.5 and 128Mi."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import PlainValidator

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?")
_DECIMAL = (("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18))
_SUFFIXES = {
    **{suffix: Decimal(10) ** power for suffix, power in _DECIMAL},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}


def quantity(value: object) -> Decimal:
    """The number that a quantity is: cores or bytes. ValueError says what is accepted."""
    found = _FORM.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if found is None:
        raise ValueError("accepted are quantities such as 100m, 2 and 128Mi")
    number, exponent, suffix = found.groups()
    return Decimal(number + (exponent or "")) * _SUFFIXES.get(suffix, Decimal(1))


def _is_quantity(value: object) -> str:
    quantity(value)
    return str(value)


Quantity = Annotated[str, PlainValidator(_is_quantity)]
