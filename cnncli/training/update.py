"""Update of the weights by gradients, accumulated over batches: a learning rate per layer, a moving average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cnncli.config.schema import Config
from cnncli.networks.backend import import_keras
from cnncli.networks.classifier import Classifier
from cnncli.networks.cut import countable_layers
from cnncli.training.replicas import ONE_DEVICE, Replicas

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class UpdateSettings:
    """Settings of an update in addition to those of the optimizer.

    Attributes:
        accumulation: Number of batches whose gradients make one update.
        ema: Fraction of the moving average of the weights that each update keeps; None: no average.
        factors: Factor of the learning rate by layer; 1 for all others.
        l1, l2: Penalties on the trained kernels.
    """

    accumulation: int = 1
    ema: float | None = None
    factors: Mapping[str, float] = field(default_factory=dict)
    l1: float = 0.0
    l2: float = 0.0

    @classmethod
    def from_config(cls, config: Config, classifier: Classifier) -> UpdateSettings:
        """Return the settings of a config for the layers of a classifier."""
        training = config.training
        factors = {} if training.layer_decay is None else learning_rate_factors(classifier, training.layer_decay)
        return cls(training.accumulation, training.ema, factors, training.l1, training.l2)


def learning_rate_factors(classifier: Classifier, decay: float) -> dict[str, float]:
    """Return the factor of the learning rate of each backbone layer with weights: `decay` once per layer from the top.

    Layers are counted as `unfreeze` counts them, and normalization has the factor of the layer before it. The head has
    the factor 1.
    """
    counted = {layer.name for layer in countable_layers(classifier)}
    factors, depth = {}, 0
    for layer in reversed(classifier.backbone_layers):
        depth += layer.name in counted
        factors[layer.name] = decay ** (depth if layer.name in counted else depth + 1)
    return factors


class Update:
    """Applies gradients to the trainable variables of a model, as operations of a TensorFlow graph.

    Attributes:
        averages: Moving average of each trainable variable, or none. The first update sets them to the weights, as in
            Keras's optimizers. Statistics of batch normalization are averages already.
        is_accumulating: Whether several batches make one update.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        settings: UpdateSettings,
        replicas: Replicas = ONE_DEVICE,
    ) -> None:
        """Create the variables that the update needs, in the scope of the replicas."""
        self._optimizer, self._settings, self._weights = optimizer, settings, model.trainable_variables
        self._replicas, self._clips = replicas, _share_limits(optimizer, replicas.n)
        optimizer.build(self._weights)
        by_layer = [(layer.name, weight) for layer in model.layers for weight in layer.trainable_variables]
        names = {id(weight): name for name, weight in by_layer}
        self._factors = [settings.factors.get(names[id(weight)], 1.0) for weight in self._weights]
        self.is_accumulating = settings.accumulation > 1
        self.averages = self._like_weights("average", copy=True) if settings.ema is not None else []
        self._sums = self._like_weights("gradient_sum", copy=False) if self.is_accumulating else []
        self._n_images = import_keras().Variable(0.0, name="n_images", trainable=False)

    def variables(self) -> dict[str, Any]:
        """Return the variables of the update by name, without those of the optimizer."""
        averages = {f"average/{number:04}": average for number, average in enumerate(self.averages)}
        sums = {f"gradient_sum/{number:04}": one for number, one in enumerate(self._sums)}
        return {**averages, **sums, **({"gradient_sum/images": self._n_images} if self._sums else {})}

    def is_due(self, steps: int) -> bool:
        """Return whether the gradients of enough batches are accumulated after a number of steps of an epoch."""
        return self.is_accumulating and steps % self._settings.accumulation == 0

    @property
    def is_pending(self) -> bool:
        """Whether there are accumulated gradients."""
        return bool(self._sums) and float(self._n_images.numpy()) > 0

    def add(self, gradients: Sequence[Any], n_images: Any) -> None:
        """Apply the gradients of the mean loss of a batch, or accumulate them.

        Those of several replicas add up to the gradients of the batch.
        """
        if not self.is_accumulating:
            if self._clips and self._replicas.n > 1:
                self._apply(self._totals(gradients), are_totals=True)
            else:
                self._apply(gradients)
            return
        for total, gradient in zip(self._sums, self._totals(gradients), strict=True):
            if gradient is not None:
                total.assign_add(gradient * n_images)
        self._n_images.assign_add(n_images)

    def apply_sums(self) -> None:
        """Apply the accumulated gradients, the mean over the images of all batches, and start again at zero."""
        self._apply([total / self._n_images for total in self._sums], are_totals=True)
        for variable in (*self._sums, self._n_images):
            variable.assign(variable * 0.0)

    def _apply(self, gradients: Sequence[Any], *, are_totals: bool = False) -> None:
        """Apply gradients that Keras adds up over the replicas, or totals, which are divided by their number."""

        def apply_part(part: Sequence[Any]) -> None:
            self._optimizer.apply(self._replicas.fractions(part) if are_totals else part, self._weights)

        ops = import_keras().ops
        before = [ops.copy(weight) if factor != 1.0 else None for weight, factor in self._scaled()]
        self._replicas.run(apply_part, gradients)
        for (weight, factor), start in zip(self._scaled(), before, strict=True):
            if start is not None:
                weight.assign(start + factor * (weight - start))
        if self.averages:
            is_first = ops.equal(self._optimizer.iterations, 1)
            momentum = ops.where(is_first, 0.0, self._settings.ema)
            for average, weight in zip(self.averages, self._weights, strict=True):
                average.assign(momentum * average + (1.0 - momentum) * weight)

    def _totals(self, gradients: Sequence[Any]) -> list[Any]:
        return [self._replicas.total(gradient) for gradient in gradients]

    def _scaled(self) -> list[tuple[Any, float]]:
        return list(zip(self._weights, self._factors, strict=True))

    def _like_weights(self, name: str, copy: bool) -> list[Any]:
        variable = import_keras().Variable
        values = [weight.numpy() if copy else weight.numpy() * 0.0 for weight in self._weights]
        return [variable(value, name=name, trainable=False, dtype="float32") for value in values]


def _share_limits(optimizer: keras.optimizers.Optimizer, n_replicas: int) -> bool:
    """Return whether an optimizer clips gradients, and divide its limits by the number of replicas.

    Keras clips the gradient of each replica before it adds them up.
    """
    limits = {name: getattr(optimizer, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")}
    for name, limit in limits.items():
        if limit is not None and n_replicas > 1:
            setattr(optimizer, name, limit / n_replicas)
    return any(limit is not None for limit in limits.values())
