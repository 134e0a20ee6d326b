"""A process that dies after it has saved a checkpoint."""

from __future__ import annotations

from typing import Any

from cnncli.runs.checkpoints import Checkpoint, Checkpoints


def dying_after(saves: int, save: Any, saved: list[Checkpoint] | None = None) -> Any:
    """Return a `Checkpoints.save` that interrupts at the given call, after saving; `saved` gets the checkpoints."""
    done = [] if saved is None else saved

    def saved_once_more(checkpoints: Checkpoints, checkpoint: Checkpoint) -> None:
        save(checkpoints, checkpoint)
        done.append(checkpoint)
        if len(done) == saves:
            raise KeyboardInterrupt

    return saved_once_more
