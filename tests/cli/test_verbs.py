"""Output and exit codes of `train`, `finetune`, `evaluate`, `predict` and `summary`."""

from __future__ import annotations

import csv
import io
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import log_loss

from cnncli.cli import main, predict
from cnncli.cli.render import print_end
from cnncli.inference.prediction import Prediction
from cnncli.recipes.train import Run, conclude
from cnncli.runs.folder import RunFolder
from tests.support.drawing import draw_dataset

SCORES = ("balanced_accuracy", "mean_average_precision", "macro_f1", "roc_auc")
SCORES += ("log_loss", "brier_score", "calibration_error")
"""Names of the further results of a classifier of two classes."""
CONFIG = """
name: tiny
data: {path: data, image_size: 32}
backbone: {name: ConvNet, weights: none, options: {filters: [4, 8]}}
training: {epochs: 2}
precision: float32
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a config, images and one finished run."""
    folder = tmp_path_factory.mktemp("place")
    draw_dataset(folder / "data")
    (folder / "tiny.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
        assert main(["train", str(folder / "tiny.yaml"), "--runs-dir", str(folder / "runs"), "-q"]) == 0
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change into the folder of `place` and return it."""
    monkeypatch.chdir(place)
    monkeypatch.delenv("CNNCLI_RUNS")
    monkeypatch.setenv("CNNCLI_CACHE", str(place / "cache"))
    return place


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_train_prints_metrics_and_three_commands(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train` prints metrics to stdout, and commands to predict, evaluate and fine-tune the run to stderr."""
    assert main(["train", "tiny.yaml", "training.epochs=1", "--runs-dir", "others"]) == 0
    out, err = capsys.readouterr()

    assert [line.split()[0] for line in out.splitlines()] == ["split", "validation", "test"]
    assert [line.split()[:2] for line in err.splitlines()[-3:]] == [
        ["cnncli", "predict"],
        ["cnncli", "evaluate"],
        ["cnncli", "finetune"],
    ]
    assert "stage head" in err


def test_finetune_is_not_suggested_if_everything_has_trained(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`finetune` is not suggested after training from scratch, because no layers are left to unfreeze."""
    assert main(["train", "tiny.yaml", "mode=from-scratch", "training.epochs=1", "--runs-dir", "others"]) == 0
    err = capsys.readouterr().err.splitlines()

    assert [line for line in err if "block1_conv" in line]
    assert [line.split()[:2] for line in err[-2:]] == [["cnncli", "predict"], ["cnncli", "evaluate"]]
    assert not [line for line in err if "finetune" in line]


def test_the_suggested_commands_run_as_printed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The suggested `finetune` command runs as printed, even if its path contains a space; --quiet suppresses it."""
    assert main(["train", "tiny.yaml", "training.epochs=1", "--runs-dir", "my runs"]) == 0
    words = shlex.split(capsys.readouterr().err.splitlines()[-1])

    assert main([*words[1:], "--plan"]) == 0
    assert words[-2:] == ["--unfreeze", "2"]
    capsys.readouterr()
    assert main(["train", "tiny.yaml", "training.epochs=1", "--runs-dir", "my runs", "-q"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().err.splitlines()} == {"warning:"}


def test_nothing_to_improve_suggests_the_report(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If nearly all validation images are right, the report is suggested instead of fine-tuning."""
    run = Run.load(next(RunFolder(path) for path in (here / "runs").iterdir()))
    found = run.metrics["validation"]
    for accuracy, verb in ((0.985, "finetune"), (0.99, "report")):
        metrics = {"validation": replace(found, values={**found.values, "accuracy": accuracy})}
        caplog.clear()
        print_end(replace(run, metrics=metrics, layers=2), as_json=False)
        assert [line.split()[1] for line in caplog.messages[1:]] == ["predict", "evaluate", verb]


def test_the_time_at_the_end_includes_what_follows_the_results(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The duration includes figures and verification, and the line says when the results were there."""
    run = Run.load(next(RunFolder(path) for path in (here / "runs").iterdir()))
    print_end(replace(run, seconds=20.0, concluding_s=6.0), as_json=False)
    assert caplog.messages[0].endswith("in 26 s (results after 20 s)")

    assert conclude(run).concluding_s > 0


def test_train_json_is_one_document(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train --json` prints one document, which reports that the features of the first run were reused."""
    document = _json(capsys, "train", "tiny.yaml", "--runs-dir", "others")

    assert document["features"] == {"computed": 0, "reused": 48}
    assert Path(document["run"]).parent == here / "others"


def test_evaluate_json_has_the_documented_keys(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If no run is given, `evaluate` uses the newest, and --json prints a document with the documented keys."""
    document = _json(capsys, "evaluate")

    assert set(document) == {
        "run",
        "split",
        "n",
        "loss",
        "top1",
        "top1_ci95",
        *SCORES,
        "classes",
        "confusion_matrix",
        "confused_pairs",
        "per_class",
        "reliability",
        "calibration",
        "answers",
    }
    assert (document["split"], document["n"]) == ("test", 12)


@pytest.mark.parametrize("words", [["evaluate"], ["evaluate", "{name}"], ["evaluate", "{folder}"]])
def test_the_run_is_reported_unless_its_directory_was_named(
    words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`evaluate` prints the directory of the run that it uses, unless that directory was given as the argument."""
    (run,) = (here / "runs").iterdir()
    name = json.loads((run / "run.json").read_text())["name"]

    assert main([word.format(name=name, folder=run.name) for word in words]) == 0
    assert (f"run {run.name}\n" in capsys.readouterr().err) == ("{folder}" not in words)


def test_a_missed_minimum_exits_with_3(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the accuracy is below --min-accuracy, `evaluate` prints the metrics and exits with 3."""
    (here / "wrong").mkdir(exist_ok=True)
    for name, other in (("dots", "stripes"), ("stripes", "dots")):
        if not (here / "wrong" / name).exists():
            (here / "wrong" / name).symlink_to(here / "data" / "test" / other)
    accuracy = _json(capsys, "evaluate", "--data", "wrong")["top1"]

    assert main(["evaluate", "--data", "wrong", "--min-accuracy", str(accuracy + 0.01)]) == 3
    out, err = capsys.readouterr()
    assert out.startswith("split")
    assert err.splitlines()[-1].startswith("error: ")


def test_predict_reports_a_bad_image_and_continues(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`predict` reports an unreadable image on stderr, still predicts the other images, and exits with 2."""
    (here / "bad.jpg").write_bytes(b"nothing")
    good = "data/test/dots/dots-00.png"

    assert main(["predict", good, "bad.jpg", good, "--top", "1"]) == 2
    out, err = capsys.readouterr()
    assert [line.split(":")[0] for line in out.splitlines()] == [good, good]
    assert [line.split(": ")[:2] for line in err.splitlines() if "bad.jpg" in line] == [["error", "bad.jpg"]]


def test_predict_reports_bad_images_in_every_form(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON and tables have an entry with the error of each unusable image in its place, and CSV leaves it out."""
    (here / "bad.jpg").write_bytes(b"nothing")
    good = "data/test/dots/dots-00.png"
    images = [good, "bad.jpg", "absent.jpg", good]

    assert main(["predict", *images, "--json"]) == 2
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert [one["path"] for one in document] == images
    assert [one.get("code") for one in document] == [None, "image-unknown-format", "image-not-found", None]
    assert document[2] == {"path": "absent.jpg", "error": "does not exist", "code": "image-not-found"}
    assert [line.split(":")[0] for line in err.splitlines()[-2:]] == ["error", "error"]
    assert main(["predict", *images, "--table", "a.csv"]) == 2
    with (here / "a.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file) if row["error"]] == images[1:3]
    capsys.readouterr()
    assert main(["predict", *images, "--csv", "--top", "1"]) == 2
    assert [row["path"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [good, good]


def test_predict_json_and_csv_agree(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON and CSV output of `predict` contain the same paths and exactly the same probabilities."""
    document = _json(capsys, "predict", "data/test/dots")
    assert main(["predict", "data/test/dots", "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert len(document) == 6
    assert [entry["path"] for entry in document for _ in entry["predictions"]] == [row["path"] for row in table]
    assert [one["probability"] for entry in document for one in entry["predictions"]] == [
        float(row["probability"]) for row in table
    ]


def test_a_submission_has_the_probability_of_the_second_class(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 117: --kaggle writes id and label, the probability of the second class, from which log loss follows."""
    images = here / "unnamed"
    images.mkdir()
    sources = sorted((here / "data" / "test").rglob("*.png"))
    for number, source in enumerate(sources, start=5):  # 5 to 16: sorted as numbers
        shutil.copy(source, images / f"{number}.png")
    assert main(["predict", "unnamed", "--kaggle", "submission.csv"]) == 0
    assert capsys.readouterr().out == ""
    with (here / "submission.csv").open() as file:
        rows = list(csv.DictReader(file))
    document = {Path(one["path"]).stem: one["predictions"] for one in _json(capsys, "predict", "unnamed")}
    truth = [source.parent.name == "stripes" for source in sources]
    loss = log_loss(truth, [float(row["label"]) for row in rows])

    assert [list(row) for row in rows] == [["id", "label"]] * 12
    assert [row["id"] for row in rows] == [str(number) for number in range(5, 17)]
    for row in rows:
        (stripes,) = (one["probability"] for one in document[row["id"]] if one["label"] == "stripes")
        assert float(row["label"]) == pytest.approx(stripes, abs=1.5e-6)
        assert 1e-6 <= float(row["label"]) <= 1 - 1e-6
    assert loss == pytest.approx(_json(capsys, "evaluate")["loss"], abs=1e-4)


def test_a_submission_is_complete_or_not_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unreadable image, or two images with the same id, leave no file behind."""
    (here / "twice" / "a").mkdir(parents=True)
    good = here / "data/test/dots/dots-00.png"
    for place in ("twice/1.png", "twice/a/1.png"):
        shutil.copy(good, here / place)
    (here / "damaged.jpg").write_bytes(b"nothing")

    assert main(["predict", str(good), "damaged.jpg", "--kaggle", "incomplete.csv"]) == 2
    assert "damaged.jpg: " in capsys.readouterr().err
    assert main(["predict", "twice", "--kaggle", "incomplete.csv"]) == 2
    assert "[usage-value-invalid]" in capsys.readouterr().err
    assert not (here / "incomplete.csv").exists()


def test_control_characters_in_predictions_are_quoted_or_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in file names and labels are quoted in CSV output and escaped in text output."""
    prediction = Prediction("a\r\n\x1b[31m.jpg", ("b\rc", 'd"\ne'), (0.75, 0.25))
    predict._csv_lines(abstains=False)(prediction)
    table = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    predict._print_line(prediction)
    line = capsys.readouterr().out

    assert table == [
        ["path", "rank", "label", "probability"],
        ["a\r\n\x1b[31m.jpg", "1", "b\rc", "0.75"],
        ["a\r\n\x1b[31m.jpg", "2", 'd"\ne', "0.25"],
    ]
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_predict_prints_nothing_if_the_run_does_not_exist(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If the run does not exist, `predict` prints nothing to stdout, not even the CSV header."""
    assert main(["predict", "data/test/dots", "--csv", "--run", "absent"]) == 2
    assert capsys.readouterr().out == ""


def test_an_image_on_standard_input_has_the_path_dash(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image read from standard input has the path `-` and the same predictions as the file itself."""
    image = (here / "data/test/dots/dots-00.png").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(image)))
    document = _json(capsys, "predict", "-")

    assert document[0]["path"] == "-"
    assert document[0]["predictions"] == _json(capsys, "predict", "data/test/dots/dots-00.png")[0]["predictions"]


def test_a_run_and_a_network_cannot_both_predict(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`predict` takes the classes of a run or those of ImageNet, not both."""
    assert main(["predict", "a.png", "--run", "tiny", "--backbone", "EfficientNetLite0"]) == 2
    assert "[usage-options-conflict]" in capsys.readouterr().err


def test_a_plan_is_printed_without_training(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`finetune --plan` prints the trainable layers, the parameters and the features at the cut, and creates no run."""
    assert main(["finetune", "--unfreeze", "1", "--plan"]) == 0
    out = capsys.readouterr().out

    assert "block2_conv" in out
    assert "trainable parameters 314, frozen 112" in out
    assert "features at the cut: block1_pool 15×15×4" in out
    assert len(list((here / "runs").iterdir())) == 1


def test_finetune_creates_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`finetune` creates a fine-tuning run that records its parent."""
    document = _json(capsys, "finetune", "--unfreeze", "all", "--epochs", "1", "--runs-dir", "runs")
    facts = json.loads((Path(document["run"]) / "run.json").read_text())

    assert Path(facts["parent"]).parent == here / "runs"
    assert facts["mode"] == "fine-tuning"
    for path in sorted(Path(document["run"]).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Path(document["run"]).rmdir()


@pytest.mark.parametrize("source", ["tiny.yaml", "MobileNetV2"])
def test_summary_accepts_a_config_or_a_backbone(here: Path, capsys: pytest.CaptureFixture[str], source: str) -> None:
    """`summary` of a config or backbone lists layers whose parameters add up to the totals."""
    document = _json(capsys, "summary", source)

    assert document["parameters"] == sum(layer["parameters"] for layer in document["layers"])
    assert document["parameters"] == document["trainable_parameters"] + document["frozen_parameters"]


def test_summary_prints_the_arithmetic_of_each_number(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows 94 and 97: `summary --why` prints formulas, and `--wide` all columns."""
    options = ["backbone.options.filters=[10]", "backbone.options.kernel_size=5", "data.image_size=32"]

    assert main(["summary", "ConvNet", *options, "--why"]) == 0
    why = capsys.readouterr().out
    assert main(["summary", "ConvNet", *options, "--wide"]) == 0
    wide = capsys.readouterr().out.splitlines()

    assert "(5·5·3 + 1)·10 = 760" in why
    assert "(32 − 5)/1 + 1 = 28" in why
    assert wide[0].split()[:5] == ["layer", "type", "input", "kernel", "stride"]


def test_summary_names_the_classes_of_the_published_top(capsys: pytest.CaptureFixture[str]) -> None:
    """Row 1: LeNet-5 distinguishes ten digits, not the 1,000 classes of ImageNet."""
    assert main(["summary", "LeNet5"]) == 0
    assert "published top of 10 classes: 61,706 parameters" in capsys.readouterr().out


def test_summary_compares_networks_with_their_own_settings(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 83: settings belong to the network before them; the comparison has the ratios of the totals."""
    small = ["ConvNet", "data.image_size=32", "backbone.options.filters=[4]"]
    large = ["ConvNet", "data.image_size=32", "backbone.options.filters=[8]"]
    document = _json(capsys, "summary", *small, *large)

    assert [network["input_shape"] for network in document["networks"]] == [[32, 32, 3]] * 2
    assert document["ratios"]["parameters"] == [1.0, 2.0]
    assert main(["summary", *small, *large]) == 0
    assert "ratio" in capsys.readouterr().out


def test_summary_draws_networks(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Rows 182 and 183: `summary --plot` writes a PNG or SVG; another suffix is refused before anything is built."""
    assert main(["summary", "tiny.yaml", "--plot", str(tmp_path / "tiny.svg")]) == 0
    assert (tmp_path / "tiny.svg").stat().st_size > 10_000
    assert main(["summary", "tiny.yaml", "--plot", str(tmp_path / "tiny.jpg")]) == 2
    assert "[usage-suffix]" in capsys.readouterr().err
    assert main(["summary", "tiny.yaml", "--plot", str(tmp_path / "nowhere/tiny.png")]) == 2
    assert "[usage-out-folder-missing]" in capsys.readouterr().err


def test_summary_refuses_a_setting_without_a_network(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting before the first network changes nothing and is refused."""
    assert main(["summary", "data.image_size=32"]) == 2
    assert "[usage-argument-missing]" in capsys.readouterr().err


def test_three_mistakes_are_reported_at_once(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown key, a wrong type and a missing folder are reported together in three lines, and no run is created."""
    (here / "wrong.yaml").write_text("data: {path: nowhere}\ntraining: {epochs: ten}\nbackbon: {name: VGG16}\n")

    assert main(["train", "wrong.yaml", "--runs-dir", "none"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3
    assert all(line.startswith("error: wrong.yaml:") for line in err)
    assert not (here / "none").exists()


def test_every_bad_training_image_is_reported(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every unreadable image is reported before a run is created; with on_bad_image=skip, the others are used."""
    data = draw_dataset(tmp_path / "data", 4, 2, 2)
    for name in ("a.jpg", "b.jpg"):
        (data / "train" / "dots" / name).write_bytes(b"\xff\xd8\xff broken")
    arguments = ["train", "tiny.yaml", f"data.path={data}", "--runs-dir", str(tmp_path / "runs")]

    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "a.jpg" in err
    assert "b.jpg" in err
    assert not (tmp_path / "runs").exists()
    assert main([*arguments, "data.on_bad_image=skip", "training.epochs=1"]) == 0


def test_training_a_finished_run_shows_its_metrics(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train` on a finished run prints its metrics instead of training or treating it as a folder of images."""
    run = next((here / "runs").iterdir())

    assert main(["train", str(run)]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["split", "validation", "test"]
    assert f"{run.name} is finished" in err


def test_settings_cannot_be_changed_on_resuming(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Overrides are refused when a run is resumed, because it keeps the settings it was started with."""
    run = next((here / "runs").iterdir())

    assert main(["train", str(run), "seed=3"]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert "seed" in err


def test_a_missing_source_is_reported_with_the_expected_kinds(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing source is reported in one line, which mentions folders for `train`, but not for `augment`."""
    for name, expects_folder in (("train", True), ("augment", False)):
        assert main([name, "nowhere/at-all"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: nowhere/at-all: ")
        assert line.endswith(" [config-file-missing]")
        assert ("folder" in line) == expects_folder


def test_predicting_many_images_reports_progress(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When stdout is not a terminal, `predict` shows progress on stderr for many images, but not for a few."""
    few, many = ["data/test/dots/dots-00.png"], ["data/test/dots/dots-00.png"] * 100
    assert main(["predict", *few]) == 0
    assert "predicting" not in capsys.readouterr().err
    assert main(["predict", *many]) == 0
    out, err = capsys.readouterr()

    assert len(out.splitlines()) == 100
    assert "predicting: 100 images" in err
