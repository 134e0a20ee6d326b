"""Hypothesis strategies for configs that the schema and the rules accept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.catalogue.activations import ACTIVATIONS
from cnncli.catalogue.blocks import Block
from cnncli.catalogue.misfits import find_misfit
from cnncli.catalogue.networks import NETWORKS
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.catalogue.settings import Option, Settings, with_defaults
from cnncli.config.backbone_settings import BackboneConfig
from cnncli.config.data_settings import DataConfig, LabelsConfig
from cnncli.config.fields import alternatives
from cnncli.config.head_settings import DenseLayer, DropoutLayer, HeadConfig
from cnncli.config.schema import CacheConfig, Config
from cnncli.config.training_settings import BestConfig, EarlyStoppingConfig, PlateauConfig, TrainingConfig

Mappings = st.SearchStrategy[dict[str, Any]]

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}", fullmatch=True)
# Text that YAML readers interpret as another type or as syntax, and arbitrary text.
TEXTS = st.sampled_from(
    ["1e-3", "null", "~", "yes", "1:30", "010", "a: b", "# c", "- d", "", " e ", "'", '"', "<<"]
) | (st.text(st.characters(exclude_categories=["Cs"]), max_size=12))


def values(field: FieldInfo | Option) -> st.SearchStrategy[Any]:
    """Generate values of an option, or of a setting that is not a group, from its type and limits."""
    kinds = alternatives(field.annotation, tuple(field.metadata) if isinstance(field, FieldInfo) else ())
    return st.one_of([_of_kind(kind, metadata) for kind, metadata in kinds])


def _of_kind(kind: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    limits = {
        name: getattr(item, name) for item in metadata for name in ("ge", "gt", "le", "lt") if hasattr(item, name)
    }
    if isinstance(kind, type) and issubclass(kind, Settings):
        return group(kind)
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if kind is int:
        return st.integers(limits.get("ge", 0), limits.get("le", 10**6))
    if kind is float:
        low, high = limits.get("gt", limits.get("ge", 0.0)), limits.get("lt", limits.get("le", 1e300))
        return st.floats(low, high, exclude_min="gt" in limits, exclude_max="lt" in limits)
    if get_origin(kind) is tuple:  # [lowest, highest] of floats or [height, width]
        (item, inner) = next(alternatives(get_args(kind)[0]))
        if get_args(kind)[1] is Ellipsis:
            return st.lists(_of_kind(item, inner), min_size=1, max_size=3)
        pairs = st.tuples(_of_kind(item, inner), _of_kind(item, inner))
        return pairs.map(sorted) if item is float else pairs.map(list)
    return {bool: st.booleans(), type(None): st.none(), str: TEXTS.filter(bool)}[kind]


def group(model: type[Settings], *names: str) -> Mappings:
    """Generate some settings of a group, chosen from `names` or from all its settings."""
    fields = {name: model.model_fields[name] for name in names or model.model_fields}
    return st.fixed_dictionaries({}, optional={name: values(field) for name, field in fields.items()})


def of_options(options: Mapping[str, Option]) -> Mappings:
    """Generate values for some of the options."""
    return st.fixed_dictionaries({}, optional={name: values(option) for name, option in options.items()})


@st.composite
def optimizers(draw: st.DrawFn) -> dict[str, Any]:
    """Generate an optimizer with some of its arguments."""
    name = draw(st.sampled_from(sorted(OPTIMIZERS)))
    arguments = draw(of_options(OPTIMIZERS[name].arguments))
    for clip in [clip for clip in ("clipnorm", "clipvalue", "global_clipnorm") if clip in arguments][1:]:
        del arguments[clip]
    if arguments.get("use_ema"):
        arguments["ema_overwrite_frequency"] = draw(st.integers(1, 100))
    written = draw(st.sampled_from([name, OPTIMIZERS[name].class_name]))
    return {"name": written, "learning_rate": draw(st.floats(1e-9, 10)), **arguments}


@st.composite
def schedules(draw: st.DrawFn) -> dict[str, Any]:
    """Generate a schedule with its parameters."""
    name = draw(st.sampled_from(["constant", "step", "exponential", "cosine"]))
    settings = {"name": name, "warmup_epochs": draw(st.floats(0, 3))}
    if name in ("step", "exponential"):
        settings |= {"factor": draw(st.floats(0.1, 1)), "every_epochs": draw(st.floats(0.1, 9))}
    if name == "cosine":
        settings["final_fraction"] = draw(st.floats(0, 1))
    return settings


def layers() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Generate the layers of a head."""
    activations = st.sampled_from(ACTIVATIONS)
    dense = st.fixed_dictionaries(
        {"dense": values(DenseLayer.model_fields["dense"])},
        optional={"activation": activations | st.none(), "l1": st.floats(0, 1), "l2": st.floats(0, 1)},
    )
    dropout = st.fixed_dictionaries({"dropout": values(DropoutLayer.model_fields["dropout"])})
    other = st.just({"batch_norm": True}) | st.fixed_dictionaries({"activation": activations})
    return st.lists(st.one_of(dense, dropout, other), max_size=4)


@st.composite
def augmentations(draw: st.DrawFn, color: str) -> dict[str, Any]:
    """Generate augmentation settings for images of a color mode; `views` is set only with an operation."""
    ignored = (
        "views",
        "cval",
        "cutmix",
        *(("saturation_range", "hue_range") if color in ("grayscale", "bands") else ()),
    )
    settings = draw(
        group(AugmentationConfig, *(name for name in AugmentationConfig.model_fields if name not in ignored))
    )
    if settings.get("fill_mode") == "constant":
        settings["cval"] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        settings |= {"horizontal_flip": True, "views": draw(st.sampled_from([None, "fresh", 1, 7]))}
    return settings


UNFREEZE = st.integers(1, 50) | st.just("all") | TEXTS.filter(bool)


@st.composite
def stages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Generate stages with unique names; early stopping may be null."""
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique_by=str.lower))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "unfreeze": st.just(0) | UNFREEZE,
        "epochs": st.integers(1, 99),
        "optimizer": optimizers(),
        "schedule": schedules(),
        "reduce_on_plateau": st.none() | group(PlateauConfig),
        "early_stopping": st.none() | group(EarlyStoppingConfig),
        "batch_norm": st.sampled_from(["frozen", "train"]),
    }
    return [{"name": name, **draw(st.fixed_dictionaries({}, optional=optional))} for name in names]


@st.composite
def trainings(draw: st.DrawFn, mode: str) -> dict[str, Any]:
    """Generate training settings for a mode, with or without explicit stages."""
    optional: dict[str, st.SearchStrategy[Any]] = {
        "optimizer": optimizers(),
        "schedule": schedules(),
        "reduce_on_plateau": st.none() | group(PlateauConfig),
        "early_stopping": st.none() | group(EarlyStoppingConfig),
        "best": group(BestConfig),
        "stages": stages(),
    }
    if mode == "fine-tuning":
        optional["unfreeze"] = UNFREEZE
    plain = draw(group(TrainingConfig, "batch_size", "epochs", "label_smoothing", "batch_norm", "l1", "l2"))
    return {**plain, **draw(st.fixed_dictionaries({}, optional=optional))}


def blocks() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Generate blocks of a ConvNet."""
    names = ("filters", "kernel_size", "padding", "activation", "batch_norm", "l2", "dropout", "initializer", "repeat")
    return st.lists(group(Block, *names), max_size=3)


@st.composite
def backbones(draw: st.DrawFn, mode: str) -> dict[str, Any]:
    """Generate a network with options, and weights that exist for them."""
    name = draw(st.sampled_from(sorted(NETWORKS)))
    settings: dict[str, Any] = {"name": draw(st.sampled_from([name, name.lower(), name.upper()]))}
    plain = {option: kind for option, kind in NETWORKS[name].options.items() if option != "blocks"}
    options = settings["options"] = draw(of_options(plain))
    if name == "ConvNet" and draw(st.booleans()):
        options = settings["options"] = {"blocks": draw(blocks())}
    settings["output_layer"] = draw(st.none() | TEXTS.filter(bool))
    if NETWORKS[name].top_layers and mode == "from-scratch" and draw(st.booleans()):
        settings |= {"output_layer": None, "include_top_layers": draw(st.sampled_from(NETWORKS[name].top_layers))}
    if mode != "from-scratch":
        choices = ["none", "/weights/my net.weights.h5", "imagenet"]
        settings["weights"] = draw(st.sampled_from(choices[: 2 if NETWORKS[name].imagenet_problem(options) else 3]))
    return settings


def labels() -> st.SearchStrategy[Any]:
    """Generate no labels, a table's path, or a table with columns; it need not exist."""
    table = st.just("/data/my labels.csv")
    columns = group(LabelsConfig, "image", "label", "split", "separator")
    return st.none() | table | st.builds(lambda path, columns: {"path": path, **columns}, table, columns)


def _is_too_large(options: Mapping[str, Any], image_size: int | list[int] | None) -> bool:
    """Return whether a kernel or window of a ConvNet does not fit images of a size."""
    info = NETWORKS["ConvNet"]
    size = image_size or info.input_size
    height, width = (size, size) if isinstance(size, int) else size
    options = BackboneConfig.model_validate({"name": info.name, "options": options}).options
    return find_misfit(with_defaults(info.options, options), height, width, channels=3) is not None


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Generate a complete config as a mapping; its data folder and weights file need not exist."""
    mode = draw(st.sampled_from(["feature-extraction", "fine-tuning", "from-scratch"]))
    size = st.integers(75, 400)
    ignored = ("path", "labels", "groups", "image_size", "splits", "folds", "color", "bands", "range", "dicom")
    data = draw(group(DataConfig, *(name for name in DataConfig.model_fields if name not in ignored)))
    data["path"] = "/data/" + draw(TEXTS.filter(lambda text: "\0" not in text))
    data["labels"] = draw(labels())
    colors = ["rgb", "grayscale", *(["rgba", "bands"] if mode == "from-scratch" else [])]
    data["color"] = draw(st.sampled_from(colors))
    if data["color"] == "bands":
        data["bands"] = draw(st.integers(1, 512))
    limits = st.tuples(st.integers(0, 65_535), st.integers(0, 65_535)).filter(lambda pair: pair[0] != pair[1])
    data["range"] = draw(st.none() | limits.map(sorted))
    data["dicom"] = {"window": draw(st.none() | st.tuples(st.floats(-1e4, 1e4), st.floats(0.1, 1e4)).map(list))}
    data["groups"] = draw(st.sampled_from([None, {"folder": 2}, {"regex": "(p[0-9]+)"}]))
    data["image_size"] = draw(st.none() | size | st.lists(size, min_size=2, max_size=2))
    data["splits"] = {"validation": draw(st.floats(0.01, 0.5)), "test": draw(st.floats(0, 0.49))}
    backbone = draw(backbones(mode))
    if backbone["name"].lower() == "convnet" and _is_too_large(backbone["options"], data["image_size"]):
        backbone["options"] = {}
    head = draw(group(HeadConfig, "pooling", "activation", "l1", "l2"))
    if LabelsConfig.model_validate(data["labels"] or {}).is_multi_label:
        head.pop("activation", None)  # only sigmoid is allowed
    optional = {"name": NAMES, **{name: values(Config.model_fields[name]) for name in ("seed", "engine", "precision")}}
    common = draw(st.fixed_dictionaries({}, optional=optional))
    if mode == "from-scratch" or common.get("engine") == "keras":
        common = {name: value for name, value in common.items() if value != "int8"}
    return {
        **common,
        "mode": mode,
        "data": data,
        "backbone": backbone,
        "head": {**head, "layers": draw(layers())},
        "augmentation": draw(augmentations(data.get("color", "rgb"))),
        "training": draw(trainings(mode)),
        "cache": draw(group(CacheConfig)),
    }
