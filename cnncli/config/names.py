"""Names in a config against the catalogues: networks and their options, optimizers and their arguments, activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.catalogue.networks import NETWORKS, NetworkInfo
from cnncli.catalogue.optimizers import OPTIMIZERS, OptimizerInfo
from cnncli.config.draft import Draft, optimizers_of
from cnncli.config.problems import Problem
from cnncli.config.schema import ActivationLayer, Config, DenseLayer, OptimizerConfig
from cnncli.config.suggestions import setting_hint, word_hint

_NETWORKS_BY_LOWER = {name.lower(): info for name, info in NETWORKS.items()}


def network_of(config: Config) -> NetworkInfo | None:
    """The network a config names, upper and lower case alike; None where there is none of that name."""
    return _NETWORKS_BY_LOWER.get(config.backbone.name.lower())


def _backbone(draft: Draft) -> Iterator[Problem]:
    if draft.is_sound("backbone.name") and network_of(draft.config) is None:
        hint = word_hint(draft.config.backbone.name, NETWORKS)
        yield draft.problem("backbone.name", "unknown network", "a name of `cnncli backbones`", hint)


def _options(draft: Draft) -> Iterator[Problem]:
    info = network_of(draft.config)
    if info is None or not draft.is_sound("backbone.name", "backbone.options"):
        return
    for name, value in draft.config.backbone.options.items():
        key = f"backbone.options.{name}"
        if name not in info.options:
            hint = setting_hint(name, "backbone.options", info.options)
            what = f"not an option of {info.name}{'' if info.options else ', which has none'}"
            yield draft.problem(key, what, hint=hint if info.options else "")
        elif not info.options[name].accepts(value):
            yield draft.problem(key, "not allowed", info.options[name].expected)


def _imagenet(draft: Draft) -> Iterator[Problem]:
    info, backbone = network_of(draft.config), draft.config.backbone
    if info is None or backbone.weights != "imagenet" or not draft.is_sound("backbone", "mode"):
        return
    if not any(_options(draft)) and (what := info.imagenet_problem(backbone.options)):
        yield draft.problem("backbone.weights", what)


def _image_size(draft: Draft) -> Iterator[Problem]:
    info, size = network_of(draft.config), draft.config.data.image_size
    if info is None or size is None or not draft.is_sound("data.image_size", "backbone.name"):
        return
    if min((size,) if isinstance(size, int) else size) < info.min_size:
        expected = f"at least {info.min_size} pixels each way"
        yield draft.problem("data.image_size", f"too small for {info.name}", expected)


def _optimizers(draft: Draft) -> Iterator[Problem]:
    for key, optimizer in optimizers_of(draft.config).items():
        if not draft.is_sound(f"{key}.name"):
            continue
        info = OPTIMIZERS.get(optimizer.name.lower())
        if info is None:
            names = [known.class_name for known in OPTIMIZERS.values()]
            hint = word_hint(optimizer.name, names) or f"There are {', '.join(names)}."
            yield draft.problem(f"{key}.name", "unknown optimizer", "a class of keras.optimizers", hint)
        yield from _arguments(draft, key, optimizer, info or _ANY_OPTIMIZER)


# Where the name is wrong, an argument is still judged: it must be one of some optimizer.
_ANY_OPTIMIZER = OptimizerInfo(
    "any optimizer", {name: option for info in OPTIMIZERS.values() for name, option in info.arguments.items()}
)


def _arguments(draft: Draft, key: str, optimizer: OptimizerConfig, info: OptimizerInfo) -> Iterator[Problem]:
    for name, value in optimizer.arguments.items():
        option = info.arguments.get(name)
        if option is None:
            hint = setting_hint(name, key, ("name", "learning_rate", *info.arguments))
            yield draft.problem(f"{key}.{name}", f"not an argument of {info.class_name}", hint=hint)
        elif not option.accepts(value) and not (value is None and option.default is None):
            expected = f"{option.expected} or null" if option.default is None else option.expected
            yield draft.problem(f"{key}.{name}", "not allowed", expected)


def _activations(draft: Draft) -> Iterator[Problem]:
    for number, layer in enumerate(draft.config.head.layers):
        key = f"head.layers.{number}.activation"
        if not isinstance(layer, DenseLayer | ActivationLayer) or not draft.is_sound(key):
            continue
        if layer.activation is not None and layer.activation not in ACTIVATIONS:
            hint = word_hint(layer.activation, ACTIVATIONS) or f"There are {', '.join(ACTIVATIONS)}."
            yield draft.problem(key, "unknown activation", "an activation of Keras by name", hint)


NAME_RULES: tuple[Callable[[Draft], Iterator[Problem]], ...] = (
    _backbone,
    _options,
    _imagenet,
    _image_size,
    _optimizers,
    _activations,
)
