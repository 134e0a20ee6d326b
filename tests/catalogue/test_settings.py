"""Types, ranges and defaults of the options of networks and optimizers."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from cnncli.catalogue.settings import BelowOne, Count, Counts, NotNegative, Option, Positive, with_defaults

WIDTH = Option(Positive, 1.0, "width")
FRACTION = Option(BelowOne, 0.0, "fraction")
COUNT = Option(Count, 3, "count")
SWITCH = Option(bool, False, "switch")
WORD = Option(Literal["valid", "same"], "valid", "word")
LIST = Option(Counts, (1, 2), "list")
DECAY = Option(NotNegative, None, "decay")


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (WIDTH, [0.1, 1, 3.5], [0, -1, True, "1", None, float("nan"), float("inf")]),
        (FRACTION, [0, 0.5], [1, 1.0, -0.1]),
        (COUNT, [1, 7], [0, 1.5, True, "3", [1]]),
        (SWITCH, [True, False], [0, 1, "yes", None]),
        (WORD, ["valid", "same"], ["full", 1, None, ["same"]]),
        (DECAY, [0, None], [-1, "none", True]),
        (LIST, [[1], (4, 4), []], [[0], 3, ["a"], None, [1.5]]),
    ],
)
def test_an_option_accepts_only_its_type_and_range(option: Option, good: list[Any], bad: list[Any]) -> None:
    """Options accept only values of their own type and range: `true` is not a number, and a number is not a list."""
    assert [value for value in good if not option.accepts(value)] == []
    assert [value for value in bad if option.accepts(value)] == []


def test_defaults_are_filled_in_and_types_converted() -> None:
    """Missing options are filled in with defaults; integers become floats and lists become tuples where needed."""
    given = with_defaults({"alpha": WIDTH, "count": COUNT, "list": LIST}, {"alpha": 1, "list": [3]})
    assert given == {"alpha": 1.0, "count": 3, "list": (3,)}
    assert isinstance(given["alpha"], float)
