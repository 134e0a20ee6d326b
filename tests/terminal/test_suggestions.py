"""Suggestions help after a typo, and only then."""

from __future__ import annotations

import pytest

from cnncli.terminal.suggestions import closest, did_you_mean, typing_errors


@pytest.mark.parametrize(
    ("one", "other", "errors"),
    [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("seed", "sede", 1), ("nme", "name", 1), ("abcd", "dabc", 2)],
)
def test_typing_errors_are_counted(one: str, other: str, errors: int) -> None:
    """A missing, additional, different or swapped character counts as one typo."""
    assert typing_errors(one, other) == typing_errors(other, one) == errors


@pytest.mark.parametrize(
    ("word", "names", "expected"),
    [
        ("trian", ["train", "predict"], ["train"]),
        ("fti", ["fit", "path"], ["fit"]),
        ("Relu", ["relu6", "relu"], ["relu"]),
        ("Batch-Size", ["batch_size"], ["batch_size"]),
        ("MobileNet-V3", ["MobileNet_V2", "MobileNet_V3S", "MobileNet_V3L"], ["MobileNet_V3S", "MobileNet_V3L"]),
        ("VGG61", ["VGG16", "VGG19"], ["VGG16"]),
    ],
)  # fmt: skip
def test_close_names_are_suggested(word: str, names: list[str], expected: list[str]) -> None:
    """The names with the fewest typos are suggested, or those that start with the word."""
    assert closest(word, names) == expected


@pytest.mark.parametrize(
    ("word", "name"),
    [("errors", "verbose"), ("wrong", "json"), ("zzz", "VGG16"), ("x", "l1"), ("", "fit"), ("bat", "batch_size")],
)
def test_names_that_are_not_close_are_not_suggested(word: str, name: str) -> None:
    """Words that share only a few letters are not suggested."""
    assert closest(word, [name]) == []
    assert did_you_mean(word, [name]) == ""


def test_the_question_lists_at_most_three_names() -> None:
    """At most three names are suggested."""
    assert did_you_mean("resnet", [f"ResNet{n}" for n in (50, 101, 152, 200)]) == (
        "Did you mean ResNet50, ResNet101 or ResNet152?"
    )
