"""A config as far as it is sound, together with how it was written: what the rules across settings look at."""

from __future__ import annotations

from dataclasses import dataclass

from cnncli.config.problems import Problem
from cnncli.config.schema import Config, OptimizerConfig, ScheduleConfig
from cnncli.config.tree import Node


@dataclass(frozen=True)
class Draft:
    """What the rules see.

    Attributes:
        config: complete; a setting that was wrong has its default.
        tree: as written.
        wrong: keys that were complained about, whose values the rules must not judge again.
    """

    config: Config
    tree: Node
    wrong: frozenset[str]

    def wrote(self, key: str) -> bool:
        """Whether a setting was written, in whatever source."""
        return self.tree.find(key) is not None

    def is_sound(self, *keys: str) -> bool:
        """Whether none of these settings was complained about, nor a group around or a part inside them."""
        return not any(
            key == wrong or key.startswith(f"{wrong}.") or wrong.startswith(f"{key}.")
            for key in keys
            for wrong in self.wrong
        )

    def problem(self, key: str, what: str, expected: str = "", hint: str = "") -> Problem:
        """A problem with a setting, at the place where it or the closest group around it was written."""
        node = self.tree.find(key)
        if node is None:
            return Problem(self.tree.nearest(key).origin, key, what, self._default(key), expected, hint)
        return Problem(node.origin, key, what, node.plain(), expected, hint)

    def _default(self, key: str) -> object:
        value: object = self.config
        for name in key.split("."):
            value = value[int(name)] if isinstance(value, tuple) else getattr(value, name, None)
        return value


def optimizers_of(config: Config) -> dict[str, OptimizerConfig]:
    """Every optimizer of a config by its key."""
    stages = enumerate(config.training.stages or ())
    own = {f"training.stages.{number}.optimizer": stage.optimizer for number, stage in stages if stage.optimizer}
    return {"training.optimizer": config.training.optimizer, **own}


def schedules_of(config: Config) -> dict[str, ScheduleConfig]:
    """Every schedule of a config by its key."""
    stages = enumerate(config.training.stages or ())
    own = {f"training.stages.{number}.schedule": stage.schedule for number, stage in stages if stage.schedule}
    return {"training.schedule": config.training.schedule, **own}
