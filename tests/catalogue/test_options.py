"""Options accept the values that builders accept, and describe them."""

from __future__ import annotations

from typing import Any

import pytest

from cnncli.catalogue.options import Option, with_defaults

WIDTH = Option("number", 1.0, "width", gt=0.0)
FRACTION = Option("number", 0.0, "fraction", 0.0, lt=1.0)
COUNT = Option("integer", 3, "count", 1)
SWITCH = Option("boolean", False, "switch")
WORD = Option("word", "valid", "word", choices=("valid", "same"))
LIST = Option("integers", (1, 2), "list", 1)


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        (WIDTH, [0.1, 1, 3.5], [0, -1, True, "1", None, float("nan"), float("inf")]),
        (FRACTION, [0, 0.5], [1, 1.0, -0.1]),
        (COUNT, [1, 7], [0, 1.5, True, "3", [1]]),
        (SWITCH, [True, False], [0, 1, "yes", None]),
        (WORD, ["valid", "same"], ["full", 1, None, ["same"]]),
        (LIST, [[1], (4, 4)], [[], [0], 3, ["a"], None, [1.5]]),
    ],
)
def test_option_accepts_only_its_kind(option: Option, good: list[Any], bad: list[Any]) -> None:
    """Types are strict: true is not a number, and a number is not a list."""
    assert [value for value in good if not option.accepts(value)] == []
    assert [value for value in bad if option.accepts(value)] == []


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (WIDTH, "a number above 0"),
        (FRACTION, "a number of at least 0 and below 1"),
        (COUNT, "an integer of at least 1"),
        (SWITCH, "true or false"),
        (WORD, "one of valid, same"),
        (LIST, "a list of integers of at least 1"),
    ],
)
def test_option_describes_its_values(option: Option, words: str) -> None:
    """The description fits behind `expected`."""
    assert option.expected == words


def test_defaults_complete_options_in_the_types_of_builders() -> None:
    """Numbers become floats, and lists become tuples."""
    given = with_defaults({"alpha": WIDTH, "count": COUNT, "list": LIST}, {"alpha": 1, "list": [3]})
    assert given == {"alpha": 1.0, "count": 3, "list": (3,)}
    assert isinstance(given["alpha"], float)
