"""Settings that do not go together, and names that are in no catalogue."""

# ruff: noqa: E501  sentences are compared whole

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cnncli.config.check import Check
from cnncli.config.contradictions import RULES
from cnncli.config.draft import Draft
from cnncli.config.names import NAME_RULES
from cnncli.config.reader import config_from_mapping, load_config
from cnncli.config.schema import Config
from cnncli.config.tree import Origin, tree_of
from tests.config.conftest import Lines

PATH = "data: {path: images}\n"

CASES = [
    (
        "mode: from-scratch\nbackbone: {weights: imagenet}",
        "a.yaml:3:12: backbone.weights: contradicts mode: from-scratch (received 'imagenet'), expected none, or another mode.",
    ),
    (
        "training: {unfreeze: 8}",
        "a.yaml:2:12: training.unfreeze: has no effect in mode feature-extraction (received 8),"
        " expected mode: fine-tuning with it.",
    ),
    (
        "mode: from-scratch\ntraining: {unfreeze: 4}",
        "a.yaml:3:12: training.unfreeze: has no effect in mode from-scratch (received 4), expected mode: fine-tuning with it.",
    ),
    (
        "mode: fine-tuning\ntraining: {unfreeze: 0}",
        "a.yaml:3:12: training.unfreeze: leaves mode: fine-tuning nothing to tune (received 0), expected 1 or more,"
        " a name or all.",
    ),
    (
        "training: {schedule: {name: cosine, factor: 0.1}}",
        "a.yaml:2:37: training.schedule.factor: has no effect on a cosine schedule (received 0.1),"
        " expected step or exponential as training.schedule.name.",
    ),
    (
        "training: {stages: [{name: a, schedule: {final_fraction: 0.1}}]}",
        "a.yaml:2:42: training.stages.0.schedule.final_fraction: has no effect on a constant schedule (received 0.1),"
        " expected cosine as training.stages.0.schedule.name.",
    ),
    (
        "augmentation: {cval: 3}",
        "a.yaml:2:16: augmentation.cval: has no effect with fill_mode: nearest (received 3),"
        " expected augmentation.fill_mode: constant with it.",
    ),
    (
        "augmentation: {views: 4}",
        "a.yaml:2:16: augmentation.views: every view would be the image itself (received 4),"
        " expected an operation that is switched on.",
    ),
    (
        "data: {path: images, color: grayscale}\naugmentation: {hue_range: 0.1}",
        "a.yaml:2:16: augmentation.hue_range: has no effect on grayscale images (received 0.1),"
        " expected data.color: rgb with it.",
    ),
    (
        "mode: fine-tuning\naugmentation: {cutmix: 1}",
        "a.yaml:3:16: augmentation.cutmix: pastes pixels, and stage head trains on features of a frozen backbone"
        " (received 1), expected unfreeze: all in every stage, as in mode: from-scratch, or augmentation.mixup.",
    ),
    (
        "training: {stages: [{name: head}, {name: Head}]}",
        "a.yaml:2:36: training.stages.1.name: a name for two stages (received 'Head'), expected one of its own."
        " The first is at a.yaml:2:22.",
    ),
    (
        "training: {optimizer: {clipnorm: 1, global_clipnorm: 1}}",
        "a.yaml:2:37: training.optimizer.global_clipnorm: a second way of clipping beside clipnorm (received 1),"
        " expected one of them.",
    ),
    (
        "training: {optimizer: {use_ema: true}}",
        "a.yaml:2:24: training.optimizer.use_ema: an average that never replaces the weights (received true),"
        " expected ema_overwrite_frequency beside it.",
    ),
    (
        "training: {optimizer: {name: adamm}}",
        "a.yaml:2:24: training.optimizer.name: unknown optimizer (received 'adamm'), expected a class of keras.optimizers."
        " Did you mean Adam?",
    ),
    (
        "training: {optimizer: {name: sgd, betas: 1}}",
        "a.yaml:2:35: training.optimizer.betas: not an argument of SGD (received 1). There are name, learning_rate,"
        " weight_decay, clipnorm, clipvalue, global_clipnorm, use_ema, ema_momentum, ema_overwrite_frequency,"
        " gradient_accumulation_steps, momentum, nesterov.",
    ),
    (
        "training: {optimizer: {name: nobody, betas: 1}, stages: [{name: a, optimizer: {momentum: 0.9}}]}",
        "a.yaml:2:24: training.optimizer.name: unknown optimizer (received 'nobody'), expected a class of keras.optimizers."
        " There are Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, Ftrl, Lamb, Lion, Muon, Nadam, RMSprop, SGD,"
        " ScheduleFreeAdamW.",
    ),
    (
        "training: {optimizer: {beta_1: 1}}",
        "a.yaml:2:24: training.optimizer.beta_1: not allowed (received 1), expected a number at least 0 and below 1.",
    ),
    (
        "training: {optimizer: {weight_decay: none}}",
        "a.yaml:2:24: training.optimizer.weight_decay: not allowed (received 'none'),"
        " expected a number at least 0 or null.",
    ),
    (
        "backbone: {name: ResNet5O}",
        "a.yaml:2:12: backbone.name: unknown network (received 'ResNet5O'), expected a name of `cnncli backbones`."
        " Did you mean ResNet50?",
    ),
    (
        "backbone: {name: VGG16, options: {alpha: 1}}",
        "a.yaml:2:35: backbone.options.alpha: not an option of VGG16, which has none (received 1).",
    ),
    (
        "backbone: {name: MobileNetV2, options: {alhpa: 1}}",
        "a.yaml:2:41: backbone.options.alhpa: not an option of MobileNetV2 (received 1)."
        " Did you mean backbone.options.alpha?",
    ),
    (
        "backbone: {name: MobileNetV2, options: {alpha: 0}}",
        "a.yaml:2:41: backbone.options.alpha: not allowed (received 0), expected a number above 0.",
    ),
    (
        "backbone: {name: MobileNetV2, options: {alpha: 0.3}}",
        "a.yaml:2:1: backbone.weights: MobileNetV2 has no ImageNet weights for alpha: 0.3 …",
    ),
    ("backbone: {name: ConvNet}", "a.yaml:2:1: backbone.weights: ConvNet has no ImageNet weights…"),
    (
        "data: {path: images, image_size: [300, 70]}\nbackbone: {name: Xception}",
        "a.yaml:1:22: data.image_size: too small for Xception (received [300, 70]), expected at least 71 pixels each way.",
    ),
    (
        "head: {layers: [{activation: Relu}]}",
        "a.yaml:2:18: head.layers.0.activation: unknown activation (received 'Relu'),"
        " expected an activation of Keras by name. Did you mean relu?",
    ),
]  # fmt: skip


def with_path(text: str) -> str:
    """A text with the one setting that is required."""
    return text if "path: " in text else PATH + text


@pytest.mark.parametrize(("text", "line"), CASES, ids=[text for text, _ in CASES])
def test_contradiction_is_one_line_at_its_place(lines_of: Lines, text: str, line: str) -> None:
    """Where it was written, what it contradicts, and what would be right."""
    beginning, cut, _ = line.partition("…")
    found = [one for one in lines_of(with_path(text)) if one.startswith(beginning)]
    assert len(found) == 1
    assert cut or found == [line]


def test_every_rule_has_a_case() -> None:
    """A rule that no case here breaks would be a promise without a test."""
    silent = {*RULES, *NAME_RULES}
    for text, _ in [*CASES, ("data: {path: ., splits: {validation: 0.6, test: 0.4}}", "")]:
        settings = yaml.safe_load(text)
        tree = tree_of({"data": {"path": "."}, **settings}, Origin("", Path("/")))
        check = Check(tree)
        draft = Draft(Config.model_validate(check.values), tree, check.wrong)
        silent -= {rule for rule in silent if any(rule(draft))}
    assert not silent


def test_splits_must_leave_something_to_train_on(lines_of: Lines) -> None:
    """Also where one of the two is a default."""
    assert lines_of("data: {path: images, splits: {validation: 0.9}}") == [
        "a.yaml:1:22: data.splits: validation and test leave nothing to train on: 0.9 + 0.15"
        " (received {validation: 0.9}), expected a sum below 1."
    ]


@pytest.mark.parametrize(
    "text",
    [
        "training: {unfreeze: 0}",
        "mode: from-scratch\ntraining: {unfreeze: all}",
        "mode: fine-tuning\ntraining: {unfreeze: block5_conv1}",
        "training: {unfreeze: 8, stages: [{name: a}]}",
        "augmentation: {views: 1}",
        "augmentation: {views: fresh, horizontal_flip: true}",
        "augmentation: {views: 2, random_erasing: {}}",
        "augmentation: {mixup: 0.2}",
        "mode: from-scratch\naugmentation: {mixup: 0.2, cutmix: 1.0}",
        "data: {path: images, color: grayscale}\naugmentation: {channel_shift_range: 9, rand_augment: {}}",
        "training: {optimizer: {weight_decay: null, clipnorm: 1, clipvalue: null}}",
        "backbone: {name: ConvNet, weights: none}",
        "mode: from-scratch\nbackbone: {name: convnet, options: {filters: [8, 16]}}",
    ],
)
def test_what_goes_together_is_accepted(folder: Path, text: str) -> None:
    """Close to a contradiction, but none."""
    Path("a.yaml").write_text(with_path(text))
    load_config("a.yaml", environment={})


def test_rules_stay_silent_about_what_is_already_reported(lines_of: Lines) -> None:
    """A wrong mode is one error and not two."""
    (line,) = lines_of(PATH + "mode: fine-tunning\ntraining: {unfreeze: 8}")
    assert "Did you mean fine-tuning?" in line
    (line,) = lines_of(PATH + "backbone: {name: ConvNett}")
    assert "Did you mean ConvNet?" in line


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (
            None,
            "no such file: {folder}/w.h5 (received 'w.h5'), expected imagenet, none or a file (.weights.h5, .h5, .keras).",
        ),
        ("folder", "a folder (received 'w.h5'), expected imagenet, none or a file (.weights.h5, .h5, .keras)."),
    ],
)
def test_weights_file_must_be_there(folder: Path, lines_of: Lines, make: str | None, line: str) -> None:
    """A file, and a kind of file that can hold weights."""
    if make == "folder":
        Path("w.h5").mkdir()
    (found,) = lines_of(PATH + "backbone: {weights: w.h5}")
    assert found.startswith("a.yaml:2:12: backbone.weights: " + line.format(folder=folder))


def test_weights_file_needs_a_known_ending(folder: Path, lines_of: Lines) -> None:
    """The ending tells the format."""
    Path("w.pt").touch()
    assert lines_of(PATH + "backbone: {weights: w.pt}") == [
        "a.yaml:2:12: backbone.weights: not a weights file by its name (received 'w.pt'),"
        " expected imagenet, none or a file (.weights.h5, .h5, .keras)."
    ]
    Path("w.weights.h5").touch()
    config = config_from_mapping({"data": {"path": "images"}, "backbone": {"weights": "w.weights.h5"}}, environment={})
    assert config.backbone.weights == str(folder / "w.weights.h5")


def test_misspelt_word_for_weights_is_recognised(lines_of: Lines) -> None:
    """It would be a file otherwise."""
    (line,) = lines_of(PATH + "backbone: {weights: ImageNet}")
    assert line.endswith("Did you mean imagenet?")


def test_data_path_must_be_a_folder(folder: Path, lines_of: Lines) -> None:
    """A file, an archive, a name with a slip, a way that ends early, a name no system takes."""
    Path("train.zip").touch()
    assert lines_of("data: {path: train.zip}") == [
        "a.yaml:1:8: data.path: a file (received 'train.zip'), expected a folder of images."
        " `cnncli data prepare` arranges known archives."
    ]
    (line,) = lines_of("data: {path: imgaes}")
    assert line.endswith("Did you mean images?")
    (line,) = lines_of("data: {path: far/away/images}")
    assert line.endswith(f"The path exists up to {folder}.")
    (line,) = lines_of(f"data: {{path: {'x' * 300}}}")
    assert "data.path: file name too long: " in line
    (line,) = lines_of('data: {path: "a\\0b"}')
    assert "data.path: a name that no file can have: " in line
