"""The cut: divide a classifier into a frozen trunk (pixels to features) and a trainable tail (features to logits).

Both share their weights with the classifier, so training the tail trains the classifier, and `tail(trunk(pixels))`
equals the uncut graph exactly in float32. Several tensors can cross the cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cnncli.errors import CutError, Message
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier, branch_prefix
from cnncli.networks.graph import crossing_tensors, inputs_of, output_of
from cnncli.networks.head import CONCATENATED, LOGITS
from cnncli.networks.preprocessing import ADAPTER
from cnncli.terminal.suggestions import closest, question

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Cut:
    """A divided classifier.

    Attributes:
        trunk: Pixels (batch, height, width, channels) to the features, a list of tensors; None if it is empty.
        trunks: The trunk or, at the pooled features of several backbones, one graph from pixels to the features of
            each; none if it is empty.
        tail: The features, or the pixels if the trunk is empty, to logits (batch, units).
        at: Name of the tail's first operation.
        crossing: Name and shape (without the batch) of each tensor that crosses the cut.
        trained: Names of the trained layers, in graph order.
        training_tail: The tail with the logits of auxiliary classifiers as further outputs, if there are any and
            nothing is frozen; otherwise the tail.
    """

    trunk: keras.Model | None
    trunks: tuple[keras.Model, ...]
    tail: keras.Model
    at: str
    crossing: tuple[tuple[str, tuple[int, ...]], ...]
    trained: tuple[str, ...]
    training_tail: keras.Model

    @property
    def after(self) -> str:
        """Short text for the operations whose outputs cross the cut."""
        (first, *others) = (name for name, _ in self.crossing)
        return f"{first} and {len(others)} more" if others else first

    @property
    def ends(self) -> tuple[str, ...]:
        """Short text for the operations with which each trunk ends, with the names in its own network."""
        if len(self.trunks) < 2:
            return (self.after,)
        return tuple(name.removeprefix(branch_prefix(number)) for number, (name, _) in enumerate(self.crossing))


def cut_classifier(
    classifier: Classifier, unfreeze: int | str, batch_norm: Literal["frozen", "train"] = "frozen"
) -> Cut:
    """Freeze the lower part of a classifier and divide it there; sets `trainable` on every layer.

    Args:
        classifier: The whole graph.
        unfreeze: How much of the backbone is trained: the last N layers with trainable weights, not counting
            normalization; a layer and all layers after it; `all`; 0 for only the head. An adapter of channels is always
            trained, so the trunk of a classifier that has one is empty.
        batch_norm: `frozen` keeps statistics and scale of a pretrained backbone's batch normalization by
            `trainable = False`, the only way to keep them in Keras 3 (`training=False` does not).

    Raises:
        CutError: There is no such layer, or there are fewer layers.
    """
    model = classifier.model
    first = _first_trained(classifier, unfreeze)
    keep_batch_norm = classifier.pretrained and batch_norm == "frozen"
    _set_trainable(classifier, model.operations[first:], keep_batch_norm)
    at = _move_past_fixed(model.operations, first)
    below = model.operations[:at]
    empty = any(operation.name == ADAPTER for operation in below) or not any(map(_counts, below))
    at = 1 if empty else at
    is_joint = model.operations[at].name == CONCATENATED
    crossing = inputs_of(model, CONCATENATED) if is_joint else crossing_tensors(model, at)
    keras = import_keras()
    trunk = None if empty else keras.Model(model.inputs, crossing, name="trunk")
    branches = [keras.Model(model.inputs, [tensor], name="trunk") for tensor in crossing] if is_joint else [trunk]
    tail = keras.Model(crossing, output_of(model, LOGITS), name="tail")
    auxiliary = classifier.auxiliary if empty else ()
    return Cut(
        trunk=trunk,
        trunks=tuple(branch for branch in branches if branch),
        tail=tail,
        training_tail=keras.Model(crossing, [tail.output, *auxiliary], name="tail") if auxiliary else tail,
        at=model.operations[at].name,
        crossing=tuple((str(tensor._keras_history.operation.name), tuple(tensor.shape[1:])) for tensor in crossing),
        trained=tuple(op.name for op in model.operations[at:] if getattr(op, "trainable_weights", None)),
    )


def countable_layers(classifier: Classifier) -> list[Any]:
    """Return the backbone's layers that `unfreeze: N` counts: those with trainable weights, except normalization.

    Several backbones have none, because they stay frozen.
    """
    if any(operation.name == CONCATENATED for operation in classifier.backbone_layers):
        return []
    return [operation for operation in classifier.backbone_layers if _counts(operation)]


def _first_trained(classifier: Classifier, unfreeze: int | str) -> int:
    """Return the index of the first trained operation in the graph, or of the layer that joins several backbones."""
    names = [operation.name for operation in classifier.model.operations]
    if unfreeze == 0:
        return names.index(CONCATENATED) if CONCATENATED in names else classifier.head_start
    if unfreeze == "all":
        return classifier.backbone_start
    layers = countable_layers(classifier)
    if isinstance(unfreeze, int):
        if unfreeze > len(layers):
            n, key = len(layers), "unfreeze"
            text = f"{key}: received {unfreeze}, but the backbone has {n} layers that count. Use at most {n}, or `all`."
            raise CutError(Message("cut-too-many-layers", text, key=key, received=unfreeze, expected=n))
        return names.index(layers[-unfreeze].name)
    backbone = [operation.name for operation in classifier.backbone_layers]
    if unfreeze not in backbone:
        similar = closest(unfreeze, backbone)
        hint = question(similar) or "`cnncli summary CONFIG` lists all of them."
        text, facts = f"unfreeze: {unfreeze} is not a layer of the backbone. {hint}", {"suggestions": tuple(similar)}
        raise CutError(Message("cut-unknown-layer", text, key="unfreeze", received=unfreeze, **facts))
    return names.index(unfreeze)


def _set_trainable(classifier: Classifier, trained: list[Any], keep_batch_norm: bool) -> None:
    in_backbone = {id(operation) for operation in classifier.backbone_layers}
    above = {id(operation) for operation in trained}
    for layer in classifier.model.layers:
        kept = keep_batch_norm and id(layer) in in_backbone and type(layer).__name__ == "BatchNormalization"
        layer.trainable = (id(layer) in above or layer.name == ADAPTER) and not kept


def _move_past_fixed(operations: list[Any], index: int) -> int:
    """Move the cut up past operations without weights and randomness, such as global pooling."""
    while index + 1 < len(operations) and not _ends_trunk(operations[index]):
        index += 1
    return index


def _ends_trunk(operation: Any) -> bool:
    return _has_weights(operation) or _is_random(operation) or operation.name == CONCATENATED


def _has_weights(operation: Any) -> bool:
    return bool(getattr(operation, "weights", None))


def _counts(operation: Any) -> bool:
    """Return whether a layer, frozen or not, has weights and is not a normalization layer."""
    return _has_weights(operation) and not type(operation).__name__.endswith("Normalization")


def _is_random(operation: Any) -> bool:
    return hasattr(operation, "seed_generator") or "Dropout" in type(operation).__name__
