"""Rules across settings: contradictions, settings without effect that are written, and unknown names.

A rule is a function that takes a `Draft` and yields problems; `RULES` lists all rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

from cnncli.catalogue.losses import CROSS_ENTROPY, LOSSES
from cnncli.catalogue.misfits import find_misfits
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.catalogue.settings import Option, with_defaults
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.fields import expectation
from cnncli.config.head_settings import ConvLayer, DenseLayer
from cnncli.config.idle_settings import idle_settings
from cnncli.config.modes import frozen_stages, in_every_stage, stages_of
from cnncli.config.schema import Config
from cnncli.config.solver import EXACT_VALUES, exact_obstacles
from cnncli.config.suggestions import setting_hint
from cnncli.config.tree import NOTHING, Node, Origin, Problem
from cnncli.metrics.table import LAST, VALIDATION


@dataclass(frozen=True)
class Draft:
    """The valid part of a config, and how it was written.

    Attributes:
        config: The complete config; invalid settings have their defaults.
        wrong: Keys with problems; rules ignore their values.
    """

    config: Config
    tree: Node
    wrong: frozenset[str]

    @property
    def backbones(self) -> dict[str, BackboneConfig]:
        """The backbones by key; none if their list has a problem."""
        is_wrong = any(re.match(r"backbone(\.\d|$)", key) for key in self.wrong)
        backbones = {} if is_wrong else self.config.backbones_by_key
        return {self.key_as_written(key): backbone for key, backbone in backbones.items()}

    def key_as_written(self, key: str) -> str:
        """Return the key of a setting in the tree, where the only backbone can be a list of one."""
        is_list = len(self.config.backbones) == 1 and self.tree.find("backbone.0") is not None
        return re.sub(r"^backbone(?=$|\.\D)", "backbone.0", key) if is_list else key

    def problem(
        self, code: str, key: str, what: str, expected: str = "", hint: str = "", needs: Sequence[str] = ()
    ) -> Iterator[Problem]:
        """Yield a problem at the position of a setting, see `_origin`.

        Nothing is yielded if the setting itself, or one in `needs`, has a problem.
        """
        key, *needs = map(self.key_as_written, (key, *needs))
        pairs = product((key, *needs), self.wrong)
        if not any(f"{one}.".startswith(f"{wrong}.") or wrong.startswith(f"{one}.") for one, wrong in pairs):
            node, names = self.tree.find(key), key.split(".")
            # An unknown argument can have a dot in its name, so that the config has no such attribute.
            received = node.plain() if node else reduce(_part, names, self.config)
            yield Problem(code, self._origin(key, needs), key, what, received, expected, hint)

    def _origin(self, key: str, needs: Sequence[str]) -> Origin:
        """Return the last override of a setting or in it, or else the position of it or of the group around it.

        The value of a setting that was not written contradicts an override of the first one in `needs`.
        """
        node = self.tree.find(key) or (self.tree.find(needs[0]) if needs else None)
        overrides = [origin for origin in (node.origins() if node else ()) if origin.order[0]]
        place = self.tree.nearest(key.split(".")).origin
        return max(overrides, key=lambda origin: origin.order, default=place)


def _part(value: Any, name: str) -> Any:
    """Return a setting of a group, or an item of a list by its number; NOTHING if there is none."""
    if isinstance(value, tuple):
        return value[int(name)] if name.isdigit() and int(name) < len(value) else NOTHING
    return getattr(value, name, NOTHING)


# Settings that exclude each other


def _contradictions(draft: Draft) -> Iterator[Problem]:
    """Yield settings that exclude each other."""
    config = draft.config
    training = config.training
    for key, backbone in draft.backbones.items():
        if config.mode == "from-scratch" and backbone.is_pretrained:
            what, expected = "contradicts mode: from-scratch", "none, or another mode"
            yield from draft.problem("config-contradiction-weights", f"{key}.weights", what, expected, needs=("mode",))
    groups = config.data.groups
    if groups and len(given := [name for name in ("column", "folder", "regex") if getattr(groups, name)]) != 1:
        what = f"cannot be combined: {', '.join(given)}" if given else "names no groups"
        yield from draft.problem("config-contradiction-groups", "data.groups", what, "one of column, folder and regex")
    if groups and groups.column and config.data.labels.path is None:
        key, what = "data.groups.column", "is a column, but there is no table"
        yield from draft.problem("config-without-effect", key, what, "data.labels.path as well")
    if config.data.labels.is_multi_label and config.head.activation != "sigmoid":
        key, what = "head.activation", "contradicts several labels per image"
        yield from draft.problem("config-contradiction-labels", key, what, "sigmoid", needs=("data.labels",))
    if (splits := config.data.splits).validation + splits.test >= 1:
        what = f"validation and test leave no images for training: {splits.validation:g} + {splits.test:g}"
        yield from draft.problem("config-contradiction-splits", "data.splits", what, "a sum below 1")
    if config.mode == "fine-tuning" and training.stages is None and training.unfreeze == 0:
        what = "leaves nothing to fine-tune in mode: fine-tuning"
        expected = "1 or more, a layer's name or all"
        needs = ("mode", "training.stages")
        yield from draft.problem("config-contradiction-unfreeze", "training.unfreeze", what, expected, needs=needs)
    if steps := training.gradual_unfreezing:
        counts = [step for step in steps if isinstance(step, int)]
        if counts != sorted(set(counts) - {0}) or "all" in steps[:-1]:
            key, what = "training.gradual_unfreezing", "does not train more layers in every stage"
            yield from draft.problem("config-contradiction-unfreeze", key, what, "numbers that grow, then all")
    if config.augmentation.cutmix and (frozen := frozen_stages(stages_of(config))):
        what = f"pastes pixels, but stage {frozen[0]} trains on features of a frozen backbone"
        expected = "unfreeze: all in every stage, as in mode: from-scratch, or augmentation.mixup"
        needs = ("mode", "training.stages")
        yield from draft.problem("config-contradiction-cutmix", "augmentation.cutmix", what, expected, needs=needs)
    if config.precision == "int8" and (config.engine == "keras" or config.mode == "from-scratch"):
        key = "engine" if config.engine == "keras" else "mode"
        what = f"contradicts {key}: {getattr(config, key)}, because int8 is for frozen layers that OpenVINO runs"
        expected = "auto, float32 or bfloat16"
        yield from draft.problem("config-contradiction-int8", "precision", what, expected, needs=(key,))
    for key, backbone in draft.backbones.items():
        info = backbone.network
        if backbone.include_top_layers is not None:
            yield from _contradictions_of_top(draft, key, backbone)
        size = config.data.image_size or config.backbones[0].network.input_size
        if min((size,) if isinstance(size, int) else size) < info.min_size:
            what, expected = f"too small for {info.name}", f"at least {info.min_size} pixels in each direction"
            name = f"{key}.name"
            yield from draft.problem("config-image-size-too-small", "data.image_size", what, expected, needs=(name,))
        else:
            yield from _misfits(draft, key, backbone, (size, size) if isinstance(size, int) else size)


def _misfits(draft: Draft, group: str, backbone: BackboneConfig, size: tuple[int, int]) -> Iterator[Problem]:
    """Yield the settings of a ConvNet's blocks that do not fit the feature maps below them."""
    allowed, options = backbone.network.options, {**backbone.options}
    wrong = {key.removeprefix(f"{group}.options.") for key in draft.wrong if key.startswith(f"{group}.options.")}
    if "blocks" not in allowed or not all(re.match(r"blocks\.\d", key) for key in wrong):
        return
    if wrong and (written := draft.tree.find(f"{group}.options.blocks")):
        # A block with a problem has no known maps, but those below it have.
        first = min(int(key.split(".")[1]) for key in wrong)
        options["blocks"] = written.plain()[:first]
    if not all(name in allowed and allowed[name].accepts(value) for name, value in options.items()):
        return
    channels = backbone.network.trained_channels if backbone.is_pretrained else draft.config.data.channels
    needs = ("data.image_size", "data.color", "data.bands", f"{group}.name")
    for misfit in find_misfits(with_defaults(allowed, options), *size, channels):
        key = f"{group}.options.{misfit.key}"
        yield from draft.problem(misfit.code, key, misfit.what, misfit.expected, needs=needs)


def _contradictions_of_top(draft: Draft, group: str, backbone: BackboneConfig) -> Iterator[Problem]:
    default, key = draft.config.backbones[0].network.input_size, f"{group}.include_top_layers"
    size = draft.config.data.image_size or default
    info, needs = backbone.network, (f"{group}.name",)
    if backbone.output_layer is not None:
        what = f"cannot be combined with {group}.output_layer, because a backbone ends once"
        yield from draft.problem("config-contradiction-top", key, what, "only one of them", needs=needs)
    elif backbone.include_top_layers not in info.top_layers:
        what = f"not a layer in the top of {info.name}"
        names = " or ".join(info.top_layers) or "null, because its top has no layer between features and classes"
        yield from draft.problem("config-unknown-layer", key, what, names, needs=needs)
    elif backbone.weights == "imagenet" and size not in (info.input_size, (info.input_size,) * 2):
        what = f"does not fit the ImageNet weights of {backbone.include_top_layers}, which take one image size"
        expected = f"{info.input_size}, or no {key}"
        yield from draft.problem("config-contradiction-top", "data.image_size", what, expected, needs=("backbone",))


def _losses(draft: Draft) -> Iterator[Problem]:
    """Yield settings that contradict the loss."""
    config = draft.config
    name, info, needs = config.training.loss, LOSSES[config.training.loss], ("training.loss", "data.labels")
    if info.needs_scores_of_classes and config.head.activation == "sigmoid":
        key, expected = "training.loss", "another loss, or softmax or linear as head.activation"
        what = "compares the scores of classes, but each sigmoid is a score of its own"
        yield from draft.problem("config-contradiction-loss", key, what, expected, needs=("head", "data.labels"))
    if info.needs_probabilities and config.head.activation == "linear":
        what, expected = "needs outputs from 0 to 1, but head.activation is linear", "another loss or activation"
        yield from draft.problem("config-contradiction-loss", "training.loss", what, expected, needs=("head",))
    if config.training.label_smoothing and not info.can_smooth:
        what, expected = f"has no meaning for the loss {name}", "0, or a cross-entropy or focal loss"
        yield from draft.problem("config-contradiction-loss", "training.label_smoothing", what, expected, needs=needs)
    if config.data.class_weights == "balanced" and config.data.labels.is_multi_label and name != CROSS_ENTROPY:
        what, expected = f"cannot weight labels in the loss {name}", f"none, or {CROSS_ENTROPY} as training.loss"
        yield from draft.problem("config-contradiction-loss", "data.class_weights", what, expected, needs=needs)


def _without_validation(draft: Draft) -> Iterator[Problem]:
    """Yield monitored validation metrics if there are no validation images."""
    config = draft.config
    if config.data.has_validation:
        return
    monitors: dict[str, str] = {"training.best.monitor": config.training.best.monitor}
    for name in ("early_stopping", "reduce_on_plateau"):
        groups = {key: group for key, group in in_every_stage(config, name).items() if group}
        monitors |= {f"{key}.monitor": group.monitor for key, group in groups.items()}
    for key, monitor in monitors.items():
        if monitor.startswith(VALIDATION):
            what = "needs validation images, but data.splits.validation is 0"
            own = monitor.removeprefix(VALIDATION)
            expected = f"{LAST} or {own}" if key == "training.best.monitor" else f"{own}, or null as the whole group"
            needs = ("data.splits.validation", "training.stages")
            yield from draft.problem("config-contradiction-validation", key, what, expected, needs=needs)


def _channels(draft: Draft) -> Iterator[Problem]:
    """Yield settings of channels and preprocessing that exclude each other."""
    data = draft.config.data
    if data.color == "bands" and data.bands is None:
        what, expected = "says nothing about the number of bands", "data.bands: N as well"
        yield from draft.problem("config-contradiction-channels", "data.color", what, expected, needs=("data.bands",))
    of_16_bits = data.range is None or all(isinstance(value, int) and 0 <= value <= 65_535 for value in data.range)
    if data.color != "bands" and not of_16_bits:
        expected = "[black, white], integers in 0-65535, or color: bands"
        yield from draft.problem("config-out-of-range", "data.range", "out of range", expected, needs=("data.color",))
    code = "config-contradiction-channels"
    for key, backbone in draft.backbones.items():
        n_trained = backbone.network.trained_channels
        fits = (1, 3) if n_trained == 3 else (n_trained,)
        if data.channels not in fits and backbone.is_pretrained and backbone.adapter == "none":
            what = f"{backbone.network.name} was pretrained on images with {n_trained} channels"
            expected = "backbone.adapter: conv1x1 as well, mode: from-scratch, or color: rgb"
            yield from draft.problem(code, "data.color", what, expected, needs=("mode", "backbone", "data.bands"))
        if backbone.preprocessing in ("caffe", "torch") and not backbone.is_pretrained and data.channels != 3:
            what, expected = f"is for three channels, and images have {data.channels}", "scale, none or [scale, offset]"
            keys = ("mode", "data.color", "data.bands", f"{key}.weights")
            yield from draft.problem(code, f"{key}.preprocessing", what, expected, needs=keys)


def _test_time_views(draft: Draft) -> Iterator[Problem]:
    """Yield settings that leave no pooled features of a frozen backbone, which views at test time need."""
    config, needs = draft.config, ("evaluation.tta", "mode", "training.stages", "backbone")
    if config.evaluation.tta == "none":
        return
    obstacles = {
        "mode": config.mode != "feature-extraction",
        "training.stages": any(stage.unfreeze != 0 for stage in config.training.stages or ()),
        **{f"{key}.adapter": backbone.has_adapter for key, backbone in draft.backbones.items()},
    }
    for key in (key for key, is_one in obstacles.items() if is_one):
        what, expected = "trains layers below the features that evaluation.tta averages", "evaluation.tta: none"
        yield from draft.problem("config-contradiction-tta", key, what, expected, needs=needs)
    unpooled = {
        "head.pooling": config.head.pooling == "flatten",
        "head.layers": any(isinstance(layer, ConvLayer) for layer in config.head.layers),
    }
    for key in (key for key, is_one in unpooled.items() if is_one):
        what, expected = "keeps places, which differ in a mirror image", "pooled features, or evaluation.tta: none"
        yield from draft.problem("config-contradiction-tta", key, what, expected, needs=needs)


def _several_backbones(draft: Draft) -> Iterator[Problem]:
    """Yield settings that contradict a list of backbones, whose features are concatenated after pooling."""
    code, config, backbones = "config-contradiction-fusion", draft.config, draft.backbones
    if len(backbones) < 2:
        return
    frozen, single = "trains a backbone, but those of a list stay frozen", "or a single backbone"
    if config.mode != "feature-extraction":
        yield from draft.problem(code, "mode", frozen, f"feature-extraction, {single}", needs=("backbone",))
    for number, stage in enumerate(config.training.stages or ()):
        if stage.unfreeze != 0:
            key, needs = f"training.stages.{number}.unfreeze", ("mode", "backbone")
            yield from draft.problem(code, key, frozen, f"0, {single}", needs=needs)
    for key, backbone in backbones.items():
        if backbone.has_adapter:
            what = "is trained below a backbone, but those of a list stay frozen"
            yield from draft.problem(code, f"{key}.adapter", what, f"none, {single}")
        first = next(other for other, same in backbones.items() if same == backbone)
        if first != key:
            what = f"is the same as {first}, so it adds no features"
            yield from draft.problem(code, key, what, "another network, other weights or other options")
    for number, layer in enumerate(config.head.layers):
        if isinstance(layer, ConvLayer):
            what = "is a convolution, but the pooled features of several backbones are vectors"
            yield from draft.problem(code, f"head.layers.{number}", what, f"a layer on vectors, {single}")


def _solver(draft: Draft) -> Iterator[Problem]:
    """Yield settings that rule out the exact solver, if the config requires it."""
    if draft.config.training.solver == "exact":
        for key, reason in exact_obstacles(draft.config):
            needs, expected = ("training.solver", "mode"), f"{EXACT_VALUES[key]}, or training.solver: gradient"
            yield from draft.problem("config-contradiction-solver", key, reason, expected, needs=needs)


def _head_convolutions(draft: Draft) -> Iterator[Problem]:
    """Yield convolutions after a dense layer, which leaves no feature maps."""
    kinds = [type(layer) for layer in draft.config.head.layers]
    for number in (number for number, kind in enumerate(kinds) if kind is ConvLayer and DenseLayer in kinds[:number]):
        what = "is a convolution after a dense layer, which has no feature maps"
        yield from draft.problem("config-contradiction-head", f"head.layers.{number}", what, "convolutions first")


def _stage_names(draft: Draft) -> Iterator[Problem]:
    keys: dict[str, str] = {}
    for number, stage in enumerate(draft.config.training.stages or ()):
        key = f"training.stages.{number}.name"
        first = keys.setdefault(stage.name.lower(), key)
        if first != key:
            hint = f"The first is at {draft.tree.nearest(first.split('.')).origin.where}."
            yield from draft.problem("config-duplicate-stage", key, "name of another stage", "a unique name", hint)


# Settings without effect, if they are written


def _without_effect(draft: Draft) -> Iterator[Problem]:
    for key, (why, expected) in idle_settings(draft.config).items():
        if (
            node := draft.tree.find(draft.key_as_written(key))
        ) and node.plain() is not None:  # null stands for the default
            group = key.rpartition(".")[0]
            needs = ("mode", "data.color", "augmentation", "training.stages", f"{group}.name", f"{group}.weights")
            yield from draft.problem("config-without-effect", key, why, expected, needs=needs)


# Names and arguments that the catalogues do not have


def _options(draft: Draft) -> Iterator[Problem]:
    for key, backbone in draft.backbones.items():
        yield from _options_of(draft, key, backbone)


def _options_of(draft: Draft, key: str, backbone: BackboneConfig) -> Iterator[Problem]:
    options: Mapping[str, Any] = {**backbone.options}
    yield from _arguments(draft, f"{key}.options", options, backbone.name, backbone.network.options)
    if options.get("blocks") is not None and "blocks" in backbone.network.options:
        for name in options.keys() & backbone.network.options.keys() - {"blocks"}:
            what = "has no effect, because each block has its own"
            yield from draft.problem("config-without-effect", f"{key}.options.{name}", what, "only blocks")


def _optimizers(draft: Draft) -> Iterator[Problem]:
    for key, optimizer in in_every_stage(draft.config, "optimizer").items():
        info, given = OPTIMIZERS[optimizer.name], optimizer.arguments
        yield from _arguments(draft, key, given, info.class_name, info.arguments)
        clips = [name for name in ("clipnorm", "clipvalue", "global_clipnorm") if given.get(name) is not None]
        if len(clips) > 1:
            second = f"{key}.{clips[1]}"
            what = f"cannot be combined with {clips[0]}"
            yield from draft.problem("config-contradiction-clipping", second, what, "only one of them", needs=(key,))
        twins = {"ema": "use_ema", "accumulation": "gradient_accumulation_steps"}
        for name in (name for name, twin in twins.items() if given.get(twin)):
            if getattr(draft.config.training, name) not in (None, 1):
                what = f"does the same as {twins[name]} of the optimizer"
                needs = (key, "training.stages")
                yield from draft.problem(
                    "config-contradiction-twins", f"training.{name}", what, "only one of them", needs=needs
                )
        # Layers with a lower rate take a part of each step, which the weights must be the sum of.
        replaces = info.class_name in ("Ftrl", "ScheduleFreeAdamW") or given.get("use_ema") is True
        if draft.config.training.layer_decay is not None and replaces:
            what, expected = (
                f"cannot scale the steps of {info.class_name}, which computes weights anew",
                "another optimizer",
            )
            if given.get("use_ema") is True:
                what, expected = (
                    "cannot scale steps, because use_ema replaces the weights",
                    "training.ema instead of use_ema",
                )
            yield from draft.problem(
                "config-contradiction-layer-decay", "training.layer_decay", what, expected, needs=(key, "mode")
            )
        if given.get("use_ema") is True and not given.get("ema_overwrite_frequency"):
            what = "computes an average that is never used as the weights"
            expected = "ema_overwrite_frequency as well"
            yield from draft.problem("config-contradiction-ema", f"{key}.use_ema", what, expected, needs=(key,))


def _arguments(
    draft: Draft, group: str, given: Mapping[str, Any], owner: str, allowed: Mapping[str, Option]
) -> Iterator[Problem]:
    is_network = group.startswith("backbone")
    needs = (f"{group.removesuffix('.options')}.name",)
    for name, value in given.items():
        key = f"{group}.{name}"
        if name not in allowed:
            names = allowed if is_network else ("name", "learning_rate", *allowed)
            hint = setting_hint(name, group, names) if names else "It has none."
            what = f"not an argument of {owner}"
            yield from draft.problem("config-unknown-argument", key, what, hint=hint, needs=needs)
        elif not allowed[name].accepts(value):
            expected = expectation(allowed[name])
            yield from draft.problem("config-argument-not-allowed", key, "not allowed", expected, needs=needs)


def _imagenet(draft: Draft) -> Iterator[Problem]:
    for key, backbone in draft.backbones.items():
        if backbone.weights != "imagenet" or any(_options_of(draft, key, backbone)):
            continue
        if what := backbone.network.imagenet_problem(backbone.options):
            needs = (key, "mode")
            yield from draft.problem("config-no-imagenet-weights", f"{key}.weights", what, needs=needs)


RULES = (
    _contradictions,
    _losses,
    _channels,
    _solver,
    _test_time_views,
    _several_backbones,
    _head_convolutions,
    _without_validation,
    _stage_names,
    _without_effect,
    _options,
    _imagenet,
    _optimizers,
)
