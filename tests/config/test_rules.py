"""Rules that find contradictions between settings, settings without effect and unknown names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnncli.config import rules
from cnncli.config.notes import notes_of
from cnncli.config.reader import config_from_mapping, load_config
from tests.config.conftest import Problems, summary
from tests.support.drawing import tiny_config

PATH = "data: {path: images}\n"

CASES = [
    (
        "mode: fine-tuning\nbackbone: [{name: VGG16}, {name: ResNet50}]",
        "config-contradiction-fusion 2:1 mode",
        "fine-tuning",
    ),
    (
        "backbone: [{name: VGG16}, {name: ResNet50}]\ntraining: {stages: [{name: a, unfreeze: 3}]}",
        "config-contradiction-fusion 3:31 training.stages.0.unfreeze",
        3,
    ),
    (
        "backbone: [{name: VGG16}, {name: ResNet50, adapter: conv1x1}]",
        "config-contradiction-fusion 2:44 backbone.1.adapter",
        "conv1x1",
    ),
    (
        "backbone: [{name: VGG16}, {name: ResNet50}]\nhead: {layers: [{conv: 4}]}",
        "config-contradiction-fusion 3:17 head.layers.0",
        {"conv": 4},
    ),
    (
        "backbone: [{name: VGG16}, {name: vgg-16}]",
        "config-contradiction-fusion 2:27 backbone.1",
        {"name": "vgg-16"},
    ),
    (
        "backbone: [{name: VGG16}, {name: MobileNet, options: {alpha: 0.3}}]",
        "config-no-imagenet-weights 2:27 backbone.1.weights",
        "imagenet",
    ),
    ("backbone: [{adapter: conv1x1, weights: none}]", "config-without-effect 2:13 backbone.0.adapter", "conv1x1"),
    (
        "mode: from-scratch\nbackbone: {weights: imagenet}",
        "config-contradiction-weights 3:12 backbone.weights",
        "imagenet",
    ),
    (
        "data: {path: images, color: rgba}",
        "config-contradiction-channels 1:22 data.color",
        "rgba",
    ),
    ("data: {path: images, range: [0, 0.5]}", "config-out-of-range 1:22 data.range", [0, 0.5]),
    ("data: {path: images, bands: 5}", "config-without-effect 1:22 data.bands", 5),
    (
        "head: {layers: [{dense: 4}, {conv: 4}]}",
        "config-contradiction-head 2:29 head.layers.1",
        {"conv": 4},
    ),
    (
        "head: {layers: [{dense: 4}]}\ntraining: {solver: exact}",
        "config-contradiction-solver 2:8 head.layers",
        [{"dense": 4}],
    ),
    (
        "mode: fine-tuning\ntraining: {solver: exact}",
        "config-contradiction-solver 2:1 mode",
        "fine-tuning",
    ),
    (
        "augmentation: {horizontal_flip: true, mixup: 0.2}\ntraining: {solver: exact}",
        "config-contradiction-solver 2:39 augmentation.mixup",
        0.2,
    ),
    ("mode: fine-tuning\nevaluation: {tta: flip}", "config-contradiction-tta 2:1 mode", "fine-tuning"),
    (
        "head: {pooling: flatten}\nevaluation: {tta: flip}",
        "config-contradiction-tta 2:8 head.pooling",
        "flatten",
    ),
    (
        "head: {layers: [{conv: 4}]}\nevaluation: {tta: flip}",
        "config-contradiction-tta 2:8 head.layers",
        [{"conv": 4}],
    ),
    (
        "backbone: {adapter: conv1x1}\nevaluation: {tta: flip}",
        "config-contradiction-tta 2:12 backbone.adapter",
        "conv1x1",
    ),
    ("training: {solver: exact, epochs: 5}", "config-without-effect 2:27 training.epochs", 5),
    ("training: {unfreeze: 8}", "config-without-effect 2:12 training.unfreeze", 8),
    ("mode: from-scratch\ntraining: {unfreeze: 4}", "config-without-effect 3:12 training.unfreeze", 4),
    (
        "mode: fine-tuning\ntraining: {gradual_unfreezing: [4, 2]}",
        "config-contradiction-unfreeze 3:12 training.gradual_unfreezing",
        [4, 2],
    ),
    ("training: {gradual_unfreezing: [2]}", "config-without-effect 2:12 training.gradual_unfreezing", [2]),
    (
        "mode: fine-tuning\ntraining: {gradual_unfreezing: [2], unfreeze: 3}",
        "config-without-effect 3:37 training.unfreeze",
        3,
    ),
    ("training: {layer_decay: 0.5}", "config-without-effect 2:12 training.layer_decay", 0.5),
    (
        "mode: fine-tuning\ntraining: {layer_decay: 0.5, optimizer: {name: ftrl}}",
        "config-contradiction-layer-decay 3:12 training.layer_decay",
        0.5,
    ),
    (
        "mode: fine-tuning\ntraining: {layer_decay: 0.5, optimizer: {use_ema: true, ema_overwrite_frequency: 3}}",
        "config-contradiction-layer-decay 3:12 training.layer_decay",
        0.5,
    ),
    (
        "training: {ema: 0.9, optimizer: {use_ema: true, ema_overwrite_frequency: 3}}",
        "config-contradiction-twins 2:12 training.ema",
        0.9,
    ),
    (
        "training: {accumulation: 2, optimizer: {gradient_accumulation_steps: 2}}",
        "config-contradiction-twins 2:12 training.accumulation",
        2,
    ),
    ("mode: fine-tuning\ntraining: {unfreeze: 0}", "config-contradiction-unfreeze 3:12 training.unfreeze", 0),
    (
        "training: {schedule: {name: cosine, factor: 0.1}}",
        "config-without-effect 2:37 training.schedule.factor",
        0.1,
    ),
    (
        "training: {stages: [{name: a, schedule: {final_fraction: 0.1}}]}",
        "config-without-effect 2:42 training.stages.0.schedule.final_fraction",
        0.1,
    ),
    ("data: {path: images, groups: {}}", "config-contradiction-groups 1:22 data.groups", {}),
    (
        'data: {path: images, labels: {separator: "_"}}\nhead: {activation: softmax}',
        "config-contradiction-labels 2:8 head.activation",
        "softmax",
    ),
    (
        "training: {loss: hinge, label_smoothing: 0.1}",
        "config-contradiction-loss 2:25 training.label_smoothing",
        0.1,
    ),
    ("augmentation: {cval: 3}", "config-without-effect 2:16 augmentation.cval", 3),
    ("augmentation: {views: 4}", "config-without-effect 2:16 augmentation.views", 4),
    (
        "data: {path: images, color: grayscale}\naugmentation: {hue_range: 0.1}",
        "config-without-effect 2:16 augmentation.hue_range",
        0.1,
    ),
    ("mode: fine-tuning\naugmentation: {cutmix: 1}", "config-contradiction-cutmix 3:16 augmentation.cutmix", 1),
    (
        "training: {stages: [{name: head}, {name: Head}]}",
        "config-duplicate-stage 2:36 training.stages.1.name",
        "Head",
    ),
    (
        "training: {optimizer: {clipnorm: 1, global_clipnorm: 1}}",
        "config-contradiction-clipping 2:37 training.optimizer.global_clipnorm",
        1,
    ),
    ("training: {optimizer: {use_ema: true}}", "config-contradiction-ema 2:24 training.optimizer.use_ema", True),
    ("training: {optimizer: {name: adamm}}", "config-unknown-name 2:24 training.optimizer.name", "adamm"),
    (
        "training: {optimizer: {name: sgd, betas: 1}}",
        "config-unknown-argument 2:35 training.optimizer.betas",
        1,
    ),
    (
        "training: {optimizer: {name: nobody}, stages: [{name: a, optimizer: {momentum: 0.9}}]}",
        "config-unknown-name 2:24 training.optimizer.name",
        "nobody",
    ),
    ("training: {optimizer: {beta_1: 1}}", "config-argument-not-allowed 2:24 training.optimizer.beta_1", 1),
    (
        "training: {optimizer: {weight_decay: none}}",
        "config-argument-not-allowed 2:24 training.optimizer.weight_decay",
        "none",
    ),
    ("backbone: {name: ResNet5O}", "config-unknown-name 2:12 backbone.name", "ResNet5O"),
    ("backbone: {name: VGG16, options: {alpha: 1}}", "config-unknown-argument 2:35 backbone.options.alpha", 1),
    ("backbone: {name: MobileNetV2, options: {alhpa: 1}}", "config-unknown-argument 2:41 backbone.options.alhpa", 1),
    (
        "backbone: {name: MobileNetV2, options: {alpha: 0}}",
        "config-argument-not-allowed 2:41 backbone.options.alpha",
        0,
    ),
    (
        "backbone: {name: MobileNetV2, options: {alpha: 0.3}}",
        "config-no-imagenet-weights 2:1 backbone.weights",
        "imagenet",
    ),
    ("backbone: {name: ConvNet}", "config-no-imagenet-weights 2:1 backbone.weights", "imagenet"),
    (
        "data: {path: images, image_size: [300, 70]}\nbackbone: {name: Xception}",
        "config-image-size-too-small 1:22 data.image_size",
        [300, 70],
    ),
    (
        "data: {path: images, image_size: 61}\n"
        "backbone: {name: ConvNet, weights: none, options: {blocks: [{filters: 8, kernel_size: 99}]}}",
        "config-image-size-too-small 2:74 backbone.options.blocks.0.kernel_size",
        99,
    ),
    (
        "data: {path: images, image_size: 2}\n"
        "backbone: {name: ConvNet, weights: none, options: {blocks: [{filters: 8, strides: 2, dilation: 3}]}}",
        "config-contradiction-block 2:86 backbone.options.blocks.0.dilation",
        3,
    ),
    (
        "backbone: {name: ConvNet, weights: none, options: {blocks: [{shortcut: identity}]}}",
        "config-contradiction-block 2:62 backbone.options.blocks.0.shortcut",
        "identity",
    ),
    (
        "backbone: {name: ConvNet, weights: none, options: {blocks: [{kernel_size: 3, pooling: {size: 2}}]}}",
        "config-without-effect 2:62 backbone.options.blocks.0.kernel_size",
        3,
    ),
    (
        "data: {path: images, image_size: 32, color: grayscale}\n"
        "backbone:\n"
        "  name: ConvNet\n"
        "  weights: none\n"
        "  options:\n"
        "    blocks:\n"
        "      - {filters: 8, padding: same}\n"
        "      - {filters: 16, padding: same, shortcut: identity}",
        "config-block-impossible 8:38 backbone.options.blocks.1.shortcut",
        "identity",
    ),
    (
        "data: {path: images, image_size: 9}\n"
        "backbone: {name: ConvNet, weights: none, options: {filters: [8, 8, 8], pool_size: 2}}",
        "config-image-size-too-small 2:72 backbone.options.pool_size",
        2,
    ),
    (
        "backbone: {name: VGG16, include_top_layers: fc1, output_layer: block1_pool}",
        "config-contradiction-top 2:25 backbone.include_top_layers",
        "fc1",
    ),
    (
        "backbone: {name: VGG16, include_top_layers: fc3}",
        "config-unknown-layer 2:25 backbone.include_top_layers",
        "fc3",
    ),
    (
        "data: {path: images, image_size: 150}\nbackbone: {name: VGG16, include_top_layers: fc1}",
        "config-contradiction-top 1:22 data.image_size",
        150,
    ),
    ("head: {layers: [{activation: Reluu}]}", "config-unknown-name 2:18 head.layers.0.activation", "Reluu"),
    (
        "data: {path: images, splits: {validation: 0.9}}",
        "config-contradiction-splits 1:22 data.splits",
        {"validation": 0.9},
    ),
    (
        "data: {path: images, splits: {validation: 0}}\ntraining: {best: {monitor: val_accuracy}}",
        "config-contradiction-validation 2:19 training.best.monitor",
        "val_accuracy",
    ),
    (
        "data: {path: images, splits: {validation: 0}}\ntraining: {early_stopping: {patience: 3}}",
        "config-contradiction-validation 2:12 training.early_stopping.monitor",
        "val_loss",
    ),
    (
        "data: {path: images, splits: {validation: 0}}\n"
        "training: {stages: [{name: a, reduce_on_plateau: {monitor: val_loss}}]}",
        "config-contradiction-validation 2:51 training.stages.0.reduce_on_plateau.monitor",
        "val_loss",
    ),
]


def with_path(text: str) -> str:
    """Return the text with `data.path`, the only required setting, added if it is missing."""
    return text if "path: " in text else PATH + text


@pytest.mark.parametrize(("text", "problem", "received"), CASES, ids=[text for text, *_ in CASES])
def test_a_contradiction_is_reported_once_with_its_position(
    problems_of: Problems, text: str, problem: str, received: object
) -> None:
    """A contradiction is reported once, with its code, line, column, key and received value."""
    found = [one for one in problems_of(with_path(text)) if summary(one) == problem]

    assert [one.facts["received"] for one in found] == [received]


def test_cases_have_no_other_problems(problems_of: Problems) -> None:
    """Every case but one has exactly one problem."""
    counts = {text: len(problems_of(with_path(text))) for text, *_ in CASES}

    assert {text for text, count in counts.items() if count > 1} == {text for text in counts if "nobody" in text}


def test_all_blocks_that_do_not_fit_are_reported_with_wrong_types_above_them(problems_of: Problems) -> None:
    """Shortcuts and groups that do not fit are reported together, up to the first block whose settings are wrong."""
    text = (
        "data: {path: images, image_size: 32}\n"
        "mode: from-scratch\n"
        "backbone: {name: ConvNet, options: {blocks: [{filters: 8, shortcut: identity}, {filters: 6, groups: 3, "
        "repeat: 2}, {filters: 8, convolutions: 0}, {filters: 9, shortcut: identity}]}}"
    )
    keys = [str(one.facts["key"]).removeprefix("backbone.options.blocks.") for one in problems_of(text)]

    assert keys == ["0.shortcut", "1.groups", "2.convolutions"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("training: {stages: [{name: head}, {name: Head}]}", "a.yaml:2:22"),
        ("training: {optimizer: {name: adamm}}", "adam or adamw?"),
        ("training: {optimizer: {name: sgd, betas: 1}}", "learning_rate, weight_decay, clipnorm"),
        ("training: {optimizer: {name: nobody}}", "adadelta, adafactor"),
        ("backbone: {name: ResNet5O}", "ResNet50 or ResNet56?"),
        ("backbone: {name: MobileNetV2, options: {alhpa: 1}}", "backbone.options.alpha?"),
        ("head: {layers: [{activation: Reluu}]}", "relu or relu6?"),
        ("backbone: {weights: ImageNet}", "imagenet?"),
    ],
)
def test_hint_suggests_similar_names(problems_of: Problems, text: str, hint: str) -> None:
    """The message about an unknown name ends with a hint that suggests similar names or lists all names."""
    (problem,) = problems_of(with_path(text))

    assert hint in str(problem.facts["hint"])
    assert str(problem).endswith(str(problem.facts["hint"]))


@pytest.mark.parametrize(
    "text",
    [
        "training: {optimizer: {1.5g: 1}}",
        "training: {stages: [{name: a}, {name: b, optimizer: {1.5g: 1}}]}",
        "backbone: {name: MobileNetV2, options: {1.5g: 1}}",
    ],
)
def test_an_unknown_argument_with_a_dot_in_its_name_is_one_problem(problems_of: Problems, text: str) -> None:
    """A dot in the name of an unknown argument is not taken for a group."""
    (problem,) = problems_of(PATH + text)
    assert (problem.code, "1.5g" in problem) == ("config-unknown-argument", True)


@pytest.mark.parametrize(
    ("text", "overrides", "key", "received"),
    [
        ("augmentation: {mixup: 0}", ("augmentation.mixup=0.2", "training.solver=exact"), "augmentation.mixup", 0.2),
        ("head: {pooling: avg}", ("training.loss=hinge", "head.activation=sigmoid"), "training.loss", "hinge"),
    ],
)
def test_a_contradiction_of_overrides_names_an_override(
    problems_of: Problems, text: str, overrides: tuple[str, ...], key: str, received: object
) -> None:
    """It is not attributed to a line of the file, and the value at fault is in the message."""
    (problem,) = problems_of(PATH + text, *overrides)

    assert (problem.facts["key"], problem.facts["received"]) == (key, received)
    assert str(problem.facts["source"]) in {f"override {one}" for one in overrides}


def test_a_contradiction_inside_a_group_names_the_override_in_it(problems_of: Problems) -> None:
    """A group of the file with an override in it is wrong because of the override."""
    (problem,) = problems_of("data: {path: images, splits: {validation: 0.2}}", "data.splits.test=0.9")
    assert problem.facts["source"] == "override data.splits.test=0.9"


def test_the_exact_solver_names_possible_values(problems_of: Problems) -> None:
    """A contradiction to the exact solver says with which value the head can be solved."""
    (problem,) = problems_of(f"{PATH}head: {{l1: 0.1}}\ntraining: {{solver: exact}}")
    assert str(problem.facts["expected"]).startswith("0, or ")


def test_settings_of_a_block_that_exclude_each_other_are_named(problems_of: Problems) -> None:
    """The message about two settings of a block names both, and nothing that is not wrong."""
    block = "{filters: 8, strides: 2, dilation: 3}"
    (problem,) = problems_of(f"{PATH}backbone: {{name: ConvNet, weights: none, options: {{blocks: [{block}]}}}}")

    assert "blocks.0.dilation: contradicts strides: 2 (received 3)" in str(problem)
    assert not any(text in str(problem) for text in ("out of range", "filters", "null"))


def test_every_code_of_a_rule_has_a_case() -> None:
    """Every code that a rule can report occurs in at least one of the cases."""
    codes = set(re.findall(r'draft\.problem\(\s*"([a-z-]+)"', Path(rules.__file__).read_text()))
    assert codes
    assert codes <= {problem.split()[0] for _, problem, _ in CASES}


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
        "backbone: {name: VGG16, include_top_layers: fc2}",
        "data: {path: images, image_size: 150}\nbackbone: {name: VGG16, weights: none, include_top_layers: fc2}",
        "mode: from-scratch\nbackbone: {name: convnet, options: {filters: [8, 16]}}",
        "data: {path: images, splits: {validation: 0}}\ntraining: {early_stopping: {monitor: loss}}",
        "data: {path: images, splits: {validation: 0}}\ntraining: {early_stopping: null, best: {monitor: accuracy}}",
        "training: {best: {monitor: last}}",
        "mode: fine-tuning\ntraining: {gradual_unfreezing: [1, 3, block2_conv1, all], layer_decay: 0.9}",
        "training: {accumulation: 1, optimizer: {gradient_accumulation_steps: 2}}",
    ],
)
def test_compatible_settings_are_accepted(folder: Path, text: str) -> None:
    """Settings that nearly contradict each other are accepted."""
    Path("a.yaml").write_text(with_path(text))
    load_config("a.yaml", environment={})


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ("mode: fine-tunning\ntraining: {unfreeze: 8}", "config-unknown-choice 2:1 mode", "fine-tuning?"),
        ("backbone: {name: ConvNett}", "config-unknown-name 2:12 backbone.name", "ConvNet?"),
    ],
)
def test_rules_ignore_settings_with_problems(problems_of: Problems, text: str, problem: str, hint: str) -> None:
    """A wrong mode or network is reported once, without further problems from rules that depend on it."""
    (found,) = problems_of(PATH + text)

    assert summary(found) == problem
    assert hint in str(found.facts["hint"])


@pytest.mark.parametrize(
    ("make", "code"),
    [(None, "config-path-missing"), ("folder", "config-path-wrong-kind"), ("w.pt", "config-path-wrong-kind")],
)
def test_weights_file_must_exist(folder: Path, problems_of: Problems, make: str | None, code: str) -> None:
    """A weights path that is missing, a folder or has an unknown suffix is reported."""
    name = "w.pt" if make == "w.pt" else "w.h5"
    if make == "folder":
        Path(name).mkdir()
    elif make:
        Path(make).touch()
    (found,) = problems_of(PATH + f"backbone: {{weights: {name}}}")

    assert summary(found) == f"{code} 2:12 backbone.weights"
    assert found.facts["received"] == name
    assert (str(folder / name) in found) == (make is None)


def test_names_at_the_root_are_not_listed(problems_of: Problems) -> None:
    """The hint about missing weights lists weights beside them, but not what is at the root of the file system."""
    Path("images/a.h5").touch()
    Path("images/a.jpg").touch()
    for name, hint in ((Path.cwd() / "images/missing.h5", "a.h5."), (Path(Path.cwd().anchor, "missing.h5"), "")):
        (found,) = problems_of(PATH + f"backbone: {{weights: {name}}}")
        assert str(found.facts["hint"]).removeprefix("This folder contains ") == hint


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("backbone: [VGG16]", "{name: VGG16}"),
        ("backbone: VGG16", "{name: VGG16}"),
        ("data: {path: images, groups: patient}", "{column: NAME}"),
    ],
)
def test_a_name_in_place_of_a_group_shows_the_form_to_write(problems_of: Problems, text: str, form: str) -> None:
    """A group that was written as a single value is refused with an example of the group."""
    (found,) = problems_of(with_path(text))

    assert found.code == "config-wrong-type"
    assert form in str(found.facts["expected"])


def test_weights_file_is_read_relative_to_the_folder(folder: Path) -> None:
    """A weights file with a known suffix is accepted, and its path becomes absolute."""
    Path("w.weights.h5").touch()
    config = config_from_mapping({"data": {"path": "images"}, "backbone": {"weights": "w.weights.h5"}}, environment={})
    assert config.backbone.weights == str(folder / "w.weights.h5")


@pytest.mark.parametrize(
    ("path", "code", "hint"),
    [
        ("train.zip", "config-path-wrong-kind", "cnncli data prepare"),
        ("imgaes", "config-path-missing", "images?"),
        ("far/away/images", "config-path-missing", "{folder}."),
        ("elsewhere", "config-path-missing", "a.yaml, images, train.tar, train.zip"),
        ("dogs-vs-cats", "config-path-missing", "data prepare dogs-vs-cats DOWNLOAD --out {folder}/dogs-vs-cats"),
        ("cifar10", "config-path-missing", "data prepare cifar10 --out {folder}/cifar10"),
        ("x" * 300, "config-path-missing", ""),
        ('"a\\0b"', "config-path-missing", ""),
        ('"{5..1}.tar"', "config-path-missing", ""),
        ('"{train,test}.tar"', "config-path-missing", ""),
    ],
)
def test_data_path_must_be_a_folder(folder: Path, problems_of: Problems, path: str, code: str, hint: str) -> None:
    """A data path that is an archive, misspelled, missing or invalid is reported once, with a matching hint."""
    Path("train.zip").touch()
    Path("train.tar").touch()
    (found,) = problems_of(f"data: {{path: {path}}}")

    assert summary(found) == f"{code} 1:8 data.path"
    assert hint.replace("{folder}", str(folder)) in str(found.facts["hint"])


def test_a_frozen_backbone_with_random_weights_is_noted() -> None:
    """A frozen backbone with random weights is reported in a note, because its features are noise."""
    (note,) = notes_of(tiny_config(Path("unused")))

    assert note.code == "config-random-backbone-frozen"
    assert note.facts["stage"] == "head"
    assert not list(notes_of(tiny_config(Path("unused"), mode="from-scratch")))


def test_a_hinge_loss_of_probabilities_is_noted() -> None:
    """A loss of scores with a softmax that was written is noted."""
    training = {"loss": "hinge"}
    softmax, linear = (
        tiny_config(Path("unused"), mode="from-scratch", training=training, head={"activation": activation})
        for activation in ("softmax", "linear")
    )
    (note,) = notes_of(softmax)

    assert (note.code, note.facts["key"]) == ("config-loss-of-probabilities", "head.activation")
    assert not list(notes_of(linear))


def test_monitored_training_metrics_of_mixed_images_are_noted() -> None:
    """Monitoring a training metric is reported in a note if images are mixed; monitoring a validation metric is not."""
    training = {"best": {"monitor": "accuracy"}, "early_stopping": {"monitor": "loss"}, "reduce_on_plateau": {}}
    config = tiny_config(Path("unused"), mode="from-scratch", training=training, augmentation={"mixup": 0.2})
    notes = list(notes_of(config))

    assert [(note.code, note.facts["key"], note.facts["received"]) for note in notes] == [
        ("config-mixed-metric", "training.best.monitor", "accuracy"),
        ("config-mixed-metric", "early_stopping.monitor of stage scratch", "loss"),
    ]
    assert not list(notes_of(tiny_config(Path("unused"), mode="from-scratch", training=training)))


def test_a_warmup_as_long_as_the_stage_is_noted() -> None:
    """A note warns that the learning rate never reaches its full value if the warm-up is as long as its stage."""
    training = {"epochs": 3, "schedule": {"warmup_epochs": 3}}
    (note,) = notes_of(tiny_config(Path("unused"), mode="from-scratch", training=training))

    assert (note.code, note.facts["received"], note.facts["epochs"]) == ("config-warmup-too-long", 3.0, 3)
