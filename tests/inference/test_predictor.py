"""A run's engine folder is either valid or rejected, and uses the engines of its training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from cnncli.engines.build import build_engine, converted_graph
from cnncli.engines.engine import EngineChoice
from cnncli.engines.openvino import has_bfloat16
from cnncli.errors import EngineError, RunError
from cnncli.inference.predictor import load_predictor, save_predictor
from cnncli.inference.spec import PredictorSpec
from cnncli.networks.classifier import Classifier, build_classifier, save_classifier
from cnncli.networks.cut import cut_classifier
from cnncli.networks.fingerprint import fingerprint
from tests.support.drawing import tiny_config
from tests.support.logged import codes_in

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
SPEC = PredictorSpec(
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
    """Return a small classifier."""
    return build_classifier(tiny_config(Path("unused")), 2)


def _save(classifier: Classifier, run: Path, spec: PredictorSpec = SPEC) -> PredictorSpec:
    cut = cut_classifier(classifier, spec.unfreeze)
    name = fingerprint(cut.trunk)
    graphs = [converted_graph(cut.trunk, name, run / "graphs")] if spec.engine == "openvino" else []
    save_classifier(classifier, run / "model.keras")
    return save_predictor(run / "engine", dataclasses.replace(spec, trunk=name), cut, graphs)


@pytest.mark.parametrize("engines", [("openvino", "openvino"), ("openvino", "keras"), ("keras", "keras")])
def test_every_pair_of_engines_gives_the_classifiers_probabilities(
    classifier: Classifier, tmp_path: Path, engines: tuple[str, str]
) -> None:
    """Trunk and tail give the classifier's probabilities with every pair of engines."""
    _save(classifier, tmp_path, dataclasses.replace(SPEC, engine=engines[0], tail_engine=engines[1]))
    predictor = load_predictor(tmp_path / "engine", tmp_path / "model.keras")

    assert (predictor.trunks[0].choice.engine, predictor.tail.choice.engine) == engines
    np.testing.assert_allclose(
        predictor.probabilities(PIXELS), classifier.model(PIXELS.astype(np.float32)), rtol=1e-4, atol=1e-6
    )


FINER = 1 + 2**-10
"""The next number above 1 in bfloat16 is 1 + 2**-7."""


@pytest.mark.parametrize(
    "engine",
    [
        "keras",
        pytest.param("openvino", marks=pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no bfloat16")),
    ],
)
def test_logits_of_a_bfloat16_tail_are_float32(tmp_path: Path, engine: str) -> None:
    """Two kernels that bfloat16 cannot distinguish still give logits in their exact ratio, as in training."""
    classifier = build_classifier(tiny_config(Path("unused")), 2)
    kernel = np.ones((8, 2), np.float32) * np.float32([1, FINER])
    classifier.model.get_layer("head_logits").set_weights([kernel, np.zeros(2, np.float32)])
    tail = {"tail_engine": engine, "tail_precision": "bfloat16", "unfreeze": 1}
    _save(classifier, tmp_path, dataclasses.replace(SPEC, engine=engine, **tail))
    predictor = load_predictor(tmp_path / "engine", tmp_path / "model.keras")
    logits = predictor.logits(predictor.trunks[0].run([PIXELS]))

    assert (predictor.tail.choice.precision, logits.dtype) == ("bfloat16", np.float32)
    assert (logits[:, 0] > 0).all()
    np.testing.assert_allclose(logits[:, 1] / logits[:, 0], FINER, rtol=1e-6)


def test_a_quantized_trunk_stays_quantized_without_bfloat16(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what is in bfloat16 becomes float32; features of a quantized graph are not cached as those in float32."""
    monkeypatch.setattr("cnncli.inference.predictor.has_bfloat16", lambda: True)
    _save(classifier, tmp_path, dataclasses.replace(SPEC, precision="int8", tail_precision="bfloat16", unfreeze=1))
    monkeypatch.setattr("cnncli.inference.predictor.has_bfloat16", lambda: False)
    predictor = load_predictor(tmp_path / "engine", tmp_path / "model.keras")

    assert codes_in(caplog) == ["engine-other-precision"]
    assert (predictor.trunks[0].choice.precision, predictor.tail.choice.precision) == ("int8", "float32")


@pytest.mark.parametrize("gpus", [(), ("a GPU",)], ids=["CPU", "GPU"])
@pytest.mark.parametrize("engine", ["keras", "openvino"])
def test_prediction_finds_the_features_that_training_cached(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, gpus: tuple[str, ...]
) -> None:
    """The trunk has the same identity in the cache as during training, and a single image is one request."""
    monkeypatch.setattr("cnncli.engines.keras.gpus", lambda: gpus)
    _save(classifier, tmp_path, dataclasses.replace(SPEC, engine=engine, tail_engine=engine))
    trunk = cut_classifier(classifier, 0).trunk
    trained, _ = build_engine(trunk, "a" * 64, EngineChoice(engine, "float32"), tmp_path)
    predictor = load_predictor(tmp_path / "engine", tmp_path / "model.keras")
    single = load_predictor(tmp_path / "engine", tmp_path / "model.keras", batch=1)

    assert dict(predictor.trunks[0].identity) == dict(trained.identity)
    assert single.trunks[0].batch == 1


def test_a_tail_that_openvino_does_not_support_is_run_by_keras(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spec names Keras for the tail, while the trunk keeps the engine that computed its features."""
    from cnncli.inference import predictor

    convert = predictor.convert_graph

    def refuse_tails(model: object, path: Path, *, pixels: bool) -> None:
        if path.name == "tail.xml":
            raise EngineError("no")
        convert(model, path, pixels=pixels)

    monkeypatch.setattr(predictor, "convert_graph", refuse_tails)
    spec = _save(classifier, tmp_path)

    assert (spec.engine, spec.tail_engine) == ("openvino", "keras")
    assert load_predictor(tmp_path / "engine", tmp_path / "model.keras").trunks[0].choice.engine == "openvino"


@pytest.mark.parametrize("name", ["scoring.json", "trunk.xml", "trunk.bin", "tail.xml", "tail.bin", "sha256.json"])
@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_folder_is_rejected(classifier: Classifier, tmp_path: Path, name: str, damage: str) -> None:
    """Damage to any file is an error with its path; no other engine is substituted."""
    _save(classifier, tmp_path)
    file = tmp_path / "engine" / name
    file.write_bytes(file.read_bytes()[:-20]) if damage == "truncate" else file.unlink()
    with pytest.raises(RunError) as caught:
        load_predictor(tmp_path / "engine", tmp_path / "model.keras")

    assert (caught.value.codes, caught.value.facts["path"]) == (("run-file-damaged",), tmp_path / "engine")


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_damaged_last_layer_is_rejected(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """A bfloat16 tail without its last layer is rejected; it would return features instead of logits."""
    monkeypatch.setattr("cnncli.inference.predictor.has_bfloat16", lambda: True)
    _save(classifier, tmp_path, dataclasses.replace(SPEC, tail_precision="bfloat16", unfreeze=1))
    file = tmp_path / "engine" / "logits.bin"
    file.write_bytes(file.read_bytes()[:-20]) if damage == "truncate" else file.unlink()
    with pytest.raises(RunError) as caught:
        load_predictor(tmp_path / "engine", tmp_path / "model.keras")

    assert (caught.value.codes, caught.value.facts["path"]) == (("run-file-damaged",), tmp_path / "engine")
    assert "logits.bin" in str(caught.value.facts["reason"])


def test_a_damaged_model_is_rejected(classifier: Classifier, tmp_path: Path) -> None:
    """A damaged model is an error if Keras needs it."""
    _save(classifier, tmp_path, dataclasses.replace(SPEC, engine="keras", tail_engine="keras"))
    model = tmp_path / "model.keras"
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(RunError) as caught:
        load_predictor(tmp_path / "engine", model)

    assert (caught.value.codes, caught.value.facts["path"]) == (("run-file-damaged",), model)


def test_float32_replaces_a_precision_that_the_machine_lacks(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a machine without bfloat16, a bfloat16 run predicts in float32, with a warning."""
    _save(classifier, tmp_path, dataclasses.replace(SPEC, precision="bfloat16", tail_precision="bfloat16"))
    monkeypatch.setattr("cnncli.inference.predictor.has_bfloat16", lambda: False)
    predictor = load_predictor(tmp_path / "engine", tmp_path / "model.keras")

    assert (predictor.spec.precision, predictor.spec.tail_precision) == ("float32", "float32")
    assert codes_in(caplog) == ["engine-other-precision"]


BFLOAT16 = dataclasses.replace(
    SPEC, engine="keras", tail_engine="keras", precision="bfloat16", tail_precision="bfloat16", unfreeze=1
)


def test_bfloat16_of_a_gpu_is_not_emulated(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a GPU, a run that Keras trained in bfloat16 on a GPU predicts in float32, with a warning."""
    _save(classifier, tmp_path, dataclasses.replace(BFLOAT16, gpu=True))
    monkeypatch.setattr("cnncli.inference.predictor.gpus", lambda: ())
    predictor = load_predictor(tmp_path / "engine", tmp_path / "model.keras")

    assert (predictor.trunks[0].choice.precision, predictor.tail.choice.precision) == ("float32", "float32")
    assert codes_in(caplog) == ["engine-other-precision"]


@pytest.mark.parametrize(("gpu", "here"), [(False, ()), (True, ("a GPU",))], ids=["on a CPU", "on a GPU"])
def test_keras_predicts_in_the_bfloat16_of_the_training(
    classifier: Classifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    gpu: bool,
    here: tuple[str, ...],
) -> None:
    """A run that was trained in bfloat16 on a CPU, or on an available GPU, predicts in bfloat16."""
    _save(classifier, tmp_path, dataclasses.replace(BFLOAT16, gpu=gpu))
    monkeypatch.setattr("cnncli.inference.predictor.gpus", lambda: here)
    predictor = load_predictor(tmp_path / "engine", tmp_path / "model.keras")

    assert (predictor.trunks[0].choice.precision, predictor.tail.choice.precision) == ("bfloat16", "bfloat16")
    assert codes_in(caplog) == []


def test_a_spec_describes_its_engines() -> None:
    """Engine and precision are given once if trunk and tail agree or the trunk is empty, and separately otherwise."""
    mixed = dataclasses.replace(SPEC, trunk="a" * 64, precision="bfloat16")

    assert mixed.in_words == "trunk openvino bfloat16, tail openvino float32"
    assert dataclasses.replace(mixed, tail_precision="bfloat16").in_words == "openvino bfloat16"
    assert dataclasses.replace(SPEC, tail_precision="bfloat16").in_words == "openvino bfloat16"
