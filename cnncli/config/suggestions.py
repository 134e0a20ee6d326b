"""What somebody probably meant: near names in the same group, and the same name in another one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from cnncli.config.fields import all_settings
from cnncli.config.tree import join

# Words of other tools that no spelling rule would find.
SYNONYMS = {
    "lr": "training.optimizer.learning_rate",
    "model": "backbone.name",
    "network": "backbone.name",
    "architecture": "backbone.name",
    "dataset": "data.path",
    "target_size": "data.image_size",
    "input_shape": "data.image_size",
    "freeze": "training.unfreeze",
    "device": "engine",
    "dropout": "head.layers",
    "callbacks": "training.early_stopping",
    "hue": "augmentation.hue_range",
    "noise": "augmentation.noise_stddev",
    "gaussian_noise": "augmentation.noise_stddev",
    "cutout": "augmentation.random_erasing",
    "re_prob": "augmentation.random_erasing",
    "randaugment": "augmentation.rand_augment",
}


def setting_hint(name: str, group: str, siblings: Iterable[str]) -> str:
    """A sentence for a name that is no setting of a group.

    Args:
        name: as it was written.
        group: dotted key of the group; empty for the whole config.
        siblings: the names that the group does have.
    """
    siblings = tuple(siblings)
    nested = {setting.key for setting in all_settings()}
    if join(group, name) in nested:  # `training.epochs:` written as one name
        return f"Write it nested: {join(group, name).replace('.', ': {')}: …{'}' * join(group, name).count('.')}."
    found = (
        list(filter(None, [SYNONYMS.get(_normal(name))]))
        or _nearest(name, {join(group, sibling): sibling for sibling in siblings}, 0.8)
        or _elsewhere(name, group, 0.999)
        or _nearest(name, {join(group, sibling): sibling for sibling in siblings}, 0.6)
        or _elsewhere(name, group, 0.75)
    )
    if found:
        return f"Did you mean {' or '.join(found[:3])}?"
    return f"There are {', '.join(siblings)}." if siblings else ""


def variable_hint(word: str) -> str:
    """A sentence for a variable's name, without its prefix, that is no setting.

    >>> variable_hint("TRAINING_EPOCHS"), variable_hint("EPOCH")
    ('Did you mean CNNCLI_TRAINING__EPOCHS?', 'Did you mean CNNCLI_TRAINING__EPOCHS?')
    >>> variable_hint("TELEMETRY")
    'Two underscores stand for a dot, as in CNNCLI_TRAINING__EPOCHS.'
    """
    whole = {setting.key: setting.key.replace(".", "_") for setting in all_settings() if ".N." not in setting.key}
    found = _nearest(word, whole, 0.85) or _elsewhere(word, "", 0.75)
    named = [f"CNNCLI_{key.replace('.', '__').upper()}" for key in found]
    if named:
        return f"Did you mean {' or '.join(named[:3])}?"
    return "Two underscores stand for a dot, as in CNNCLI_TRAINING__EPOCHS."


def word_hint(word: object, words: Iterable[str]) -> str:
    """A sentence for a word that is none of those allowed; empty where none is near."""
    if not isinstance(word, str):
        return ""
    found = _nearest(word, {choice: choice for choice in words}, 0.6)
    return f"Did you mean {' or '.join(found)}?" if found else ""


def _nearest(name: str, named: dict[str, str], cutoff: float) -> list[str]:
    """The key whose name is nearest, or two that are equally near."""
    keys = {_normal(candidate): key for key, candidate in named.items()}
    return [keys[candidate] for candidate in _best(name, keys, cutoff)]


def _best(name: str, candidates: Iterable[str], cutoff: float) -> list[str]:
    """The nearest candidate, or two that are equally near."""
    found = difflib.get_close_matches(_normal(name), list(candidates), n=2, cutoff=cutoff)
    is_tie = len(found) == 2 and _likeness(name, found[0]) == _likeness(name, found[1])
    return found if is_tie else found[:1]


def _likeness(name: str, candidate: str) -> float:
    return difflib.SequenceMatcher(None, candidate, _normal(name)).ratio()


def _elsewhere(name: str, group: str, cutoff: float) -> list[str]:
    """Settings of other groups with this name or a near one; those inside the same group first."""
    by_name: dict[str, list[str]] = {}
    for setting in all_settings():
        if ".N." not in setting.key and not setting.key.startswith("data.splits"):
            by_name.setdefault(setting.name, []).append(setting.key)
    keys = [key for found in _best(name, by_name, cutoff) for key in by_name[found]]
    return sorted(keys, key=lambda key: not (group and key.startswith(f"{group}.")))


def _normal(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")[:80]
