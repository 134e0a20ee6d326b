"""The settings of a config: names, types, ranges, defaults and documentation.

Together with the modules of its groups, this is the only definition of the settings; the reader, error messages,
`cnncli config schema` and the settings reference are generated from it. Plain pydantic, without TensorFlow. A `Config`
is frozen and is created by `config.reader`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from cnncli.augmentation.settings import AugmentationConfig
from cnncli.catalogue.optimizers import OPTIMIZERS
from cnncli.catalogue.settings import Expected, Seed, Settings
from cnncli.config.backbone_settings import BackboneConfig, Backbones
from cnncli.config.data_settings import DataConfig
from cnncli.config.head_settings import HeadConfig
from cnncli.config.training_settings import TrainingConfig

Mode = Literal["feature-extraction", "fine-tuning", "from-scratch"]
MAX_NAME_LENGTH = 100
"""Maximum length of the name of a run."""


class EvaluationConfig(Settings):
    """Views of an image at test time, and the images that are answered."""

    tta: Literal["none", "flip"] = "none"
    """Views at test time: flip averages the features of each image and its mirror image, in training, `evaluate` and
    `predict` alike; for a frozen backbone, whose features are pooled."""
    coverage: float | None = Field(default=0.95, gt=0.0, le=1.0)
    """Fraction of the validation images that are answered. Images that are more doubtful than these, because they are
    unlike the training images or between two classes, are `unknown` in `predict`. null: every image is answered."""
    verify: bool = True
    """Whether new processes load the saved run after training and must give the results that were reported; otherwise
    the run is failed, with exit code 3."""


class CacheConfig(Settings):
    """Feature cache settings."""

    max_gb: float | None = Field(default=None, gt=0.0)
    """Maximum size of the feature cache in GB (1,000,000,000 bytes), not counting entries in use. Least recently used
    entries are evicted first. Default: half of the sum of the cache's size and the free space on its disk."""

    @property
    def max_bytes(self) -> int | None:
        """Maximum size of the feature cache in bytes, or None."""
        # No disk is larger than 1e9 GB, and no integer is infinite.
        return None if self.max_gb is None else int(min(self.max_gb, 1e9) * 1e9)


RunName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MAX_NAME_LENGTH),
    Expected(f"a name of at most {MAX_NAME_LENGTH} ASCII letters, digits, ., - and _"),
]


class Config(Settings):
    """All settings of one run; only `data.path` has no default."""

    name: RunName | None = None
    """Name of the run; default: the names of backbone and mode."""
    mode: Mode = "feature-extraction"
    """feature-extraction: train the head; fine-tuning: the head first, then the top of the backbone as well;
    from-scratch: all layers, from random weights."""
    seed: Seed = 0
    """Random seed of splits, initial weights, image order, fresh views and dropout."""
    data: DataConfig
    """Images, and how they are decoded."""
    backbone: Backbones = BackboneConfig()
    """Pretrained network without its classification layers, or a list of networks, whose pooled features are
    concatenated: each of them has the settings of a single one."""
    head: HeadConfig = HeadConfig()
    """Layers on top of the backbone."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes to training images."""
    training: TrainingConfig = TrainingConfig()
    """Training of the layers that are not frozen."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Views of an image at test time, and the images that are answered."""
    engine: Literal["auto", "keras", "openvino"] = "auto"
    """Engine that runs the frozen part (the trunk); auto: Keras on a GPU, else OpenVINO."""
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    """Precision of the trunk, and of trained convolutions. int8 quantizes the trunk if its features agree well enough.
    auto: int8 if it saves time and NNCF (cnncli[int8]) is installed, else bfloat16 if OpenVINO or the GPU supports it,
    else float32."""
    tracking: Literal["tensorboard", "mlflow"] = "tensorboard"
    """tensorboard: logs for TensorBoard in the run directory; mlflow: the same, and parameters, metrics, figures,
    report and model in MLflow (cnncli[tracking]), at MLFLOW_TRACKING_URI, else in a database in the runs' folder."""
    cache: CacheConfig = CacheConfig()
    """Feature cache settings."""

    @property
    def backbones(self) -> tuple[BackboneConfig, ...]:
        """The backbone, or all backbones of a list."""
        return self.backbone if isinstance(self.backbone, tuple) else (self.backbone,)

    @property
    def backbones_by_key(self) -> dict[str, BackboneConfig]:
        """The backbone as `backbone`, or those of a list as `backbone.0`, `backbone.1` and so on."""
        if not isinstance(self.backbone, tuple):
            return {"backbone": self.backbone}
        return {f"backbone.{number}": backbone for number, backbone in enumerate(self.backbone)}

    @property
    def networks(self) -> str:
        """Names of the networks."""
        return " + ".join(backbone.network.name for backbone in self.backbones)

    @property
    def is_pretrained(self) -> bool:
        """Whether a backbone has pretrained weights."""
        return any(backbone.is_pretrained for backbone in self.backbones)

    @property
    def has_adapter(self) -> bool:
        """Whether a trained adapter of channels is below a backbone."""
        return any(backbone.has_adapter for backbone in self.backbones)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file, with which editors complete and check.

    It checks each setting on its own; contradictions and missing files are found by `cnncli config validate`.
    """
    # Descriptions have the line breaks of the source.
    schema: dict[str, Any] = json.loads(json.dumps(Config.model_json_schema()).replace("\\n", " "))
    groups = schema["$defs"]
    arguments = {name: option for info in OPTIMIZERS.values() for name, option in info.arguments.items()}
    groups["OptimizerConfig"]["properties"].update(
        {
            name: {**TypeAdapter(option.annotation).json_schema(), "description": option.doc}
            for name, option in arguments.items()
        }
    )
    groups["OptimizerConfig"]["additionalProperties"] = False
    # A heading whose lines are all commented out is null and stands for the defaults.
    for group in (schema, *groups.values()):
        for field in group["properties"].values():
            if "$ref" in field:
                group_name = field["$ref"].rpartition("/")[2]
                field.setdefault("description", groups[group_name]["description"])
                path = [{"type": "string", "minLength": 1}] if group_name == "LabelsConfig" else []
                field["anyOf"] = [{"$ref": field.pop("$ref")}, {"type": "null"}, *path]
    layers = groups["HeadConfig"]["properties"]["layers"]
    layers["type"] = [layers["type"], "null"]
    schema["properties"]["backbone"]["oneOf"].append({"type": "null"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "cnncli config"}
