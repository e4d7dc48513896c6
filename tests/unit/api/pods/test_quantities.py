from decimal import Decimal

import pytest

from agent.api.pods.quantities import quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", "2"),
        (2, "2"),
        ("100m", "0.1"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("128Mi", "134217728"),
        ("1Ki", "1024"),
        ("1Ei", "1152921504606846976"),
        ("1k", "1000"),
        ("3M", "3000000"),
        ("1e3", "1000"),
        ("2E", "2000000000000000000"),
        ("5n", "0.000000005"),
        ("-1", "-1"),
    ],
)
def test_a_quantity_is_a_number(text: str | int, number: str) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "Mi", "1 Mi", "1mi", "1KiB", "0x10", "1e", "NaN", True, 1.5, None])
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="100m, 2 and 128Mi"):
        quantity(text)
