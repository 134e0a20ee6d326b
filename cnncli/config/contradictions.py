"""Settings that are each in order but do not go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cnncli.config.draft import Draft, optimizers_of
from cnncli.config.idle import idle_settings
from cnncli.config.modes import stages_of
from cnncli.config.names import NAME_RULES
from cnncli.config.problems import Problem
from cnncli.config.tree import Node

Rule = Callable[[Draft], Iterator[Problem]]


def contradictions(draft: Draft) -> list[Problem]:
    """Everything that does not go together, names outside the catalogues included."""
    return [problem for rule in (*RULES, *NAME_RULES) for problem in rule(draft)]


def _weights_from_scratch(draft: Draft) -> Iterator[Problem]:
    key = "backbone.weights"
    if draft.is_sound("mode", key) and draft.config.mode == "from-scratch" and draft.wrote(key):
        node = draft.tree.find(key)
        if node is not None and node.plain() != "none":
            yield draft.problem(key, "contradicts mode: from-scratch", "none, or another mode")


def _splits(draft: Draft) -> Iterator[Problem]:
    splits = draft.config.data.splits
    if draft.is_sound("data.splits") and splits.validation + splits.test >= 1:
        what = f"validation and test leave nothing to train on: {splits.validation:g} + {splits.test:g}"
        yield draft.problem("data.splits", what, "a sum below 1")


def _stage_names(draft: Draft) -> Iterator[Problem]:
    stages = draft.tree.find("training.stages")
    seen: dict[object, Node] = {}
    for number, stage in stages.children() if stages is not None else ():
        name = stage.child("name")
        if name is None or not isinstance(name.value, str):
            continue
        first = seen.setdefault(name.value.lower(), name)
        if first is not name:
            hint = f"The first is at {first.origin.where}." if first.origin != name.origin else ""
            yield draft.problem(f"training.stages.{number}.name", "a name for two stages", "one of its own", hint)


def _without_effect(draft: Draft) -> Iterator[Problem]:
    for key, (why, expected) in idle_settings(draft.config).items():
        if draft.wrote(key) and draft.is_sound(key, *_WHAT_DECIDES.get(key, (f"{key.rpartition('.')[0]}.name",))):
            yield draft.problem(key, why, expected)


_WHAT_DECIDES = {
    "training.unfreeze": ("mode", "training.stages"),
    "augmentation.cval": ("augmentation.fill_mode",),
    "augmentation.views": ("augmentation",),
    "augmentation.saturation_range": ("data.color",),
    "augmentation.hue_range": ("data.color",),
}


def _nothing_to_unfreeze(draft: Draft) -> Iterator[Problem]:
    training = draft.config.training
    is_fine_tuning = draft.config.mode == "fine-tuning" and training.stages is None
    if draft.is_sound("mode", "training.unfreeze", "training.stages") and is_fine_tuning and training.unfreeze == 0:
        yield draft.problem("training.unfreeze", "leaves mode: fine-tuning nothing to tune", "1 or more, a name or all")


def _cutmix_of_features(draft: Draft) -> Iterator[Problem]:
    key = "augmentation.cutmix"
    frozen = [stage.name for stage in stages_of(draft.config) if stage.unfreeze == 0]
    if draft.config.augmentation.cutmix and frozen and draft.is_sound(key, "mode", "training.stages"):
        what = f"pastes pixels, and stage {frozen[0]} trains on features of a frozen backbone"
        yield draft.problem(key, what, "unfreeze: all in every stage, as in mode: from-scratch, or augmentation.mixup")


def _one_clip(draft: Draft) -> Iterator[Problem]:
    for key, optimizer in optimizers_of(draft.config).items():
        clips = ("clipnorm", "clipvalue", "global_clipnorm")
        given = [name for name in clips if optimizer.arguments.get(name) is not None]
        if len(given) > 1 and draft.is_sound(key):
            yield draft.problem(f"{key}.{given[1]}", f"a second way of clipping beside {given[0]}", "one of them")


def _average_that_is_never_used(draft: Draft) -> Iterator[Problem]:
    for key, optimizer in optimizers_of(draft.config).items():
        given = optimizer.arguments
        if given.get("use_ema") is True and not given.get("ema_overwrite_frequency") and draft.is_sound(key):
            what = "an average that never replaces the weights"
            yield draft.problem(f"{key}.use_ema", what, "ema_overwrite_frequency beside it")


RULES: tuple[Rule, ...] = (
    _weights_from_scratch,
    _splits,
    _stage_names,
    _without_effect,
    _nothing_to_unfreeze,
    _cutmix_of_features,
    _one_clip,
    _average_that_is_never_used,
)
