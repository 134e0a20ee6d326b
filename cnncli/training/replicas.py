"""Replicas: several devices that each train on a part of every batch, through tf.distribute.

A training step is the same code on one device and on several. Each replica scales the loss of its part so that the sum
of all gradients is that of the whole batch, also if the last batch of an epoch cannot be divided evenly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

from cnncli.config.schema import Config
from cnncli.errors import ConfigError, Message
from cnncli.networks.backend import import_keras

_SEED_STEP, _SEED_BITS = 0x9E3779B1, 0x7FFFFFFF


@dataclass(frozen=True)
class Replicas:
    """The devices of a training step.

    Attributes:
        strategy: The strategy of tf.distribute; None for one device.
        first: Number of this process's first replica among those of all processes.
    """

    strategy: Any = None
    first: int = 0

    @property
    def n(self) -> int:
        """Number of replicas, those of other processes included."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    def scope(self) -> AbstractContextManager[Any]:
        """Create variables inside the block on every device."""
        return self.strategy.scope() if self.strategy else nullcontext()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function on every device."""
        return self.strategy.run(function, args) if self.strategy else function(*args)

    def part(self, batch: Any) -> tuple[Any, Any]:
        """Return this replica's rows of a batch of tensors (n, …), and their fraction of all rows; scalars are shared.

        A replica for which no row is left gets a copy of the first one, with the fraction 0.
        """
        import tensorflow as tf

        if not self.strategy:
            return batch, 1.0
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        n = tf.shape(tf.nest.flatten(batch)[0])[0]
        length = -(-n // self.n)  # replicas without rows are the last ones
        start = tf.minimum(number * length, n)
        n_rows = tf.minimum(length, n - start)
        begin, end = tf.where(n_rows > 0, start, 0), tf.where(n_rows > 0, start + n_rows, 1)
        part = tf.nest.map_structure(lambda one: one[begin:end] if one.shape.rank else one, batch)
        return part, tf.cast(n_rows, tf.float32) / tf.cast(n, tf.float32)

    def total(self, value: Any) -> Any:
        """Return the sum of a value over all replicas; None for None."""
        return self.strategy.reduce("SUM", value, axis=None) if self.strategy and value is not None else value

    def join(self, rows: Any, n: Any) -> Any:
        """Return the results (rows, …) for the parts of a batch of n rows as one tensor."""
        return self.strategy.gather(rows, axis=0)[:n] if self.strategy else rows

    def fractions(self, values: Sequence[Any]) -> list[Any]:
        """Return this replica's equal fraction of each value, so that the sums over all replicas are the values."""
        return [one / self.n if self.strategy and one is not None else one for one in values]

    def assign_random(self, state: Any, value: Any) -> None:
        """Set the state of a random layer, (seed, counter), so that every replica draws other numbers."""
        import numpy as np

        components = self.strategy.experimental_local_results(state.value) if self.strategy else [state]
        for number, component in enumerate(components, start=self.first):
            seed = (int(value[0]) + number * _SEED_STEP) & _SEED_BITS if number else int(value[0])
            component.assign(np.array([seed, int(value[1])], dtype=value.dtype))


ONE_DEVICE = Replicas()


def build_replicas(config: Config) -> Replicas:
    """Return the replicas of a config.

    Raises:
        ConfigError: There are fewer devices, or they cannot share each batch evenly.
    """
    devices, key = config.training.devices, "training.devices"
    if devices == 1 or config.training.solver == "exact":
        return ONE_DEVICE
    names = _device_names()
    wanted = range(len(names)) if devices == "all" else range(devices) if isinstance(devices, int) else devices
    if missing := [number for number in wanted if number >= len(names)]:
        text = f"{key}: there is no device {missing[0]}. TensorFlow sees {len(names)}: {', '.join(names)}."
        raise ConfigError(Message("training-device-missing", text, key=key, received=missing[0], expected=len(names)))
    if list(wanted) == [0]:
        return ONE_DEVICE  # TensorFlow's own choice
    require_divisible(config, len(wanted), key)
    return _mirrored(tuple(names[number] for number in wanted))


def require_divisible(config: Config, n_replicas: int, key: str) -> None:
    """Raise ConfigError unless the batches of a config can be divided evenly."""
    size = config.training.batch_size
    if size != "auto" and int(size) % n_replicas:
        below, above = int(size) // n_replicas * n_replicas or n_replicas, -(-int(size) // n_replicas) * n_replicas
        allowed = " or ".join(str(one) for one in dict.fromkeys((below, above)))
        text = (
            f"training.batch_size: {size} images cannot be divided among {n_replicas} devices ({key}). Use {allowed}."
        )
        raise ConfigError(
            Message("training-batch-not-divisible", text, key="training.batch_size", received=size, expected=allowed)
        )


def _device_names() -> list[str]:
    """Return the GPUs that TensorFlow sees, or else its CPUs: one, unless the process has configured several."""
    import_keras()
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name.removeprefix("/device:") for device in devices]


@cache
def _mirrored(names: tuple[str, ...]) -> Replicas:
    import tensorflow as tf

    return Replicas(tf.distribute.MirroredStrategy(list(names)))
