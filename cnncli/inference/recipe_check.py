"""Validation of prediction settings that were read from a file: names, types and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MOST_PIXELS = 2**26
"""Of the image that a classifier takes; the largest that any network was made for has a hundredth of it."""
MOST_CLASSES = 1_000_000

Check = Callable[[Any], bool]


def _one_of(*words: str) -> Check:
    return lambda value: value in words and isinstance(value, str)


def _is_int(value: Any, most: int) -> bool:
    return type(value) is int and 0 < value <= most


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST_CLASSES
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    )


def _is_range(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(one) is int for one in value)
    return is_pair and 0 <= value[0] < value[1] <= 65_535


_ENGINE, _PRECISION = _one_of("keras", "openvino"), _one_of("float32", "bfloat16")

CHECKS: Mapping[str, Check] = {
    "engine": _ENGINE,
    "precision": _PRECISION,
    "tail_engine": _ENGINE,
    "tail_precision": _PRECISION,
    "trunk": lambda value: value is None or isinstance(value, str),
    "unfreeze": lambda value: isinstance(value, str) or (type(value) is int and value >= 0),
    "batch_norm": _one_of("frozen", "train"),
    "pretrained": lambda value: isinstance(value, bool),
    "activation": _one_of("softmax", "sigmoid", "linear"),
    "classes": _is_names,
    "height": lambda value: _is_int(value, MOST_PIXELS),
    "width": lambda value: _is_int(value, MOST_PIXELS),
    "color": _one_of("rgb", "grayscale"),
    "fit": _one_of("stretch", "crop", "pad"),
    "max_pixels": lambda value: _is_int(value, 10**15),
    "gpu": lambda value: isinstance(value, bool),
    "cut": lambda value: value is None or isinstance(value, str),
    "value_range": lambda value: value is None or _is_range(value),
}
_MAY_LACK = ("tail_precision", "gpu", "cut", "value_range")


def recipe_problem(facts: Mapping[str, Any]) -> str | None:
    """Return what is wrong with settings, worded to follow a colon, or None.

    >>> recipe_problem({"engine": "abacus"})
    'damaged, engine is missing or is not what it should be'
    """
    wrong = [name for name, check in CHECKS.items() if not (check(facts[name]) if name in facts else name in _MAY_LACK)]
    wrong += [str(name)[:40] for name in facts if name not in CHECKS]
    if not wrong and facts["height"] * facts["width"] > MOST_PIXELS:
        wrong = ["height × width"]
    return f"damaged, {wrong[0]} is missing or is not what it should be" if wrong else None
