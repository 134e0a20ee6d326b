"""Base class of all groups of settings, types that several groups share, and arguments of networks and optimizers."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, WrapValidator, model_validator

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue


class Settings(BaseModel):
    """Base class of groups of settings: frozen, strictly typed, without unknown keys, NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def docs(cls) -> dict[str, str]:
        """Return the docstrings below the fields, by name.

        They are read when they are asked for. With pydantic's `use_attribute_docstrings`, every command would read the
        source of every group, which takes 0.3 s.
        """
        groups = [one for one in reversed(cls.__mro__) if issubclass(one, Settings)]
        return {name: doc for group in groups for name, doc in _docs_in_source(group) if name in cls.model_fields}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the docstrings of the fields to the group's JSON Schema."""
        schema = handler(core_schema)
        fields = handler.resolve_ref_schema(schema)["properties"]
        for name, doc in cls.docs().items():
            fields[name].setdefault("description", doc)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _from_empty_group(cls, values: Any) -> Any:
        """Accept null as a group of defaults, as when all lines below a heading are commented out."""
        return {} if values is None else values


def _docs_in_source(group: type[Settings]) -> Iterator[tuple[str, str]]:
    """Yield the fields that the source of a group documents; a group that was made by pydantic has no source."""
    try:
        module = ast.parse(inspect.getsource(sys.modules[group.__module__]))
    except (OSError, TypeError):  # installed without source files
        return
    classes = {one.name: one.body for one in module.body if isinstance(one, ast.ClassDef)}
    for line, following in pairwise(classes.get(group.__name__, [])):
        match line, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                yield name, inspect.cleandoc(doc)


@dataclass(frozen=True)
class Expected:
    """Description of the accepted values, to follow `expected`, for types that do not explain themselves."""

    words: str


def as_tuple(value: object) -> object:
    """Convert a YAML list to a tuple, as frozen settings require."""
    return tuple(value) if isinstance(value, list) else value


def _lowest_first(value: object, validate: Callable[[object], tuple[float, float]]) -> tuple[float, float]:
    """Require [lowest, highest] in this order."""
    lowest, highest = validate(as_tuple(value))
    if lowest > highest:
        raise ValueError(f"the lowest comes first: [{highest:g}, {lowest:g}]")
    return lowest, highest


def _increasing(value: object, validate: Callable[[object], tuple[float, float]]) -> tuple[float, float]:
    """Require two different values in order; return two integers if both are integral."""
    first, second = validate(as_tuple(value))
    if first >= second:
        raise ValueError(f"the first must be smaller than the second: {first:g}, {second:g}")
    return (int(first), int(second)) if first.is_integer() and second.is_integer() else (first, second)


@dataclass(frozen=True)
class Option:
    """An argument of a network or optimizer; null is allowed if it is the default.

    Attributes:
        kind: Type with limits, as in a group of settings.
    """

    kind: Any
    default: Any
    doc: str

    @property
    def annotation(self) -> Any:
        """Type of the allowed values."""
        return self.kind if self.default is not None else self.kind | None

    def validate(self, value: object) -> Any:
        """Return a value in the type that builders expect: Keras has a weights file for alpha 1.0, but not for 1."""
        config = ConfigDict(strict=True, allow_inf_nan=False)
        return TypeAdapter(self.annotation, config=config).validate_python(value)

    def accepts(self, value: object) -> bool:
        """Return whether a value is allowed."""
        try:
            self.validate(value)
        except ValueError:
            return False
        return True


def with_defaults(allowed: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a network, with defaults for those that are not set; lists become tuples."""
    return {name: option.validate(given[name]) if name in given else option.default for name, option in allowed.items()}


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, le=4_294_967_295)]  # Keras keeps seeds in 32 bits
BelowOne = Annotated[float, Field(ge=0.0, lt=1.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
Counts = Annotated[
    tuple[Count, ...], Field(max_length=1_000), BeforeValidator(as_tuple), Expected("a list of integers of at least 1")
]
Pixels = Count
Size = Annotated[tuple[Pixels, Pixels], BeforeValidator(as_tuple), Expected("[height, width]")]

_Area = Annotated[float, Field(gt=0.0, le=1.0)]
_Value = Annotated[float, Field(ge=-1e15, le=1e15)]
_LOWEST_FIRST = WrapValidator(_lowest_first)

Range = Annotated[tuple[NotNegative, NotNegative], _LOWEST_FIRST, Expected("[lowest, highest] of at least 0")]
ZoomRange = Annotated[tuple[Positive, Positive], _LOWEST_FIRST, Expected("[lowest, highest] above 0")]
AreaRange = Annotated[tuple[_Area, _Area], _LOWEST_FIRST, Expected("[lowest, highest] above 0, at most 1")]
GrayWindow = Annotated[tuple[_Value, Positive], BeforeValidator(as_tuple), Expected("[center, width], width above 0")]
ValueRange = Annotated[
    tuple[_Value, _Value], WrapValidator(_increasing), Expected("[black, white], two numbers in increasing order")
]
