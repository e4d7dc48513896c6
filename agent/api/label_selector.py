"""Kubernetes' label selector in full, with expressions, and what it matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, StrictStr, model_validator

from agent.api.strict import StrictPart


class Expression(StrictPart):
    """One requirement: that a label has one of the values, none of them, or is there at all."""

    key: StrictStr
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[StrictStr, ...] = ()

    @model_validator(mode="after")
    def _values_suit_the_operator(self) -> Self:
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError("values: accepted with the operators In and NotIn, which need them, and no others")
        return self

    def holds(self, labels: Mapping[str, str]) -> bool:
        """As in Kubernetes, NotIn holds without the label too."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
        return self.key not in labels


class LabelSelector(StrictPart):
    """Everything in it must hold; an empty one matches all."""

    match_labels: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    match_expressions: tuple[Expression, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with those labels is selected."""
        return self.match_labels.items() <= labels.items() and all(
            item.holds(labels) for item in self.match_expressions
        )
