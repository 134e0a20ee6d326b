"""Hints for unknown settings: similar names in the same group, the same name elsewhere, names from other tools."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cnncli.config.fields import settings_by_key
from cnncli.config.tree import join
from cnncli.errors import printable
from cnncli.terminal.suggestions import closest, normalize, question

SYNONYMS = {
    "lr": "training.optimizer.learning_rate",
    "model": "backbone.name",
    "network": "backbone.name",
    "architecture": "backbone.name",
    "dataset": "data.path",
    "target_size": "data.image_size",
    "input_shape": "data.image_size",
    "imgsz": "data.image_size",
    "imgsize": "data.image_size",
    "img_size": "data.image_size",
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
"""Settings by their names in other tools."""


def setting_hint(name: str, group: str, siblings: Iterable[str]) -> str:
    """Return a hint for a name that is not a setting of a group.

    Args:
        name: Name as written.
        group: Dotted key of the group; empty for the whole config.
        siblings: Names in the group.
    """
    siblings, key = tuple(siblings), join(group, name)
    if key in settings_by_key():  # `training.epochs:` written as one name
        return f"Write it nested: {key.replace('.', ': {')}: …{'}' * key.count('.')}."
    elsewhere = _keys_by_name(group)
    found = (
        list(filter(None, [SYNONYMS.get(normalize(name))]))
        or [join(group, sibling) for sibling in siblings if normalize(sibling) == normalize(name)]
        or elsewhere.get(normalize(name))
        or [join(group, sibling) for sibling in closest(name, siblings)]
        or [key for near in closest(name, elsewhere) for key in elsewhere[near]]
    )
    return question(found[:3]) or (f"There are {', '.join(siblings)}." if siblings else "")


def variable_hint(word: str) -> str:
    """Return a hint for an environment variable that is not a setting, given its name without prefix.

    >>> variable_hint("TRAINING_EPOCHS"), variable_hint("EPOCH")
    ('Did you mean CNNCLI_TRAINING__EPOCHS?', 'Did you mean CNNCLI_TRAINING__EPOCHS?')
    >>> variable_hint("TELEMETRY")
    'Two underscores stand for a dot, as in CNNCLI_TRAINING__EPOCHS.'
    """
    whole = {key.replace(".", "_"): [key] for key in settings_by_key() if ".N." not in key}
    candidates = whole if closest(word, whole) else _keys_by_name()
    found = [key for near in closest(word, candidates, limit=1) for key in candidates[near]]
    named = [f"CNNCLI_{key.replace('.', '__').upper()}" for key in found[:3]]
    return question(named) or "Two underscores stand for a dot, as in CNNCLI_TRAINING__EPOCHS."


def names_beside(path: Path, suffixes: tuple[str, ...] = ("",)) -> str:
    """Suggest a similar name in the folder of a missing path, or list its folders and the names with `suffixes`.

    The names at the root of a file system are of no help and not listed.
    """
    try:
        names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    except OSError:
        return ""
    close = [printable(path.parent / name) for name in closest(path.name, names, limit=1)]
    listed = [printable(name) for name in names if name.endswith(suffixes) or (path.parent / name).is_dir()][:6]
    is_root = bool(path.anchor) and path.parent == Path(path.anchor)
    return question(close) or (f"This folder contains {', '.join(listed)}." if listed and not is_root else "")


def _keys_by_name(group: str = "") -> dict[str, list[str]]:
    """Return the keys of all settings by their last word, those inside `group` first."""
    keys: dict[str, list[str]] = {}
    for key in sorted(settings_by_key(), key=lambda key: not (group and key.startswith(f"{group}."))):
        if ".N." not in key and not key.startswith("data.splits"):
            keys.setdefault(key.rpartition(".")[2], []).append(key)
    return keys
