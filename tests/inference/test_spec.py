"""A predictor's spec is read only if every entry is present and valid, and no other entry is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cnncli.errors import RunError
from cnncli.inference.spec import PredictorSpec, find_problem

GOOD: dict[str, Any] = {
    "engine": "openvino",
    "precision": "bfloat16",
    "tail_engine": "keras",
    "trunk": None,
    "unfreeze": "all",
    "batch_norm": "frozen",
    "pretrained": True,
    "activation": "softmax",
    "classes": ["a", "b"],
    "height": 16,
    "width": 16,
    "color": "rgb",
    "fit": "stretch",
    "max_pixels": 178_000_000,
    "tail_precision": "float32",
    "gpu": False,
    "cut": "block5_pool",
    "value_range": [0, 4095],
    "window": [40.0, 400.0],
    "bands": None,
    "thresholds": [0.5, 0.25],
    "tta": "flip",
    "loss": "hinge",
    "metrics": ["auc"],
}


OPTIONAL = ("tail_precision", "gpu", "cut", "value_range", "bands", "window", "thresholds", "tta", "loss", "metrics")
"""Entries that files of earlier versions lack."""


def test_a_spec_has_every_entry() -> None:
    """Entries that earlier versions did not write are optional."""
    assert set(PredictorSpec.__dataclass_fields__) == set(GOOD)
    assert find_problem(GOOD) is None
    assert find_problem({key: value for key, value in GOOD.items() if key not in OPTIONAL}) is None


@pytest.mark.parametrize("name", sorted(set(GOOD) - set(OPTIONAL)))
def test_a_missing_entry_is_named(name: str) -> None:
    """A spec without one of its entries is reported as damaged, and the problem names the entry."""
    problem = find_problem({key: value for key, value in GOOD.items() if key != name})

    assert problem is not None
    assert name in problem


@pytest.mark.parametrize("value", [3.5, -1, math.nan, [], {}, [{}], "", 10**30, ["a", "a"], b"x", 0])
@pytest.mark.parametrize("name", sorted(set(GOOD) - {"trunk", "unfreeze", "cut", "thresholds", "metrics"}))
def test_an_invalid_entry_is_named(name: str, value: Any) -> None:
    """A spec with an entry of the wrong type or size is reported as damaged, and the problem names the entry."""
    problem = find_problem({**GOOD, name: value})

    assert problem is not None
    assert name in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trunk", 1),
        ("trunk", []),
        ("cut", [1]),
        ("unfreeze", -1),
        ("unfreeze", True),
        ("gpu", 1),
        ("value_range", [0, 1, 2]),
        ("window", [40.0, 0.0]),
        ("window", [40, 400]),
    ],
)
def test_values_of_similar_types_are_invalid(name: str, value: Any) -> None:
    """Booleans are not accepted as integers, and a range must have two ends."""
    problem = find_problem({**GOOD, name: value})

    assert problem is not None
    assert name in problem


def test_an_unknown_entry_and_a_huge_image_are_named() -> None:
    """Unknown entries are problems, and so are valid sides that give an image with too many pixels."""
    assert "evil" in (find_problem({**GOOD, "evil": 1}) or "")
    assert "height × width" in (find_problem({**GOOD, "height": 2**15, "width": 2**15}) or "")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("not JSON", "run-file-damaged"),
        ("[]", "run-file-damaged"),
        (json.dumps(GOOD), "run-file-damaged"),
        (json.dumps({**GOOD, "format": 1, "width": -1}), "run-file-damaged"),
        (json.dumps({**GOOD, "format": 99}), "run-newer-format"),
    ],
)
def test_a_file_that_cannot_be_used_is_rejected(text: str, code: str, tmp_path: Path) -> None:
    """A damaged spec, or one from a newer version, is an error that names the file."""
    (tmp_path / "scoring.json").write_text(text)
    with pytest.raises(RunError) as caught:
        PredictorSpec.load(tmp_path)

    assert (caught.value.codes, caught.value.facts["path"]) == ((code,), tmp_path / "scoring.json")


@pytest.mark.parametrize("value", [0.5, [0.5], [0.5, 1.5], [0.5, -0.1], [0.5, math.nan], [0.5, "1"], [0.5, None]])
def test_invalid_thresholds_are_named(value: Any) -> None:
    """There is one for each class, 0-1, or none."""
    problem = find_problem({**GOOD, "thresholds": value})
    assert problem is not None
    assert "thresholds" in problem
    assert find_problem({**GOOD, "thresholds": []}) is None


@pytest.mark.parametrize("value", ["auc", ["acu"], [1], None])
def test_unknown_metrics_are_named(value: Any) -> None:
    """They are those of the catalogue."""
    problem = find_problem({**GOOD, "metrics": value})
    assert problem is not None
    assert "metrics" in problem


def test_a_spec_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    """Saving and loading a spec gives an equal spec."""
    spec = PredictorSpec(
        **{
            **GOOD,
            "classes": ("a", "b"),
            "value_range": (0, 4095),
            "window": (40.0, 400.0),
            "thresholds": (0.5, 0.25),
            "metrics": ("auc",),
        }
    )
    spec.save(tmp_path)

    assert PredictorSpec.load(tmp_path) == spec
