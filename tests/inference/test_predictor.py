"""A run's engine folder: whole or refused, and on the engines that the run was trained with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cnncli.engines.build import build_engine, converted_graph
from cnncli.engines.engine import EngineChoice
from cnncli.engines.openvino import has_bfloat16
from cnncli.errors import EngineError, RunError
from cnncli.inference.predictor import ScoringRecipe, load_scorer, save_scorer
from cnncli.networks.classifier import Classifier, build_classifier, save_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.fingerprint import fingerprint
from tests.support.drawing import tiny_config

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
RECIPE = ScoringRecipe(
    engine="openvino",
    precision="float32",
    tail_engine="openvino",
    trunk=None,
    unfreeze=0,
    batch_norm="frozen",
    pretrained=True,
    activation="softmax",
    classes=("dots", "stripes"),
    height=32,
    width=32,
    color="rgb",
    fit="stretch",
    max_pixels=10**6,
)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """A small one."""
    return build_classifier(tiny_config(Path("unused")), 2)


def _save(classifier: Classifier, run: Path, recipe: ScoringRecipe = RECIPE) -> ScoringRecipe:
    cut = cut_classifier(classifier, recipe.unfreeze)
    name = fingerprint(cut.trunk)
    graph = converted_graph(cut.trunk, name, run / "graphs") if recipe.engine == "openvino" else None
    save_classifier(classifier, run / "model.keras")
    return save_scorer(run / "engine", dataclasses.replace(recipe, trunk=name), cut, graph)


@pytest.mark.parametrize("engines", [("openvino", "openvino"), ("openvino", "keras"), ("keras", "keras")])
def test_every_pair_of_engines_gives_the_classifiers_probabilities(
    classifier: Classifier, tmp_path: Path, engines: tuple[str, str]
) -> None:
    """Trunk and tail each on its own engine."""
    _save(classifier, tmp_path, dataclasses.replace(RECIPE, engine=engines[0], tail_engine=engines[1]))
    scorer = load_scorer(tmp_path / "engine", tmp_path / "model.keras")
    assert scorer.trunk is not None

    assert (scorer.trunk.choice.engine, scorer.tail.choice.engine) == engines
    np.testing.assert_allclose(
        scorer.probabilities(PIXELS), classifier.model(PIXELS.astype(np.float32)), rtol=1e-4, atol=1e-6
    )


FINER = 1 + 2**-10
"""The next number above 1 in bfloat16 is 1 + 2**-7."""


@pytest.mark.parametrize(
    "engine",
    [
        "keras",
        pytest.param("openvino", marks=pytest.mark.skipif(not has_bfloat16(), reason="this processor has no bfloat16")),
    ],
)
def test_logits_of_a_bfloat16_tail_are_float32(tmp_path: Path, engine: str) -> None:
    """As in training: two kernels that bfloat16 cannot tell apart give logits in their exact proportion."""
    classifier = build_classifier(tiny_config(Path("unused")), 2)
    kernel = np.ones((8, 2), np.float32) * np.float32([1, FINER])
    classifier.model.get_layer("head_logits").set_weights([kernel, np.zeros(2, np.float32)])
    tail = {"tail_engine": engine, "tail_precision": "bfloat16", "unfreeze": 1}
    _save(classifier, tmp_path, dataclasses.replace(RECIPE, engine=engine, **tail))
    scorer = load_scorer(tmp_path / "engine", tmp_path / "model.keras")
    assert scorer.trunk is not None
    logits = scorer.logits(scorer.trunk.run([PIXELS]))

    assert (scorer.tail.choice.precision, logits.dtype) == ("bfloat16", np.float32)
    assert (logits[:, 0] > 0).all()
    np.testing.assert_allclose(logits[:, 1] / logits[:, 0], FINER, rtol=1e-6)


@pytest.mark.parametrize("gpus", [(), ("a GPU",)], ids=["CPU", "GPU"])
@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_scoring_finds_the_features_that_training_stored(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, gpus: tuple[str, ...]
) -> None:
    """Both engines of the trunk have one identity, which is in the store's key; a single image goes alone."""
    monkeypatch.setattr("cnncli.engines.keras.gpus", lambda: gpus)
    _save(classifier, tmp_path, dataclasses.replace(RECIPE, engine=engine, tail_engine=engine))
    trunk = cut_classifier(classifier, 0).trunk
    trained, _ = build_engine(trunk, "a" * 64, EngineChoice(engine, "float32"), tmp_path)
    scorer = load_scorer(tmp_path / "engine", tmp_path / "model.keras")
    alone = load_scorer(tmp_path / "engine", tmp_path / "model.keras", batch=1)
    assert scorer.trunk is not None
    assert alone.trunk is not None

    assert dict(scorer.trunk.identity) == dict(trained.identity)
    assert alone.trunk.batch == 1


def test_a_tail_that_openvino_cannot_take_is_run_by_keras(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe says so, and the trunk keeps the engine that its features came from."""
    from cnncli.engines import openvino

    convert = openvino.convert_graph

    def refuse_tails(model: object, path: Path, *, pixels: bool) -> None:
        if path.name == "tail.xml":
            raise EngineError("no")
        convert(model, path, pixels=pixels)

    monkeypatch.setattr(openvino, "convert_graph", refuse_tails)
    recipe = _save(classifier, tmp_path)

    assert (recipe.engine, recipe.tail_engine) == ("openvino", "keras")
    assert load_scorer(tmp_path / "engine", tmp_path / "model.keras").trunk.choice.engine == "openvino"


@pytest.mark.parametrize("name", ["scoring.json", "trunk.xml", "trunk.bin", "tail.xml", "tail.bin", "sha256.json"])
@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_folder_is_refused(classifier: Classifier, tmp_path: Path, name: str, damage: str) -> None:
    """Every file of it, with one line that says what to do; no other engine is taken in its stead."""
    _save(classifier, tmp_path)
    file = tmp_path / "engine" / name
    file.write_bytes(file.read_bytes()[:-20]) if damage == "truncate" else file.unlink()
    with pytest.raises(RunError, match=r"Copy the run again, or train it anew\.$"):
        load_scorer(tmp_path / "engine", tmp_path / "model.keras")


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_last_layer_is_refused(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Without it a tail in bfloat16 would give its features for logits."""
    monkeypatch.setattr("cnncli.inference.predictor.has_bfloat16", lambda: True)
    _save(classifier, tmp_path, dataclasses.replace(RECIPE, tail_precision="bfloat16", unfreeze=1))
    file = tmp_path / "engine" / "logits.bin"
    file.write_bytes(file.read_bytes()[:-20]) if damage == "truncate" else file.unlink()
    with pytest.raises(RunError, match=r"logits\.bin .*Copy the run again, or train it anew\.$"):
        load_scorer(tmp_path / "engine", tmp_path / "model.keras")


def test_a_damaged_model_is_refused(classifier: Classifier, tmp_path: Path) -> None:
    """Where Keras has to read it."""
    _save(classifier, tmp_path, dataclasses.replace(RECIPE, engine="keras", tail_engine="keras"))
    model = tmp_path / "model.keras"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"model\.keras: cannot be read "):
        load_scorer(tmp_path / "engine", model)


def test_a_precision_that_the_machine_lacks_is_made_up_for(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is copied to another machine works there, in float32, and does not hide it."""
    _save(classifier, tmp_path, dataclasses.replace(RECIPE, precision="bfloat16", tail_precision="bfloat16"))
    monkeypatch.setattr("cnncli.inference.predictor.has_bfloat16", lambda: False)
    scorer = load_scorer(tmp_path / "engine", tmp_path / "model.keras")

    assert (scorer.recipe.precision, scorer.recipe.tail_precision) == ("float32", "float32")
    assert scorer.note is not None
    assert scorer.note.startswith("the run was trained in bfloat16, in which this processor does not compute")


BFLOAT16 = dataclasses.replace(
    RECIPE, engine="keras", tail_engine="keras", precision="bfloat16", tail_precision="bfloat16", unfreeze=1
)


def test_bfloat16_of_a_gpu_is_not_emulated(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that Keras trained in bfloat16 on a GPU is scored in float32 where there is none, and does not hide it."""
    _save(classifier, tmp_path, dataclasses.replace(BFLOAT16, gpu=True))
    monkeypatch.setattr("cnncli.inference.predictor.gpus", lambda: ())
    scorer = load_scorer(tmp_path / "engine", tmp_path / "model.keras")
    assert scorer.trunk is not None

    assert (scorer.trunk.choice.precision, scorer.tail.choice.precision) == ("float32", "float32")
    assert scorer.note == (
        "the run was trained in bfloat16 on a GPU, and TensorFlow sees none here: float32 is used, and a borderline "
        "image may be classified otherwise"
    )


@pytest.mark.parametrize(("gpu", "here"), [(False, ()), (True, ("a GPU",))], ids=["on a processor", "on a GPU"])
def test_keras_scores_in_the_bfloat16_of_the_training(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, here: tuple[str, ...]
) -> None:
    """A run that was to compute in bfloat16 without a GPU is scored as it was trained, and so is one where one is."""
    _save(classifier, tmp_path, dataclasses.replace(BFLOAT16, gpu=gpu))
    monkeypatch.setattr("cnncli.inference.predictor.gpus", lambda: here)
    scorer = load_scorer(tmp_path / "engine", tmp_path / "model.keras")
    assert scorer.trunk is not None

    assert (scorer.trunk.choice.precision, scorer.tail.choice.precision) == ("bfloat16", "bfloat16")
    assert scorer.note is None


def test_a_recipe_says_what_computes() -> None:
    """One engine and precision where it is one, else those of both halves; an empty trunk has none."""
    mixed = dataclasses.replace(RECIPE, trunk="a" * 64, precision="bfloat16")

    assert mixed.in_words == "trunk openvino bfloat16, tail openvino float32"
    assert dataclasses.replace(mixed, tail_precision="bfloat16").in_words == "openvino bfloat16"
    assert dataclasses.replace(RECIPE, tail_precision="bfloat16").in_words == "openvino bfloat16"
