"""A scoring recipe from elsewhere has every entry, each of its type and size, and no other."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cnncli.inference.predictor import ScoringRecipe
from cnncli.inference.recipe_check import CHECKS, recipe_problem

GOOD: dict[str, Any] = {
    "engine": "openvino",
    "precision": "bfloat16",
    "tail_engine": "keras",
    "trunk": None,
    "unfreeze": "all",
    "batch_norm": "frozen",
    "pretrained": True,
    "activation": "softmax",
    "classes": ["a", "b"],
    "height": 16,
    "width": 16,
    "color": "rgb",
    "fit": "stretch",
    "max_pixels": 178_000_000,
    "tail_precision": "float32",
    "gpu": False,
    "cut": "block5_pool",
    "value_range": [0, 4095],
}
MAY_LACK = {"gpu", "tail_precision", "cut", "value_range"}


def test_every_entry_of_a_recipe_is_checked() -> None:
    """A new one needs a check of its own."""
    assert set(CHECKS) == set(ScoringRecipe.__dataclass_fields__) == set(GOOD)
    assert recipe_problem(GOOD) is None
    assert recipe_problem({key: value for key, value in GOOD.items() if key not in MAY_LACK}) is None


@pytest.mark.parametrize("name", sorted(set(GOOD) - MAY_LACK))
def test_an_entry_that_is_missing_is_named(name: str) -> None:
    """The first of them."""
    facts = {key: value for key, value in GOOD.items() if key != name}

    assert recipe_problem(facts) == f"damaged, {name} is missing or is not what it should be"


@pytest.mark.parametrize("value", [3.5, -1, math.nan, [], {}, [{}], "", 10**30, ["a", "a"], b"x", 0])
@pytest.mark.parametrize("name", sorted(set(GOOD) - {"trunk", "unfreeze", "cut"}))
def test_an_entry_of_another_kind_is_named(name: str, value: Any) -> None:
    """Whatever it is instead."""
    assert recipe_problem({**GOOD, name: value}) == f"damaged, {name} is missing or is not what it should be"


def test_a_strange_entry_and_a_huge_image_are_named() -> None:
    """Sides that are possible each can be too much together."""
    assert recipe_problem({**GOOD, "evil": 1}) == "damaged, evil is missing or is not what it should be"
    assert "height × width" in (recipe_problem({**GOOD, "height": 2**15, "width": 2**15}) or "")
