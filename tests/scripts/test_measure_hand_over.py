"""`scripts/measure_hand_over.py` computes in the precision of the stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncli.recipes.train import train
from cnncli.terminal.console import Console
from scripts.measure_hand_over import main
from tests.support.drawing import draw_dataset, tiny_config


@pytest.mark.slow
def test_tails_compute_in_the_precision_of_their_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tail with convolutions computes in bfloat16, and a head in float32."""
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "cache"))
    config = tiny_config(draw_dataset(tmp_path / "data", 4, 4, 2), engine="keras", precision="bfloat16")
    run = train(config, tmp_path / "runs", Console(quiet=True))
    main(str(run.path), ["1", "all"])
    head, top, everything = capsys.readouterr().out.splitlines()

    assert head.startswith("ConvNet bfloat16 trunk, float32 tail, unfreeze     0: val_loss ")
    assert top.startswith("ConvNet bfloat16 trunk, bfloat16 tail, unfreeze     1: val_loss ")
    assert everything.startswith("ConvNet no trunk, bfloat16 tail, unfreeze   all: val_loss ")
