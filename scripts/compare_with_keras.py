"""Compare the results of cnncli with those of plain Keras as its guides write it.

    python scripts/compare_with_keras.py parity [NAME …] [--weights NAME=FILE]
        Features, logits and the losses of ten SGD steps (frozen; top unfrozen with batch norm frozen) from the same
        weights, head, pixels and batches, on both engines, in float32: relative differences. Weights are files in
        every format from networks initialized with a seed, or a given file, ResNet50=….weights.h5.

    python scripts/compare_with_keras.py training DATA --backbone NAME [--weights FILE] [--size PX] [--seeds N]
        The defaults (frozen backbone, average pooling, softmax, Adam 1e-3, early stopping) through
        `cnncli train` and in plain Keras with `image_dataset_from_directory`: test accuracies with 95 % intervals.

    python scripts/compare_with_keras.py pixels DATA --backbone NAME [--weights FILE] [--size PX]
        TensorFlow's bilinear resizing, which does not antialias, and cnncli's decoder: differences in gray levels,
        and the accuracy of heads trained on one and tested on both.

    python scripts/compare_with_keras.py precision RUN
        The run's test images with its trunk in float32 and in bfloat16: changed decisions, and accuracies.

    python scripts/compare_with_keras.py predictions RUN
        Probabilities of the test images of a float32 run from `predict`, `evaluate`, and `model.keras` in Keras
        without cnncli: largest differences.

DATA has train, validation and test folders with class folders. Times are not compared here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import plain_keras

SPLITS = ("train", "validation", "test")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one comparison and print its table."""
    from cnncli.networks.backend import import_keras

    options = _parser().parse_args(arguments)
    import_keras()  # deterministic TensorFlow without its messages, for both sides
    with tempfile.TemporaryDirectory() as folder:
        options.work = Path(folder)
        _print_table(options.compare(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verb = verbs.add_parser("parity")
    verb.add_argument("names", nargs="*", metavar="NAME")
    verb.add_argument("--weights", action="append", default=[], metavar="NAME=FILE")
    verb.set_defaults(compare=compare_parity)
    for name, compare in (("training", compare_training), ("pixels", compare_pixels)):
        verb = verbs.add_parser(name)
        verb.add_argument("data", type=Path)
        verb.add_argument("--backbone", required=True)
        verb.add_argument("--weights", default="imagenet")
        verb.add_argument("--size", type=int, default=224)
        verb.add_argument("--seeds", type=int, default=1)
        verb.set_defaults(compare=compare)
    for name, compare in (("precision", compare_precision), ("predictions", compare_predictions)):
        verb = verbs.add_parser(name)
        verb.add_argument("run", type=Path)
        verb.set_defaults(compare=compare)
    return parser


Row = Sequence[str]


def _print_table(rows: Iterator[Row]) -> None:
    """Print rows as they arrive. The first row is the heading and sets the column widths (at least 12 characters)."""
    widths: list[int] = []
    for row in rows:
        widths = widths or [max(len(cell), 12) for cell in row]
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def compare_parity(options: argparse.Namespace) -> Iterator[Row]:
    """Compare the named networks for every format of weights and both engines."""
    from tests.support import parity

    real = dict(pair.split("=", 1) for pair in options.weights)
    names = options.names or [*real] or ["VGG16", "DenseNet121", "Xception"]
    yield ("network    ", "weights      ", "engine  ", "features", "logits", "10 frozen", "10 unfrozen", "loss change")
    for name in names:
        case, folder = parity.CASES[name], options.work / name
        folder.mkdir()
        if name in real:
            parity.draw_images(folder / "data", case.side)
            files = {"given": Path(real[name])}
        else:
            files = dict(parity.write_case(case, folder))
        for form, file in files.items():
            for engine in ("keras", "openvino"):
                yield (name, form, engine, *_parity_values(case, file, folder, engine))


def _parity_values(case: Any, file: Path, folder: Path, engine: Any) -> Iterator[str]:
    from tests.support import parity

    def bench() -> Any:
        return parity.set_up(case, file, folder / "data", folder / "cache", engine)

    def base() -> Any:
        return plain_keras.build_base(case.name, case.side, file, **case.options)

    yield from (f"{value:.1e}" for value in parity.compare_features(bench(), base(), case))
    frozen = parity.compare_frozen(bench(), base(), case)
    unfrozen = parity.compare_unfrozen(bench(), base(), case)
    yield f"{frozen.difference:.1e}"
    yield f"{unfrozen.difference:.1e}"
    yield f"{frozen.moved:.1%} {unfrozen.moved:.1%}"


def compare_training(options: argparse.Namespace) -> Iterator[Row]:
    """Train with cnncli's command line and with plain Keras; yield both test accuracies for each seed."""
    yield ("seed", "cnncli, test accuracy         ", "plain Keras, test accuracy")
    features = _features(options, plain_keras.read_split)
    for seed in range(options.seeds):
        yield (str(seed), _train_with_cnncli(options, seed), _accuracy(*_train_plain(features, seed)))


def _train_with_cnncli(options: argparse.Namespace, seed: int) -> str:
    settings = {
        "backbone.name": options.backbone,
        "backbone.weights": options.weights if options.weights == "imagenet" else Path(options.weights).resolve(),
        "data.image_size": options.size,
        "seed": seed,
    }
    overrides = [f"{key}={value}" for key, value in settings.items()]
    command = [sys.executable, "-m", "cnncli", "train", str(options.data), *overrides, "--json", "--quiet"]
    done = subprocess.run([*command, "--runs-dir", str(options.work)], capture_output=True, text=True, check=True)
    test = json.loads(done.stdout)["metrics"]["test"]
    return _accuracy(round(test["top1"] * test["n"]), test["n"])


Images = tuple[NDArray[np.float32], NDArray[np.int64]]


def _features(options: argparse.Namespace, read: Callable[[Path, int], Images]) -> dict[str, Images]:
    """Compute the pooled features of a frozen base in plain Keras, one split at a time."""
    base, features = _base(options), {}
    for name in SPLITS:
        pixels, labels = read(options.data / name, options.size)
        features[name] = (plain_keras.pooled_features(options.backbone, base, pixels), labels)
    return features


def _base(options: argparse.Namespace) -> Any:
    """Build the backbone in plain Keras. Keras lacks EfficientNetLite0, so cnncli writes it to a file."""
    if options.backbone != "EfficientNetLite0":
        return plain_keras.build_base(options.backbone, options.size, options.weights)
    import keras

    from cnncli.config.backbone_settings import BackboneConfig
    from cnncli.networks.backbone import build_backbone

    file = options.work / "base.keras"
    build_backbone(BackboneConfig(), (options.size, options.size, 3), seed=0).save(file)
    return keras.saving.load_model(file)


def _train_plain(features: dict[str, Images], seed: int, test: str = "test") -> tuple[int, int]:
    """Train a head on features, and return the number of correct predictions and the number of images."""
    n_classes = int(features["train"][1].max()) + 1
    head = plain_keras.train_head(features["train"], features["validation"], n_classes, seed)
    inputs, labels = features[test]
    return int((head.predict(inputs, verbose=0).argmax(axis=1) == labels).sum()), len(labels)


def _accuracy(n_correct: int, n: int) -> str:
    from cnncli.metrics.classification import wilson_interval

    low, high = wilson_interval(n_correct, n)
    return f"{n_correct / n:.2%} [{low:.2%}, {high:.2%}]"


def compare_pixels(options: argparse.Namespace) -> Iterator[Row]:
    """Compare the pixels of both decoders, and heads trained and tested on them."""
    test = options.data / "test"
    difference = np.abs(plain_keras.read_split(test, options.size)[0] - decode_split(test, options.size)[0])
    yield ("difference in gray levels, test images", "mean", "median image", "worst image", "largest")
    of_images = difference.mean(axis=(1, 2, 3))
    values = (difference.mean(), np.median(of_images), of_images.max(), difference.max())
    yield ("TensorFlow bilinear against cnncli", *(f"{value:.2f}" for value in values))
    yield ("", "", "", "", "")
    features = {
        "TensorFlow": _features(options, plain_keras.read_split),
        "cnncli": _features(options, decode_split),
    }
    yield ("trained on, tested on", "accuracy of plain Keras", "", "", "")
    for trained, of_training in features.items():
        for tested, of_test in features.items():
            n_correct, n = _train_plain({**of_training, "test": of_test["test"]}, seed=0)
            yield (f"{trained}, {tested}", _accuracy(n_correct, n), "", "", "")


def decode_split(folder: Path, side: int) -> Images:
    """Decode the images of class folders with cnncli, in the order of `image_dataset_from_directory`."""
    from cnncli.images.decode import PixelSpec, decode

    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    paths = [path for label in classes for path in sorted((folder / label).iterdir())]
    labels = [classes.index(path.parent.name) for path in paths]
    pixels = [decode(path, PixelSpec(side, side)) for path in paths]
    return np.stack(pixels).astype(np.float32), np.array(labels, np.int64)


def compare_precision(options: argparse.Namespace) -> Iterator[Row]:
    """Compare probabilities of the test images with the trunk in both precisions and the tail in float32."""
    from tests.support.scored_run import ScoredRun

    run = ScoredRun(options.run)
    full, short = run.probabilities("float32"), run.probabilities("bfloat16")
    flips, n = int((full.argmax(axis=1) != short.argmax(axis=1)).sum()), len(run.labels)
    yield (
        "images",
        "changed decisions",
        "largest change of a probability",
        "float32 accuracy          ",
        "bfloat16",
    )
    accuracies = [_accuracy(run.n_correct(found), n) for found in (full, short)]
    yield (str(n), f"{flips} ({flips / n:.2%})", f"{np.abs(full - short).max():.4f}", *accuracies)


def compare_predictions(options: argparse.Namespace) -> Iterator[Row]:
    """Compare `predict`, `evaluate` and Keras without cnncli on the same test images."""
    from tests.support.scored_run import ScoredRun

    run = ScoredRun(options.run)
    predicted, evaluated, bare = run.predicted(), run.evaluated(options.work), run.in_bare_keras(options.work)
    yield ("images", "trunk in", "predict − evaluate", "predict − bare Keras", "evaluate − bare Keras")
    pairs = ((predicted, evaluated), (predicted, bare), (evaluated, bare))
    differences = [f"{np.abs(one - other).max():.1e}" for one, other in pairs]
    yield (str(len(run.rows)), " and ".join(run.recipe.precisions), *differences)


if __name__ == "__main__":
    main()
