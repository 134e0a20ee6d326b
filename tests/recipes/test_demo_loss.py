"""The demonstrations of losses show the numbers of the course."""

from __future__ import annotations

import json

import pytest

from cnncli.cli import main
from cnncli.recipes.demo_loss import explain_losses, explain_penalties

SAMPLES = [(3.2, 5.1, -1.7), (1.3, 4.9, 2.0), (2.2, 2.5, -3.1)]


def _losses(name: str, **changes: object) -> list[float]:
    found = explain_losses(SAMPLES, (1, 2, 3), **changes)  # type: ignore[arg-type]
    return [next(one.value for one in sample.losses if one.name == name) for sample in found.samples]


def test_the_hinge_losses_of_the_course() -> None:
    """2.9, 0 and 12.9, mean 5.267; Keras's CategoricalHinge gives 6.6 for the third. Rows 107, 108, 109 and 110."""
    assert _losses("hinge") == pytest.approx([2.9, 0.0, 12.9])
    assert _losses("CategoricalHinge (Keras)") == pytest.approx([2.9, 0.0, 6.6])
    assert explain_losses(SAMPLES, (1, 2, 3)).means["hinge"] == pytest.approx(5.267, abs=5e-4)


def test_a_negative_score_of_the_true_class_is_in_parentheses() -> None:
    """2.2 − (−3.1), not 2.2 − −3.1; a negative score that is first needs no parentheses. Row 107."""
    hinge, *_ = explain_losses([(2.2, -2.5, -3.1)], (3,)).samples[0].losses
    assert hinge.calculation == "max(0, 2.2 − (−3.1) + 1) + max(0, −2.5 − (−3.1) + 1) = 6.3 + 1.6"


def test_twice_the_weights_give_the_same_loss_of_zero() -> None:
    """The loss of the second sample remains 0, the others grow. Row 111."""
    assert _losses("hinge", factor=2.0) == pytest.approx([4.8, 0.0, 23.8])


def test_the_cross_entropy_of_the_course() -> None:
    """2.0404 nats for the first sample. Row 119."""
    assert _losses("cross-entropy")[0] == pytest.approx(2.0404, abs=5e-5)


def test_the_squared_errors_of_the_course() -> None:
    """0.55 before a step, 0.06 after it. Row 113."""
    found = explain_losses([(0.2, 0.4, 0.1, 0.3), (0.1, 0.1, 0.7, 0.1)], (3, 3), are_probabilities=True)
    assert [sample.losses[1].value for sample in found.samples] == pytest.approx([0.55, 0.06])


def test_probabilities_may_be_rounded() -> None:
    """Their sum differs from 1 by what rounding to two digits leaves."""
    assert explain_losses([(0.33, 0.33, 0.33)], (1,), are_probabilities=True).samples


def test_the_penalties_of_the_course() -> None:
    """Both weights give the score 1; L2 is 1 and 0.25, and L1 is 1 for both. Row 112."""
    first, second = explain_penalties([(1, 0, 0, 0), (0.25,) * 4], (1, 1, 1, 1))
    assert (first.score, second.score) == (1, 1)
    assert (first.l2, second.l2, first.l1, second.l1) == (1, 0.25, 1, 1)


def test_the_commands_show_each_term(capsys: pytest.CaptureFixture[str]) -> None:
    """The text has the calculation, the JSON all values."""
    arguments = ["demo", "loss", "--scores", "3.2,5.1,-1.7", "--true", "1"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "max(0, 5.1 − 3.2 + 1) + max(0, −1.7 − 3.2 + 1) = 2.9 + 0" in out
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["samples"][0]["losses"]["hinge"]["value"] == pytest.approx(2.9)
    assert main(["demo", "penalty", "--weights", "1,0,0,0", "--inputs", "1,1,1,1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"weights": [1, 0, 0, 0], "score": 1, "l1": 1, "l2": 1}]


@pytest.mark.parametrize(
    "words",
    [
        ["--scores", "1,2", "--true", "3"],
        ["--scores", "1,2", "--true", "1", "--true", "2"],
        ["--scores", "1", "--true", "1"],
        ["--scores", "nan,1", "--true", "1"],
        ["--scores", "a,b", "--true", "1"],
        ["--probabilities", "0.5,1.5", "--true", "1"],
        ["--probabilities", "0.9,0.7", "--true", "1"],
        ["--true", "1"],
    ],
)
def test_wrong_numbers_are_errors_of_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """They exit with code 2 and one line."""
    assert main(["demo", "loss", *words]) == 2
    assert capsys.readouterr().out == ""
