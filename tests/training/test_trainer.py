"""Whole trainings on tiny images: what moves, what is kept, what is proven, and that it can be repeated."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnncli.config.modes import stages_of
from cnncli.config.schema import Config
from cnncli.dataset.build import build_manifest
from cnncli.engines.engine import EngineChoice
from cnncli.engines.openvino import has_bfloat16
from cnncli.errors import ConfigError, TrainingError
from cnncli.features.eviction import stored_keys
from cnncli.features.store import FeatureStore
from cnncli.images.decode import PixelSpec
from cnncli.networks.classifier import Classifier, build_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.runs.records import HistoryRow
from cnncli.terminal.console import Console
from cnncli.training.context import Workshop, check_stages
from cnncli.training.objective import Objective
from cnncli.training.optimizer import build_optimizer
from cnncli.training.stage_report import LEDGER_COLUMNS, ledger_cells
from cnncli.training.steps import Scores, TailTrainer
from cnncli.training.trainer import Outcome, train_stages
from tests.support.drawing import draw_dataset, draw_image, tiny_config
from tests.training.rows import Rows

MOBILENET = {"name": "MobileNetV2", "weights": "none", "options": {"alpha": 0.35}}


@dataclass(frozen=True)
class Trained:
    """What a training left."""

    classifier: Classifier
    outcome: Outcome
    history: list[HistoryRow]

    @property
    def digest(self) -> str:
        """Of all weights."""
        arrays = [weight.numpy() for weight in self.classifier.model.weights]
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


Train = Callable[..., Trained]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four images to train on, twelve to validate."""
    return draw_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture
def train(data: Path, tmp_path: Path) -> Train:
    """Trains a tiny config; every setting can be given."""

    def run(
        store: Path = tmp_path / "store",
        pretrained: bool = False,
        recorder: Rows | None = None,
        max_bytes: int | None = None,
        **settings: Any,
    ) -> Trained:
        config = tiny_config(data, **settings)
        shop = _workshop(config, store, max_bytes)
        classifier = Classifier(build_classifier(config, 2).model, pretrained)
        recorder = recorder or Rows()
        outcome = train_stages(classifier, stages_of(config), shop, recorder)
        return Trained(classifier, outcome, recorder.rows)

    return run


def _workshop(config: Config, store: Path, max_bytes: int | None = None) -> Workshop:
    return Workshop(
        config=config,
        manifest=build_manifest(config.data, config.seed),
        pixels=PixelSpec(32, 32, config.data.color, "stretch", 10**6),
        choice=EngineChoice("openvino", config.precision if config.precision != "auto" else "float32"),
        store=FeatureStore(store / "features", max_bytes),
        graphs=store / "graphs",
        console=Console(quiet=True),
    )


def test_two_stages_hand_on_weights_and_loss(train: Train) -> None:
    """The second stage starts from the validation loss of the best epoch before, on its own path."""
    training = {"stages": [{"name": "head", "epochs": 3}, {"name": "top", "unfreeze": 1, "epochs": 2}]}
    trained = train(training=training)
    head, top = trained.outcome.ledger

    assert head.handed_val_loss is None
    assert top.handed_val_loss == head.end_val_loss
    assert top.start_val_loss == pytest.approx(head.end_val_loss, abs=1e-5)
    assert [row.epoch for row in trained.history] == [1, 2, 3, 4, 5]
    assert top.plan.trained_layers == ("block2_conv", "head_logits")


def test_the_model_is_the_best_epoch_not_the_last(train: Train) -> None:
    """A learning rate that destroys in the second stage leaves the weights of the first."""
    wild = {"name": "wild", "unfreeze": "all", "epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 30.0}}
    training = {"stages": [{"name": "head", "epochs": 3}, wild]}
    trained = train(training=training)
    head, after = trained.outcome.ledger

    assert trained.outcome.best.epoch == min(trained.history[:3], key=lambda row: row.val_loss).epoch
    assert after.end_val_loss == pytest.approx(head.end_val_loss, abs=1e-5)


def test_moving_statistics_of_a_pretrained_backbone_stay_bit_equal(train: Train) -> None:
    """Fine-tuning all of it trains kernels and leaves batch normalisation alone."""
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


def test_the_ledger_proves_what_moved(train: Train) -> None:
    """Hashes of frozen weights agree before and after, those of trained ones differ."""
    (entry,) = train().outcome.ledger

    assert entry.frozen_weights_sha256[0] == entry.frozen_weights_sha256[1]
    assert entry.trained_weights_sha256[0] != entry.trained_weights_sha256[1]
    assert entry.plan.trainable_parameters == 8 * 2 + 2


def test_where_nothing_is_frozen_nothing_is_proven_of_it(train: Train) -> None:
    """A hash of no weights says nothing; what trains is told by its first layer with weights."""
    (scratch,) = train(mode="from-scratch").outcome.ledger
    (head,) = train().outcome.ledger
    cells = [dict(zip(LEDGER_COLUMNS, ledger_cells(entry), strict=True)) for entry in (scratch, head)]

    assert [cell["trains from"] for cell in cells] == ["block1_conv", "head_logits"]
    assert cells[0]["proof"] == "trained moved"
    assert cells[1]["proof"] == f"frozen {head.frozen_weights_sha256[1][:8]} unmoved, trained moved"


def test_weights_that_cannot_move_are_an_error(train: Train) -> None:
    """A stage that trained nothing says so."""
    with pytest.raises(TrainingError) as caught:
        train(training={"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-60}})

    assert str(caught.value) == ("stage head: no weight moved in training. Is the learning rate too small for float32?")


def test_a_loss_that_is_no_number_names_stage_epoch_and_step(train: Train) -> None:
    """And what can be done about it."""
    optimizer = {"name": "sgd", "learning_rate": 1e30}
    with pytest.raises(TrainingError) as caught:
        train(training={"epochs": 3, "batch_size": 4, "optimizer": optimizer}, head={"layers": [{"dense": 8}]})

    assert str(caught.value).startswith("stage head, epoch 1, step ")
    assert str(caught.value).endswith(
        "Lower training.optimizer.learning_rate, or clip gradients with training.optimizer.clipnorm."
    )


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"head": {"layers": [{"dropout": 0.5}]}}, id="dropout"),
        pytest.param({"augmentation": {"horizontal_flip": True, "rotation_range": 20.0, "views": 3}}, id="views"),
        pytest.param({"augmentation": {"horizontal_flip": True, "views": "fresh"}}, id="fresh through the trunk"),
        pytest.param({"mode": "from-scratch", "augmentation": {"vertical_flip": True}}, id="from scratch"),
        pytest.param({"augmentation": {"mixup": 0.4, "rand_augment": {}, "views": 3}}, id="mixup of features"),
        pytest.param({"mode": "from-scratch", "augmentation": {"mixup": 0.4, "cutmix": 1.0}}, id="mixup and cutmix"),
    ],
)
def test_the_same_config_gives_the_same_weights(train: Train, settings: Any, tmp_path: Path) -> None:
    """Bit for bit, whether the store is cold or warm."""
    cold, warm = train(tmp_path / "a", **settings), train(tmp_path / "a", **settings)
    elsewhere = train(tmp_path / "b", **settings)

    assert cold.digest == warm.digest == elsewhere.digest
    assert warm.outcome.features.computed == 0
    assert train(tmp_path / "b", seed=1, **settings).digest != cold.digest


def test_early_stopping_ends_a_stage(train: Train) -> None:
    """With a rate so low that nothing improves by the least that counts."""
    training = {
        "epochs": 9,
        "optimizer": {"learning_rate": 1e-6},
        "early_stopping": {"monitor": "val_loss", "patience": 2, "min_delta": 0.5},
    }

    assert len(train(training=training).history) == 3


@pytest.mark.parametrize("head", [{"activation": "sigmoid"}, {"activation": "linear"}, {"pooling": "flatten"}])
def test_every_kind_of_head_learns(train: Train, head: Any) -> None:
    """Stripes from dots, with the whole network trained for a few epochs."""
    training = {"epochs": 8, "optimizer": {"name": "adam", "learning_rate": 3e-3}, "batch_size": 8}
    trained = train(mode="from-scratch", head=head, training=training)

    assert trained.history[-1].loss < trained.history[0].loss


@dataclass
class Meddler(Rows):
    """A recorder that changes one weight behind the training's back after the first epoch."""

    classifier: Classifier | None = None
    layer: str = ""
    value: float = float("nan")

    def add(self, row: HistoryRow) -> None:
        """Keep a row, and meddle."""
        super().add(row)
        assert self.classifier is not None
        kernel = self.classifier.model.get_layer(self.layer).kernel
        kernel.assign(np.full(kernel.shape, self.value, np.float32))


def _train_with(meddler: Meddler, data: Path, store: Path) -> Outcome:
    config = tiny_config(data)
    meddler.classifier = build_classifier(config, 2)
    return train_stages(meddler.classifier, stages_of(config), _workshop(config, store), meddler)


def test_a_frozen_weight_that_moves_is_noticed(data: Path, tmp_path: Path) -> None:
    """The proof can fail: a frozen kernel that was changed behind the training's back is an error."""
    with pytest.raises(TrainingError) as caught:
        _train_with(Meddler(layer="block1_conv", value=0.5), data, tmp_path)

    assert str(caught.value) == "stage head: frozen weights moved. This is a bug of cnncli; the model is not saved."


def test_scores_that_are_no_numbers_end_a_stage(data: Path, tmp_path: Path) -> None:
    """Before the weights behind them are kept: a loss that is no number would be the best for ever."""
    spoilt = r"^stage head, epoch 2: head_logits/kernel became infinite or no number\. "
    with pytest.raises(TrainingError, match=spoilt):
        _train_with(Meddler(layer="head_logits"), data, tmp_path)


def test_all_stages_are_checked_before_the_first_is_trained(data: Path) -> None:
    """An unknown layer in one and an optimizer that Keras refuses in another are one error."""
    stages = [
        {"name": "one", "unfreeze": "nolayer"},
        {"name": "two", "optimizer": {"name": "sgd", "momentum": 7.0}},
        {"name": "three"},
    ]
    config = tiny_config(data, training={"stages": stages})
    with pytest.raises(ConfigError) as caught:
        check_stages(build_classifier(config, 2), stages_of(config))
    unknown, refused = caught.value.problems

    assert unknown == (
        "stage one: unfreeze: nolayer is not a layer of the backbone. `cnncli summary CONFIG` lists all of them."
    )
    assert refused.startswith("stage two: training.optimizer: keras.optimizers.SGD says: ")


def test_cutmix_needs_pixels_in_every_stage(data: Path) -> None:
    """A layer's name may mean everything or not: that shows once the network is there."""
    stages = [{"name": "all", "unfreeze": "block1_conv"}, {"name": "top", "unfreeze": 1}]
    config = tiny_config(data, augmentation={"cutmix": 1.0}, training={"stages": stages})
    with pytest.raises(ConfigError) as caught:
        check_stages(build_classifier(config, 2), stages_of(config), needs_pixels=True)

    assert caught.value.problems == (
        "stage top: augmentation.cutmix: pastes pixels, and what is below block2_conv is frozen; "
        "unfreeze: all, or augmentation.mixup in its place.",
    )


def test_a_stage_says_what_it_mixes(data: Path, tmp_path: Path) -> None:
    """Features where something is frozen."""
    config, said = tiny_config(data, augmentation={"mixup": 0.25}), io.StringIO()
    shop = dataclasses.replace(_workshop(config, tmp_path), console=Console(said, live=False))
    train_stages(build_classifier(config, 2), stages_of(config), shop, Rows())

    assert " · MixUp 0.25 of features · " in said.getvalue()


def test_mixing_leaves_validation_and_features_alone(train: Train, tmp_path: Path) -> None:
    """The same stored features, the same loss before the first step; another training."""
    plain = train(tmp_path / "a")
    mixed = train(tmp_path / "a", augmentation={"mixup": 0.4})

    assert mixed.outcome.features.computed == 0
    assert mixed.outcome.ledger[0].start_val_loss == plain.outcome.ledger[0].start_val_loss
    assert mixed.digest != plain.digest


def test_a_stage_that_continues_another_run_compares_with_its_figures(data: Path, tmp_path: Path) -> None:
    """What was handed is in the ledger, and a difference that the precision does not explain is told."""
    config = tiny_config(data)
    said = io.StringIO()
    shop = dataclasses.replace(_workshop(config, tmp_path), console=Console(said, live=False))
    classifier = build_classifier(config, 2)
    outcome = train_stages(classifier, stages_of(config), shop, Rows(), handed=Scores(5.0, 0.5))

    assert outcome.ledger[0].handed_val_loss == 5.0
    assert "was handed 5.000000: more than 0.0001 apart, the most that float32 explains." in said.getvalue()


def test_a_layer_that_cannot_learn_is_named(data: Path, tmp_path: Path) -> None:
    """Nothing flows through a hidden layer whose units are dead: training goes on, with a warning."""
    config = tiny_config(data, head={"layers": [{"dense": 4, "activation": "relu"}]}, training={"epochs": 1})
    said = io.StringIO()
    shop = dataclasses.replace(_workshop(config, tmp_path), console=Console(said, live=False))
    classifier = build_classifier(config, 2)
    dense = classifier.model.get_layer("head_dense_1")
    dense.bias.assign(np.full(4, -1e6, np.float32))
    train_stages(classifier, stages_of(config), shop, Rows())

    assert "stage head: these layers were to train and did not move: head_dense_1" in said.getvalue()


def test_a_convolutional_tail_learns_in_bfloat16(train: Train, tmp_path: Path) -> None:
    """The classifier gets its weights, in float32, and training twice gives the same bits."""
    first, second = (train(tmp_path / name, mode="from-scratch", precision="bfloat16") for name in "ab")
    (entry,) = first.outcome.ledger

    assert first.outcome.last.precision == "bfloat16"
    assert {str(weight.dtype) for weight in first.classifier.model.weights} == {"float32"}
    assert entry.trained_weights_sha256[0] != entry.trained_weights_sha256[1]
    assert first.digest == second.digest


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
def test_a_head_learns_in_float32(train: Train, tmp_path: Path) -> None:
    """Whatever the trunk computes in: without a convolution there is nothing to gain."""
    trained = train(tmp_path / "a", precision="bfloat16")

    assert trained.outcome.last.engine is not None
    assert (trained.outcome.last.engine.choice.precision, trained.outcome.last.precision) == ("bfloat16", "float32")


@pytest.mark.parametrize("views", [3, "fresh"])
def test_the_same_weights_come_out_where_features_do_not_fit(train: Train, tmp_path: Path, views: Any) -> None:
    """Stored features, stored pixels through the trunk in every epoch, images decoded in every epoch: the same."""
    pixels = (24 + 12) * 32 * 32 * 3
    settings = {
        "backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [64]}},
        "head": {"pooling": "flatten"},
        "augmentation": {"horizontal_flip": True, "rotation_range": 20.0, "views": views},
        "training": {"epochs": 3},
    }
    stored, pixels_alone, nothing = (
        train(tmp_path / name, max_bytes=limit, **settings)
        for name, limit in (("a", 10**9), ("b", pixels), ("c", pixels - 1))
    )
    of_training = 24 if views == "fresh" else 3 * 24

    assert [run.outcome.features.computed for run in (stored, pixels_alone, nothing)] == [of_training + 12, 36, 0]
    assert stored.history[0].val_loss == pixels_alone.history[0].val_loss == nothing.history[0].val_loss
    assert stored.digest == pixels_alone.digest == nothing.digest


def _said(data: Path, store: Path, max_bytes: int | None, **settings: Any) -> str:
    """What a training of one epoch says."""
    said = io.StringIO()
    config = tiny_config(data, **{"head": {"pooling": "flatten"}, "training": {"epochs": 1}, **settings})
    shop = dataclasses.replace(_workshop(config, store, max_bytes), console=Console(said, live=False))
    train_stages(build_classifier(config, 2), stages_of(config), shop, Rows())
    return said.getvalue()


FROZEN = {"backbone": {"name": "ConvNet", "weights": "none", "options": {"filters": [64]}}}
VIEWS = {"mode": "from-scratch", "augmentation": {"horizontal_flip": True, "views": 3}}


@pytest.mark.parametrize(
    ("settings", "max_bytes", "enough", "sentence"),
    [
        pytest.param(
            FROZEN,
            120_000,
            "0.0023",
            "features here would take 2.1 MB, and the cache has room for 120 kB: decoded pixels are stored instead, "
            "and go through the frozen part in every epoch.",
            id="pixels",
        ),
        pytest.param(
            {},
            0,
            "4.6e-05",
            "features here would take 41 kB, and the cache has room for 0 B: nothing is stored, and images are "
            "decoded and go through the frozen part in every epoch.",
            id="nothing",
        ),
        pytest.param(
            {"mode": "from-scratch"},
            0,
            "0.00013",
            "decoded pixels here would take 111 kB, and the cache has room for 0 B: nothing is stored, and images "
            "are decoded in every epoch.",
            id="nothing of a network from scratch",
        ),
        pytest.param(
            VIEWS,
            120_000,
            "0.00029",
            "renderings here would take 258 kB, and the cache has room for 120 kB: decoded pixels are stored "
            "instead, and rendered in every epoch.",
            id="pixels of a network from scratch",
        ),
    ],
)
def test_features_that_do_not_fit_are_told(
    data: Path, tmp_path: Path, settings: Any, max_bytes: int, enough: str, sentence: str
) -> None:
    """How much they would take, how much room there is, what happens instead and what can be done."""
    said = _said(data, tmp_path, max_bytes, **settings)

    assert f"{sentence} cache.max_gb={enough} is enough to store them.\n" in said
    assert " 0 images and views" not in said
    assert "would take" not in _said(data, tmp_path, int(float(enough) * 1e9), **settings)


def test_how_much_is_stored_already_is_told_where_the_rest_does_not_fit(data: Path, tmp_path: Path) -> None:
    """It is not used then, so whoever reads it knows how little more room it takes."""
    _said(data, tmp_path, None)
    more = Path(shutil.copytree(data, tmp_path / "more"))
    Image.fromarray(draw_image("dots", 999)).save(more / "train" / "dots" / "one-more.png")
    said = _said(more, tmp_path, 41_500)

    assert "features here would take 43 kB (36 of 37 are there), and the cache has room for 42 kB: " in said


@pytest.mark.parametrize("max_bytes", [None, 10**6])
def test_a_full_disk_is_no_matter_of_the_cap(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_bytes: int | None
) -> None:
    """Where none is set, or one that the disk does not allow, another disk is what helps."""
    monkeypatch.setattr("cnncli.features.eviction.default_cap", lambda *_: 0)
    said = _said(data, tmp_path, max_bytes)

    assert "in every epoch. Free disk gives it more, or a folder on another disk: CNNCLI_CACHE.\n" in said
    assert "max_gb" not in said


@pytest.mark.parametrize("views", [3, "fresh"])
def test_stored_features_are_used_in_a_store_that_became_too_small(data: Path, tmp_path: Path, views: Any) -> None:
    """Whoever lowers the cap, or fills the disk, does not take away what is there already."""
    settings = {"augmentation": {"horizontal_flip": True, "views": views}}
    _said(data, tmp_path, None, **settings)
    said = _said(data, tmp_path, 0, **settings)

    assert "would take" not in said
    what = "84 images and views, 84" if views == 3 else "24 decoded images and features of 12, 36"
    assert f" · {what} stored\n" in said


def test_a_stage_says_that_fresh_views_go_through_the_frozen_part(data: Path, tmp_path: Path) -> None:
    """And how long that takes in every epoch; what is stored before the first one are pixels, and no time is none."""
    said = _said(data, tmp_path, None, augmentation={"horizontal_flip": True, "views": "fresh"})

    assert " · every epoch runs the frozen part anew, about 1 s · 24 decoded images and features of 12, 0" in said
    assert "stored · about 1 s for the others\n" in said
    assert "every epoch" not in _said(data, tmp_path, None)
    assert "every epoch" not in _said(data, tmp_path, None, **VIEWS)


def test_a_stage_makes_room_for_the_next(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its features are in use no more: where both stages' do not fit, those of the second drive out the first's."""
    stages = [{"name": "head", "epochs": 1}, {"name": "top", "unfreeze": 1, "epochs": 1}]
    config = tiny_config(data, head={"pooling": "flatten"}, training={"stages": stages})
    shop = _workshop(config, tmp_path)
    _train_in(shop)
    caplog.set_level("WARNING", "cnncli.features")
    caplog.clear()
    sizes = sorted(key.size_bytes for key in stored_keys(tmp_path / "features"))
    shop = dataclasses.replace(shop, store=FeatureStore(tmp_path / "again", sizes[1]))
    outcome = _train_in(shop)
    left = stored_keys(tmp_path / "again")

    assert len(sizes) == 2
    assert outcome.features.computed == 72
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
    assert [key.size_bytes for key in left] == sizes[1:]


def _train_in(shop: Workshop) -> Outcome:
    return train_stages(build_classifier(shop.config, 2), stages_of(shop.config), shop, Rows())


def test_random_layers_start_from_a_keyed_state(data: Path) -> None:
    """A backbone's own dropout has no seed in its config: two processes would draw differently."""
    config = tiny_config(data, backbone={"name": "EfficientNetB0", "weights": "none"})
    states = []
    for _ in range(2):
        cut = cut_classifier(build_classifier(config, 2), "all")
        trainer = TailTrainer(cut.tail, build_optimizer(stages_of(config)[0].optimizer), Objective("softmax", 2))
        trainer.seed(0, "head")
        generators = [op.seed_generator for op in cut.tail.operations if hasattr(op, "seed_generator")]
        states.append([generator.state.numpy().tolist() for generator in generators])

    assert states[0]
    assert states[0] == states[1]
    assert len({tuple(state) for state in states[0]}) == len(states[0])
