"""The base class of all groups of settings, and the types of values that several groups share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base class of groups of settings: frozen, with strict types, without unknown keys, NaN and infinity."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _from_empty_group(cls, values: Any) -> Any:
        """Accept null as a group of defaults: a heading whose lines are all commented out."""
        return {} if values is None else values


@dataclass(frozen=True)
class Expected:
    """Description of the accepted values, for types that do not explain themselves.

    Attributes:
        words: Text that fits behind `expected`.
    """

    words: str


def as_tuple(value: object) -> object:
    """Convert a list of YAML to the tuple of frozen settings."""
    return tuple(value) if isinstance(value, list) else value


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, le=4_294_967_295)]  # Keras keeps seeds in 32 bits
Pixels = Annotated[int, Field(ge=1)]
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(as_tuple), Expected("[height, width]")]


def _lowest_first(limits: tuple[float, float]) -> tuple[float, float]:
    """Require [lowest, highest] in this order."""
    if limits[0] > limits[1]:
        raise ValueError(f"the lowest comes first: [{limits[1]:g}, {limits[0]:g}]")
    return limits


Range = Annotated[
    tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(ge=0.0)]],
    BeforeValidator(as_tuple),
    AfterValidator(_lowest_first),
    Expected("[lowest, highest] of at least 0"),
]
ZoomRange = Annotated[
    tuple[Annotated[float, Field(gt=0.0)], Annotated[float, Field(gt=0.0)]],
    BeforeValidator(as_tuple),
    AfterValidator(_lowest_first),
    Expected("[lowest, highest] above 0"),
]


def _increasing(limits: tuple[int, int]) -> tuple[int, int]:
    """Require two different values in order."""
    if limits[0] >= limits[1]:
        raise ValueError(f"the first must be smaller than the second: {limits[0]}, {limits[1]}")
    return limits


_Value = Annotated[int, Field(ge=0, le=65_535)]
ValueRange = Annotated[
    tuple[_Value, _Value],
    BeforeValidator(as_tuple),
    AfterValidator(_increasing),
    Expected("[black, white], integers in 0-65535"),
]
AreaRange = Annotated[
    tuple[Annotated[float, Field(gt=0.0, le=1.0)], Annotated[float, Field(gt=0.0, le=1.0)]],
    BeforeValidator(as_tuple),
    AfterValidator(_lowest_first),
    Expected("[lowest, highest] above 0, at most 1"),
]
