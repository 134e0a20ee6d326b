"""Types and allowed values of the arguments of networks and optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError


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
        except ValidationError:
            return False
        return True


def with_defaults(allowed: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a network, with defaults for those that are not set; lists become tuples."""
    return {name: option.validate(given[name]) if name in given else option.default for name, option in allowed.items()}
