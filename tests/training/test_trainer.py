"""Training on tiny images: what changes, what does not, the stage reports, and reproducibility."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.config.modes import stages_of
from cnncli.engines.openvino import has_bfloat16
from cnncli.errors import ConfigError, Message, TrainingError
from cnncli.features.eviction import stored_keys
from cnncli.features.store import FeatureStore
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.runs.folder import RunFolder
from cnncli.runs.records import HistoryRow, RunWriter
from cnncli.terminal.console import Console
from cnncli.training.context import StageSetup, TrainingContext, check_stages
from cnncli.training.mixing import Mixing
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.steps import TrainStep
from cnncli.training.trainer import Outcome, Trainer
from tests.support.drawing import draw_image, tiny_config
from tests.support.logged import codes_in, message_in
from tests.training.contexts import context_for, train_in

MOBILENET = {"name": "MobileNetV2", "weights": "none", "options": {"alpha": 0.35}}


@dataclass(frozen=True)
class Trained:
    """Results of training."""

    classifier: Classifier
    outcome: Outcome

    @property
    def history(self) -> tuple[HistoryRow, ...]:
        """All epochs."""
        return self.outcome.history

    @property
    def digest(self) -> str:
        """SHA-256 of all weights."""
        arrays = [weight.numpy() for weight in self.classifier.model.weights]
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


Train = Callable[..., Trained]


@pytest.fixture
def train(data: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Return a function that trains a tiny config with any settings."""

    def run(
        store: Path = tmp_path / "store", pretrained: bool = False, max_bytes: int | None = None, **settings: Any
    ) -> Trained:
        config = tiny_config(data, **settings)
        classifier = Classifier(build_classifier(config, 2).model, pretrained)
        context = context_for(config, store, max_bytes)
        return Trained(classifier, train_in(context, classifier, tmp_path_factory.mktemp("run")))

    return run


@pytest.fixture(scope="module")
def default(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train the head of the tiny config, with a feature cache in `store` next to the run."""
    config, folder = tiny_config(data), tmp_path_factory.mktemp("default")
    classifier = build_classifier(config, 2)
    return Trained(classifier, train_in(context_for(config, folder / "store"), classifier, folder / "run"))


def test_a_stage_starts_from_the_weights_and_loss_of_the_one_before(train: Train) -> None:
    """With its own trunk and tail, the second stage reproduces the validation loss of the previous best epoch."""
    training = {"stages": [{"name": "head", "epochs": 3}, {"name": "top", "unfreeze": 1, "epochs": 2}]}
    trained = train(training=training)
    head, top = trained.outcome.stages

    assert head.inherited_val_loss is None
    assert top.inherited_val_loss == head.end_val_loss
    assert top.start_val_loss == pytest.approx(head.end_val_loss, abs=1e-5)
    assert [row.epoch for row in trained.history] == [1, 2, 3, 4, 5]
    assert top.plan.trained_layers == ("block2_conv", "head_logits")


def test_the_model_is_the_best_epoch_not_the_last(train: Train) -> None:
    """If the learning rate of the second stage is far too high, the weights of the first stage are kept."""
    wild = {"name": "wild", "unfreeze": "all", "epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 30.0}}
    training = {"stages": [{"name": "head", "epochs": 3}, wild]}
    trained = train(training=training)
    head, after = trained.outcome.stages

    assert trained.outcome.best.epoch == min(trained.history[:3], key=lambda row: row.metrics["val_loss"]).epoch
    assert after.end_val_loss == pytest.approx(head.end_val_loss, abs=1e-5)


@pytest.mark.slow
def test_moving_statistics_of_a_pretrained_backbone_stay_bit_equal(train: Train) -> None:
    """Fine-tuning the whole backbone trains kernels and does not change batch normalization."""
    stage = {"name": "everything", "unfreeze": "all", "epochs": 2, "batch_norm": "frozen"}
    before = build_classifier(tiny_config(Path("unused"), backbone=MOBILENET), 2).model
    trained = train(pretrained=True, backbone=MOBILENET, training={"stages": [stage]})
    statistics = [weight for weight in before.weights if "moving" in weight.path]
    after = {weight.path: weight.numpy() for weight in trained.classifier.model.weights}

    assert statistics
    kernel = next(weight for weight in before.weights if weight.path.startswith("Conv1/"))
    for weight in statistics:
        assert np.array_equal(weight.numpy(), after[weight.path])
    assert not np.array_equal(kernel.numpy(), after[kernel.path])


def test_the_stage_report_proves_what_changed(default: Trained) -> None:
    """Hashes of frozen weights are equal before and after training, and those of trained weights differ."""
    (entry,) = default.outcome.stages

    assert entry.frozen_weights_sha256[0] == entry.frozen_weights_sha256[1]
    assert entry.trained_weights_sha256[0] != entry.trained_weights_sha256[1]
    assert entry.plan.trainable_parameters == 8 * 2 + 2


def test_a_stage_is_described_in_one_line(train: Train, default: Trained) -> None:
    """The line fits a terminal and mentions frozen weights only if there are any."""
    (scratch,) = train(mode="from-scratch", training={"epochs": 1}).outcome.stages
    (head,) = default.outcome.stages

    assert [report.plan.trained_layers[0] for report in (scratch, head)] == ["block1_conv", "head_logits"]
    assert "frozen" not in scratch.describe()
    assert head.frozen_weights_sha256[1][:8] in head.describe()
    assert max(len(report.describe()) for report in (scratch, head)) < 110
    assert "\n" not in head.describe()


@pytest.mark.parametrize(
    ("stages", "learning_rate", "cause"),
    [
        ([{"name": "all", "unfreeze": "all", "epochs": 1}], 1e-60, "rounding"),
        (
            [{"name": "all", "unfreeze": "all", "epochs": 2}, {"name": "top", "unfreeze": 1, "epochs": 2}],
            1e8,
            "diverged",
        ),
    ],
    ids=["too small", "too large"],
)
def test_a_stage_that_changes_no_weights_is_an_error_that_names_the_cause(
    train: Train, stages: list[Any], learning_rate: float, cause: str
) -> None:
    """The causes are a learning rate so low that steps round to zero, or so high that gradients vanish."""
    with pytest.raises(TrainingError) as caught:
        train(training={"stages": stages, "optimizer": {"name": "sgd", "learning_rate": learning_rate}})

    assert (caught.value.code, caught.value.facts["stage"]) == ("training-no-weights-changed", stages[-1]["name"])
    assert caught.value.facts["cause"] == cause


def test_a_loss_that_becomes_nan_names_stage_epoch_and_step(train: Train) -> None:
    """The error has a code, the stage, epoch and step, and a remedy."""
    optimizer = {"name": "sgd", "learning_rate": 1e30}
    with pytest.raises(TrainingError) as caught:
        train(training={"epochs": 3, "batch_size": 4, "optimizer": optimizer}, head={"layers": [{"dense": 8}]})

    assert caught.value.code == "training-not-finite"
    assert str(caught.value.facts["where"]).startswith("stage head, epoch 1, step ")


RANDOM: dict[str, Any] = {"horizontal_flip": True, "rotation_range": 20.0, "rand_augment": {}, "mixup": 0.4}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"augmentation": {**RANDOM, "views": 3}, "head": {"layers": [{"dropout": 0.5}]}}, id="views"),
        pytest.param({"augmentation": {"horizontal_flip": True, "views": "fresh"}}, id="fresh", marks=pytest.mark.slow),
        pytest.param(
            {"mode": "from-scratch", "augmentation": {**RANDOM, "cutmix": 1.0}},
            id="from scratch",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_same_config_gives_the_same_weights(train: Train, settings: Any, tmp_path: Path) -> None:
    """The weights are equal bit for bit, whether the cache is cold or warm."""
    cold, warm = train(tmp_path / "a", **settings), train(tmp_path / "a", **settings)

    assert cold.digest == warm.digest
    assert warm.outcome.features.computed == 0


def test_another_seed_gives_other_weights_and_another_cache_the_same(default: Trained, train: Train) -> None:
    """The weights depend on the config, including the seed, but not on the cache."""
    assert train().digest == default.digest != train(seed=1).digest


def test_times_of_forward_and_backward_are_logged(train: Train, caplog: pytest.LogCaptureFixture) -> None:
    """At debug level, each epoch has the time per image of a step and of validation, which is only forward. Row 104."""
    caplog.set_level("DEBUG", logger="cnncli")
    history = train().history
    records = [record.msg for record in caplog.records]
    found = [message for message in records if isinstance(message, Message) and message.code == "training-times"]

    assert len(found) == len(history)
    for message, row in zip(found, history, strict=True):
        step_ms, validation_ms = (float(str(message.facts[name])) for name in ("step_ms", "validation_ms"))
        assert 24 * step_ms + validation_ms == pytest.approx(1e3 * row.seconds)


def test_early_stopping_ends_a_stage(train: Train) -> None:
    """A stage stops if the metric has not improved by `min_delta` for `patience` epochs."""
    training = {
        "epochs": 9,
        "optimizer": {"learning_rate": 1e-6},
        "early_stopping": {"monitor": "val_loss", "patience": 2, "min_delta": 0.5},
    }

    assert len(train(training=training).history) == 3


SLOW_HEADS = [pytest.param(head, marks=pytest.mark.slow) for head in ({"activation": "linear"}, {"pooling": "flatten"})]


@pytest.mark.parametrize("head", [{"activation": "sigmoid"}, *SLOW_HEADS])
def test_every_kind_of_head_learns(train: Train, head: Any) -> None:
    """With each kind of head, the loss falls within a few epochs of training the whole network."""
    training = {"epochs": 4, "optimizer": {"name": "adam", "learning_rate": 3e-3}, "batch_size": 8}
    trained = train(mode="from-scratch", head=head, training=training)

    assert trained.history[-1].metrics["loss"] < trained.history[0].metrics["loss"]


class TamperingWriter(RunWriter):
    """A writer that changes a weight of the classifier after the first epoch."""

    def __init__(self, run: RunFolder, classifier: Classifier, layer: str, value: float) -> None:
        super().__init__(run)
        self._kernel, self._value = classifier.model.get_layer(layer).kernel, value

    def write_epoch(self, history: Any) -> None:
        """Write an epoch, then change a weight."""
        super().write_epoch(history)
        self._kernel.assign(np.full(self._kernel.shape, self._value, np.float32))


def _train_with_tampering(data: Path, folder: Path, layer: str, value: float) -> None:
    config = tiny_config(data)
    classifier = build_classifier(config, 2)
    with TamperingWriter(RunFolder(folder), classifier, layer, value) as writer:
        Trainer(classifier, context_for(config, folder), writer).train()


def test_a_frozen_weight_that_changes_is_an_error(data: Path, tmp_path: Path) -> None:
    """A frozen kernel that is changed during training is detected."""
    with pytest.raises(TrainingError) as caught:
        _train_with_tampering(data, tmp_path, "block1_conv", 0.5)

    assert caught.value.code == "training-frozen-weights-changed"


def test_weights_that_become_nan_end_a_stage(data: Path, tmp_path: Path) -> None:
    """NaN weights are detected before they are kept as the best, even if the loss was finite."""
    with pytest.raises(TrainingError) as caught:
        _train_with_tampering(data, tmp_path, "head_logits", float("nan"))

    assert caught.value.code == "training-not-finite"
    assert str(caught.value.facts["where"]).startswith("stage head, epoch 2")


def test_all_stages_are_checked_before_the_first_is_trained(data: Path) -> None:
    """An unknown layer in one stage and an optimizer that Keras rejects in another are reported together."""
    stages = [
        {"name": "one", "unfreeze": "nolayer"},
        {"name": "two", "optimizer": {"name": "sgd", "momentum": 7.0}},
        {"name": "three"},
    ]
    config = tiny_config(data, training={"stages": stages})
    with pytest.raises(ConfigError) as caught:
        check_stages(build_classifier(config, 2), config)

    assert [problem.facts["stage"] for problem in caught.value.problems] == ["one", "two"]
    assert caught.value.codes[1] == "config-optimizer-rejected"
    assert "nolayer" in caught.value.problems[0]


def test_cutmix_needs_pixels_in_every_stage(data: Path) -> None:
    """A layer name that leaves part of the backbone frozen is refused with CutMix once the network is built."""
    stages = [{"name": "all", "unfreeze": "block1_conv"}, {"name": "top", "unfreeze": 1}]
    config = tiny_config(data, augmentation={"cutmix": 1.0}, training={"stages": stages})
    with pytest.raises(ConfigError) as caught:
        check_stages(build_classifier(config, 2), config)

    assert caught.value.codes == ("config-contradiction-cutmix",)
    assert (caught.value.facts["stage"], caught.value.facts["layer"]) == ("top", "block2_conv")


def test_the_line_before_a_stage_shows_what_it_mixes(data: Path, tmp_path: Path) -> None:
    """The line states that MixUp blends features if part of the network is frozen."""
    mixing = Mixing(mixup=0.25, cutmix=0.0, seed=0).describe(on_features=True)
    assert mixing in _announced(data, tmp_path, None, augmentation={"mixup": 0.25})
    assert mixing not in _announced(data, tmp_path, None)


def test_mixing_changes_neither_validation_nor_features(default: Trained, train: Train) -> None:
    """With mixing, cached features and the initial loss do not change, but the trained weights do."""
    mixed = train(default.outcome.last.context.graphs.parent, augmentation={"mixup": 0.4})

    assert mixed.outcome.features.computed == 0
    assert mixed.outcome.stages[0].start_val_loss == default.outcome.stages[0].start_val_loss
    assert mixed.digest != default.digest


def test_a_start_that_differs_from_what_the_parent_measured_is_a_warning(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A difference from the inherited loss that the precision does not explain is a warning."""
    config = tiny_config(data)
    parent = {"loss": 5.0, "accuracy": 0.5}
    outcome = train_in(context_for(config, tmp_path), build_classifier(config, 2), tmp_path / "run", parent)
    warning = message_in(caplog, "training-start-differs")

    assert outcome.stages[0].inherited_val_loss == 5.0
    assert (warning.facts["expected"], warning.facts["tolerance"]) == (5.0, 1e-4)


def test_the_start_of_a_fine_tuning_can_remain_the_best(data: Path, tmp_path: Path) -> None:
    """The parent's weights count as epoch 0; if every epoch is worse, they become the model, bit for bit."""
    config = tiny_config(data, training={"epochs": 4})
    classifier = build_classifier(config, 2)
    parent = train_in(context_for(config, tmp_path), classifier, tmp_path / "parent").best.validation
    weights = [weight.numpy() for weight in classifier.model.weights]
    wild = {"epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 30.0}}
    context = context_for(tiny_config(data, training=wild), tmp_path)
    outcome = train_in(context, classifier, tmp_path / "child", parent)

    assert outcome.best.epoch == 0
    assert min(row.metrics["val_loss"] for row in outcome.history) > parent["loss"]
    for weight, before in zip(classifier.model.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), before)


def test_the_start_does_not_compete_if_a_training_metric_is_monitored(data: Path, tmp_path: Path) -> None:
    """If a training metric is monitored, the parent's weights have no value, so the first epoch is better."""
    training = {"epochs": 1, "best": {"monitor": "loss"}, "optimizer": {"name": "sgd", "learning_rate": 30.0}}
    config = tiny_config(data, training=training)
    context, parent = context_for(config, tmp_path), {"loss": 0.1, "accuracy": 1.0}

    assert train_in(context, build_classifier(config, 2), tmp_path / "run", parent).best.epoch == 1


def test_a_layer_that_cannot_learn_is_a_warning(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A hidden layer of dead units gets no gradient, which is a warning; training continues."""
    config = tiny_config(data, head={"layers": [{"dense": 4, "activation": "relu"}]}, training={"epochs": 1})
    classifier = build_classifier(config, 2)
    classifier.model.get_layer("head_dense_1").bias.assign(np.full(4, -1e6, np.float32))
    train_in(context_for(config, tmp_path), classifier, tmp_path / "run")

    assert message_in(caplog, "training-layers-unchanged").facts["layers"] == ["head_dense_1"]


def test_a_convolutional_tail_learns_in_bfloat16(train: Train, tmp_path: Path) -> None:
    """The classifier's weights stay float32, and training twice gives the same bits."""
    first, second = (train(tmp_path / name, mode="from-scratch", precision="bfloat16") for name in "ab")
    (entry,) = first.outcome.stages

    assert first.outcome.last.precision == "bfloat16"
    assert {str(weight.dtype) for weight in first.classifier.model.weights} == {"float32"}
    assert entry.trained_weights_sha256[0] != entry.trained_weights_sha256[1]
    assert first.digest == second.digest


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
def test_a_head_learns_in_float32(train: Train, tmp_path: Path) -> None:
    """A head without convolutions trains in float32, whatever the precision of the trunk."""
    trained = train(tmp_path / "a", precision="bfloat16")

    graph = trained.outcome.last
    assert (graph.choice.precision, graph.precision) == ("bfloat16", "float32")


@pytest.mark.parametrize("views", [3, pytest.param("fresh", marks=pytest.mark.slow)])
def test_the_same_weights_come_out_where_features_do_not_fit(train: Train, tmp_path: Path, views: Any) -> None:
    """Cached features, cached pixels, and images decoded in every epoch give the same weights."""
    pixels = (24 + 12) * 32 * 32 * 3
    settings = {
        "backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [64]}},
        "head": {"pooling": "flatten"},
        "augmentation": {"horizontal_flip": True, "rotation_range": 20.0, "views": views},
        "training": {"epochs": 2},
    }
    stored, only_pixels, nothing = (
        train(tmp_path / name, max_bytes=limit, **settings)
        for name, limit in (("a", 10**9), ("b", pixels), ("c", pixels - 1))
    )
    of_training = 24 if views == "fresh" else 3 * 24

    assert [run.outcome.features.computed for run in (stored, only_pixels, nothing)] == [of_training + 12, 36, 0]
    assert len({run.history[0].metrics["val_loss"] for run in (stored, only_pixels, nothing)}) == 1
    assert stored.digest == only_pixels.digest == nothing.digest


def _announced(data: Path, store: Path, max_bytes: int | None, **settings: Any) -> str:
    """Return what a training prints before its first epoch, whose features are computed as well."""
    stream = io.StringIO()
    config = tiny_config(data, **{"head": {"pooling": "flatten"}, "training": {"epochs": 1}, **settings})
    context = context_for(config, store, max_bytes, console=Console(stream, live=False))
    setup = StageSetup.build(build_classifier(config, 2), context.stages[0], context)
    setup.announce()
    for split in ("train", "validation"):
        setup.load(split)
    return stream.getvalue()


FROZEN = {"backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [64]}}}
VIEWS = {"mode": "from-scratch", "augmentation": {"horizontal_flip": True, "views": 3}}


@pytest.mark.parametrize(
    ("settings", "max_bytes", "cached", "needed"),
    [
        pytest.param(FROZEN, 120_000, "pixels", 2_074_000, id="pixels"),
        pytest.param({}, 0, "nothing", 41_000, id="nothing"),
        pytest.param({"mode": "from-scratch"}, 0, "nothing", 111_000, id="from scratch: nothing"),
        pytest.param(VIEWS, 120_000, "pixels", 258_000, id="from scratch: pixels"),
    ],
)
def test_features_that_do_not_fit_are_reported(
    data: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    max_bytes: int,
    cached: str,
    needed: int,
) -> None:
    """The message has the required size, the available space, what is cached instead, and a sufficient cap."""
    output = _announced(data, tmp_path, max_bytes, **settings)
    facts = message_in(caplog, "cache-features-do-not-fit").facts
    caplog.clear()
    enough = float(str(facts["enough_gb"])) * 1e9

    assert (facts["cached"], facts["capacity_bytes"]) == (cached, max_bytes)
    assert facts["needed_bytes"] == pytest.approx(needed, rel=0.02)
    assert needed < enough < 1.3 * needed
    assert " 0 images" not in output
    _announced(data, tmp_path, int(enough), **settings)
    assert "cache-features-do-not-fit" not in codes_in(caplog)


def test_the_number_of_cached_features_is_reported_if_the_rest_does_not_fit(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The message has the number of cached features, which shows how much space is missing."""
    _announced(data, tmp_path, None)
    more = Path(shutil.copytree(data, tmp_path / "more"))
    Image.fromarray(draw_image("dots", 999)).save(more / "train" / "dots" / "one-more.png")
    _announced(more, tmp_path, 41_500)
    facts = message_in(caplog, "cache-features-do-not-fit").facts

    assert (facts["n_cached"], facts["total"]) == (36, 37)


@pytest.mark.parametrize("max_bytes", [None, 10**6])
def test_a_full_disk_is_not_remedied_by_a_higher_cap(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    max_bytes: int | None,
) -> None:
    """If the disk is too small, the message does not suggest a higher cap."""
    monkeypatch.setattr("cnncli.features.store.default_cap", lambda *_: 0)
    _announced(data, tmp_path, max_bytes)

    assert message_in(caplog, "cache-features-do-not-fit").facts["enough_gb"] is None


@pytest.mark.parametrize("views", [3, "fresh"])
def test_cached_features_are_used_in_a_cache_that_became_too_small(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, views: Any
) -> None:
    """Features that are already cached are used despite a lower cap or a full disk."""
    settings = {"augmentation": {"horizontal_flip": True, "views": views}}
    _announced(data, tmp_path, None, **settings)
    output = _announced(data, tmp_path, 0, **settings)

    assert "cache-features-do-not-fit" not in codes_in(caplog)
    assert (": 84 cached\n" if views == 3 else "36 images: 36 cached\n") in output


def test_the_line_before_a_stage_shows_that_fresh_views_go_through_the_frozen_layers(
    data: Path, tmp_path: Path
) -> None:
    """The line states that the frozen layers run in every epoch and how long that takes; only pixels are cached."""
    output = _announced(data, tmp_path, None, augmentation={"horizontal_flip": True, "views": "fresh"})

    assert re.search(r"in every epoch.* 1 s .*\b36 .*\b0 cached", output)
    assert "in every epoch" not in _announced(data, tmp_path, None)
    assert "in every epoch" not in _announced(data, tmp_path, None, **VIEWS)


def test_a_stage_makes_room_for_the_next(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Features of a finished stage are evicted if those of both stages do not fit."""
    stages = [{"name": "head", "epochs": 1}, {"name": "top", "unfreeze": 1, "epochs": 1}]
    config = tiny_config(data, head={"pooling": "flatten"}, training={"stages": stages})

    def train(context: TrainingContext, name: str) -> Outcome:
        return train_in(context, build_classifier(config, 2), tmp_path / name)

    context = context_for(config, tmp_path)
    train(context, "first")
    sizes = sorted(key.size_bytes for key in stored_keys(tmp_path / "features"))
    context = dataclasses.replace(context, store=FeatureStore(tmp_path / "again", sizes[1]))
    caplog.clear()
    outcome = train(context, "second")
    left = stored_keys(tmp_path / "again")

    assert len(sizes) == 2
    assert outcome.features.computed == 72
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
    assert [key.size_bytes for key in left] == sizes[1:]


@pytest.mark.slow
def test_random_layers_start_from_a_keyed_state(data: Path) -> None:
    """A backbone's own dropout starts from a keyed state; its config has no seed, so two processes would differ."""
    config = tiny_config(data, backbone={"name": "EfficientNetB0", "weights": "none"})
    cut = cut_classifier(build_classifier(config, 2), "all")
    step = TrainStep(cut.tail, build_optimizer(stages_of(config)[0].optimizer), Objective("softmax", 2))
    generators = [op.seed_generator for op in cut.tail.operations if hasattr(op, "seed_generator")]
    states = []
    for drawn in range(2):
        for generator in generators:
            generator.state.assign([drawn, drawn])
        step.seed(0, "head")
        states.append([generator.state.numpy().tolist() for generator in generators])

    assert states[0]
    assert states[0] == states[1]
    assert len({tuple(state) for state in states[0]}) == len(states[0])
