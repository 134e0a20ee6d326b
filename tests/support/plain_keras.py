"""Transfer learning in plain Keras as its guides write it: the reference of all comparisons.

Nothing here imports cnncli. Sources: keras.io/guides/transfer_learning (frozen base, pooling, dense head, then some
layers of the base unfrozen with batch normalization left frozen) and F. Chollet's "fast feature extraction" (the base
predicts once, and the head is trained on its output).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODULES = {
    "Xception": "xception",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "ResNet50V2": "resnet_v2",
    "ResNet101V2": "resnet_v2",
    "ResNet152V2": "resnet_v2",
    "ResNet": "resnet",
    "InceptionV3": "inception_v3",
    "InceptionResNetV2": "inception_resnet_v2",
    "MobileNetV3": "mobilenet_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNet": "mobilenet",
    "DenseNet": "densenet",
    "NASNet": "nasnet",
    "EfficientNetV2": "efficientnet_v2",
    "EfficientNet": "efficientnet",
    "ConvNeXt": "convnext",
}
"""Module with the `preprocess_input` of a network, by the beginning of its name; the first match counts."""

Pixels = NDArray[np.uint8]


def preprocess(name: str, pixels: Any) -> Any:
    """Preprocess pixels in 0–255 with the network's own `preprocess_input`.

    For networks that contain their preprocessing (EfficientNet, ConvNeXt, MobileNetV3), this changes nothing.
    """
    import keras

    if isinstance(pixels, np.ndarray):
        pixels = pixels.astype("float32")
    if name.startswith("EfficientNetLite"):  # not in keras.applications; as its authors do it
        return (pixels - 127.0) / 128.0
    module = next(module for start, module in MODULES.items() if name.startswith(start))
    return getattr(keras.applications, module).preprocess_input(pixels)


def build_base(name: str, side: int, weights: Path | str | None = None, **options: Any) -> Any:
    """Build a network of keras.applications without its top, with random weights, `imagenet` or those of a file."""
    import keras

    return getattr(keras.applications, name)(
        include_top=False, weights=None if weights is None else str(weights), input_shape=(side, side, 3), **options
    )


def settle(base: Any, seed: int, inputs: NDArray[np.float32]) -> Any:
    """Perturb a randomly initialized network so that mistakes change its output.

    Otherwise, mistakes could go unnoticed: biases are 0, scales are 1, and ConvNeXt's blocks, scaled by 1e-6, have
    almost no effect. The batch-norm statistics are set from real activations.

    Args:
        base: Network, which is changed and returned.
        seed: Seed of the random draws.
        inputs: Preprocessed images, from which the batch-norm statistics are computed.
    """
    random = np.random.default_rng(seed)
    for variable in base.trainable_variables:
        word = variable.path.rpartition("/")[2]
        if word in ("gamma", "beta", "bias"):
            start = np.where(np.abs(variable.numpy()) < 1e-3, 0.3 if word == "gamma" else 0.0, variable.numpy())
            variable.assign(start + random.normal(0.0, 0.1, variable.shape))
    norms = [layer for layer in _all_layers(base) if type(layer).__name__ == "BatchNormalization"]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    base(inputs, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    return base


def vary(base: Any, seed: int) -> Any:
    """Vary the scales of a random network's channels without amplifying rounding errors.

    `settle` creates activations as in a trained network, but amplifies rounding as much as a hundred random layers do.
    """
    random = np.random.default_rng(seed)
    for variable in base.weights:
        if variable.path.rpartition("/")[2] in ("gamma", "moving_variance"):
            start = np.where(np.abs(variable.numpy()) < 1e-3, 0.3, variable.numpy())
            variable.assign(start * random.uniform(0.7, 1.3, variable.shape))
    return base


def weighted_layers(base: Any) -> list[Any]:
    """Return the layers with weights in order, including those of nested models."""
    return [layer for layer in _all_layers(base) if layer.weights and not hasattr(layer, "layers")]


def _all_layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _all_layers(layer)


def write_weights(base: Any, folder: Path) -> Mapping[str, Path]:
    """Write a network's weights in every format that Keras reads, and return the files by format."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    files = {
        ".weights.h5": folder / "network.weights.h5",
        ".keras": folder / "network.keras",
        ".h5 (weights)": folder / "weights.h5",
        ".h5 (model)": folder / "model.h5",
    }
    base.save_weights(files[".weights.h5"])
    base.save(files[".keras"])
    with h5py.File(files[".h5 (weights)"], "w") as file:
        save_weights_to_hdf5_group(file, base)
    with _quiet():
        base.save(files[".h5 (model)"])
    return files


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Keras's warning, logged through absl, that HDF5 is a legacy format."""
    from absl import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def pooled_features(name: str, base: Any, pixels: NDArray[Any], batch: int = 32) -> NDArray[np.float32]:
    """Return the features of a frozen base, averaged over the image, of shape (n, channels)."""
    maps = base.predict(preprocess(name, pixels), batch_size=batch, verbose=0)
    result: NDArray[np.float32] = maps.mean(axis=(1, 2))
    return result


def frozen_losses(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    weights: Sequence[NDArray[np.float32]],
    batches: Sequence[NDArray[np.int64]],
    learning_rate: float,
) -> list[float]:
    """Return the losses of SGD steps of a softmax head on the features of a frozen base.

    Args:
        features: Features of shape (n, channels).
        labels: Class indices of shape (n,).
        weights: Initial kernel and bias of the head.
        batches: Row indices of each step.
        learning_rate: Learning rate of SGD.
    """
    import keras

    head = keras.Sequential(
        [keras.Input(features.shape[1:]), keras.layers.Dense(weights[1].shape[0], activation="softmax")]
    )
    head.layers[-1].set_weights(weights)
    head.compile(optimizer=keras.optimizers.SGD(learning_rate), loss="sparse_categorical_crossentropy")
    return [float(head.train_on_batch(features[rows], labels[rows], return_dict=True)["loss"]) for rows in batches]


def unfreeze_top(base: Any, n: int) -> list[str]:
    """Unfreeze a base's last n layers, not counting normalization; freeze the others and all batch normalization.

    Returns:
        Names of the layers that are trained.
    """
    base.trainable = True
    counted = 0
    for layer in reversed(base.layers):
        is_norm = type(layer).__name__.endswith("Normalization")
        layer.trainable = counted < n and type(layer).__name__ != "BatchNormalization"
        counted += bool(layer.weights) and not is_norm
    return [layer.name for layer in base.layers if layer.trainable_weights]


def unfrozen_losses(
    name: str,
    base: Any,
    pixels: Pixels,
    labels: NDArray[np.int64],
    weights: Sequence[NDArray[np.float32]],
    batches: Sequence[NDArray[np.int64]],
    learning_rate: float,
) -> list[float]:
    """Return the losses of SGD steps that train the head and the base's trainable layers.

    Args:
        name: Name of the base in keras.applications.
        base: Base.
        pixels: Images of shape (n, height, width, 3) in 0–255.
        labels: Class indices of shape (n,).
        weights: Initial kernel and bias of the head.
        batches: Row indices of each step.
        learning_rate: Learning rate of SGD.
    """
    import keras

    inputs = keras.Input(pixels.shape[1:])
    x = base(preprocess(name, inputs), training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(weights[1].shape[0], activation="softmax")
    model = keras.Model(inputs, dense(x))
    dense.set_weights(weights)
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), loss="sparse_categorical_crossentropy")
    data = pixels.astype("float32")
    return [float(model.train_on_batch(data[rows], labels[rows], return_dict=True)["loss"]) for rows in batches]


def read_split(folder: Path, side: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read class folders with `image_dataset_from_directory`, which resizes bilinearly without antialiasing.

    Returns:
        Pixels in 0–255 of shape (n, side, side, 3), and class indices of shape (n,), in the order of file names.
    """
    import keras

    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(side, side), batch_size=64, shuffle=False, label_mode="int", verbose=False
    )
    pixels, labels = zip(*((x.numpy(), y.numpy()) for x, y in data), strict=True)
    return np.concatenate(pixels), np.concatenate(labels).astype(np.int64)


def train_head(
    train: tuple[NDArray[np.float32], NDArray[np.int64]],
    validation: tuple[NDArray[np.float32], NDArray[np.int64]],
    n_classes: int,
    seed: int = 0,
) -> Any:
    """Train a softmax layer on pooled features with Adam at 1e-3, batches of 32 and at most 20 epochs.

    Early stopping has a patience of 5 epochs and restores the weights with the lowest validation loss.
    """
    import keras

    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.Input(train[0].shape[1:]), keras.layers.Dense(n_classes, activation="softmax")])
    head.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    head.fit(*train, batch_size=32, epochs=20, validation_data=validation, callbacks=[stopping], verbose=0)
    return head
