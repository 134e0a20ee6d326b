"""Output of `cnncli demo`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cnncli.cli import main
from tests.support.drawing import draw_image


@pytest.fixture
def image(tmp_path: Path) -> str:
    """Return the path of a drawn image."""
    Image.fromarray(draw_image("dots", 3)).save(tmp_path / "dots.png")
    return str(tmp_path / "dots.png")


def test_a_convolution_is_worked_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Rows 191 and 193: the steps and the result are printed, and the animation is written."""
    out = tmp_path / "steps.gif"

    assert main(["demo", "convolution", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "4 3 4\n2 4 3\n2 3 4" in text
    assert "output size (5 − 3)/1 + 1 = 3" in text
    assert out.is_file()
    assert main(["demo", "convolution", "--padding", "2", "--stride", "1", "--size", "4", "--depth", "1"]) == 0
    assert "output size (4 − 3 + 2·2)/1 + 1 = 6" in capsys.readouterr().out


def test_the_output_size_is_rounded_down(capsys: pytest.CaptureFixture[str]) -> None:
    """Row 97: a window that does not fit at the edge is left out, and the formula shows that."""
    assert main(["demo", "convolution", "--size", "6", "--kernel", "3", "--stride", "2", "--padding", "0"]) == 0
    assert "output size ⌊(6 − 3)/2⌋ + 1 = 2" in capsys.readouterr().out


def test_kernels_have_numbers_and_biases(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of several kernels has its number, and its bias, which is in the formulas."""
    assert main(["demo", "convolution", "--depth", "1", "--filters", "2", "--size", "3"]) == 0
    text = capsys.readouterr().out
    assert "kernel 1, channel 1, bias 1\n" in text
    assert "kernel 2, channel 1, bias 0\n" in text


def test_an_option_of_the_volume_selects_it_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """`demo convolution` without --example names the example that an option has selected."""
    for words, named in (([], False), (["--size", "4"], True), (["--example", "volume", "--size", "4"], False)):
        assert main(["demo", "convolution", *words]) == 0
        assert ("volume" in capsys.readouterr().err) == named


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--size", "2", "--padding", "0"], "usage-value-invalid"),
        (["--example", "max-pooling", "--stride", "1"], "usage-options-conflict"),
        (["--example", "image", "--size", "7"], "usage-options-conflict"),
        (["--out", "steps.jpg"], "usage-suffix"),
    ],
)
def test_impossible_convolutions_are_refused(words: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A window larger than the input, sizes for fixed numbers, and an unknown format are refused."""
    assert main(["demo", "convolution", *words]) == 2
    assert f"[{code}]" in capsys.readouterr().err


def test_figures_of_an_image_are_written(image: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows 181, 190 and 194: `demo kernels`, `feature-map` and `pixels` write figures; pixels are also printed."""
    for verb in ("kernels", "feature-map", "pixels"):
        out = tmp_path / f"{verb}.png"
        assert main(["demo", verb, image, "--size", "8", "--out", str(out)]) == 0
        assert out.is_file()
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if len(line.split()) == 8]) == 8
    assert main(["demo", "pixels", image, "--size", "4", "--json"]) == 0
    assert all(0 <= value <= 255 for row in json.loads(capsys.readouterr().out) for value in row)


@pytest.mark.parametrize("verb", ["kernels", "feature-map"])
def test_a_figure_without_a_name_gets_that_of_the_image(
    verb: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`demo kernels IMAGE` alone writes a figure into the current folder, as `explain` does."""
    monkeypatch.chdir(tmp_path)
    assert main(["demo", verb, image, "--size", "8"]) == 0
    assert (tmp_path / f"dots-{verb}.png").is_file()


def test_receptive_fields_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 98: a line per layer with the formula, and a figure."""
    assert main(["demo", "receptive-field", "--layers", "3", "--out", str(tmp_path / "field.svg")]) == 0
    assert "5 + (3 − 1)·1 = 7" in capsys.readouterr().out
    assert (tmp_path / "field.svg").is_file()
    assert main(["demo", "receptive-field", "--kernel", "5", "--layers", "2", "--json"]) == 0
    assert [row["receptive_field"] for row in json.loads(capsys.readouterr().out)] == [5, 9]


def test_a_training_step_is_shown(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 142: the five steps, and the probabilities before and after."""
    assert main(["demo", "step", image, "--label", "cat", "backbone.options.filters=[4]"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [line[0] for line in lines[:5]] == ["1", "2", "3", "4", "5"]
    assert lines[5].split() == ["class", "target", "before", "after", "1"]
    assert main(["demo", "step", image, "--label", "cat", "--updates", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["probabilities"]) == 4
