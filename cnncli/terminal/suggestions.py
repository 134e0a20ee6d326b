"""Suggest names that the user probably meant: commands, options, settings, networks and files.

A name is suggested only if it has at most one typo per four characters, or starts with the word; a wild guess would be
worse than none.
"""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST_PREFIX = 4
LONGEST = 80
"""Maximum number of characters of a word to compare."""


def closest(word: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return the candidates equal to `word`, else those that start with it, else those with the fewest typos.

    Case does not matter, and `-`, `_` and spaces count as equal.

    >>> closest("nme", ["name", "weights"]), closest("errors", ["verbose", "quiet"])
    (['name'], [])
    >>> closest("vgg17", ["VGG16", "VGG19", "ResNet50"]), closest("batch", ["batch_size"])
    (['VGG16', 'VGG19'], ['batch_size'])
    """
    word = normalize(word)
    allowed = max(1, len(word) // 4)
    near: dict[int, list[str]] = {}
    begins: list[str] = []
    for candidate in candidates:
        normal = normalize(candidate)
        if normal != word and len(word) >= SHORTEST_PREFIX and normal.startswith(word):
            begins.append(candidate)
        elif abs(len(normal) - len(word)) <= allowed and (errors := typing_errors(word, normal)) <= allowed:
            near.setdefault(errors, []).append(candidate)
    return (near.get(0) or begins or near.get(min(near, default=0), []))[:limit]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return `Did you mean A or B?`, or an empty string if no candidate is similar.

    >>> did_you_mean("trian", ["train", "predict"])
    'Did you mean train?'
    """
    return question(closest(word, candidates))


def question(names: Iterable[str]) -> str:
    """Return `Did you mean A, B or C?`, or an empty string without names."""
    *first, last = [*names] or [""]
    return f"Did you mean {', '.join(first)} or {last}?" if first else f"Did you mean {last}?" if last else ""


def normalize(name: str) -> str:
    """Return a name in the form used for comparison."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")[:LONGEST]


def typing_errors(one: str, other: str) -> int:
    """Return the optimal string alignment distance: missing, additional, different or swapped characters."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, character in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, there in enumerate(other, 1):
            distance = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (character != there))
            if i > 1 and j > 1 and character == other[j - 2] and one[i - 2] == there:
                distance = min(distance, above[j - 2] + 1)
            row.append(distance)
    return row[-1]
