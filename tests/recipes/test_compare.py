"""`cnncli compare`: figures and tables of several runs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from cnncli.cli import main
from cnncli.config.writer import dump_config
from cnncli.errors import CnncliError
from cnncli.evaluation.agreement import PairedTest
from cnncli.recipes.compare import compare
from cnncli.report import comparison
from cnncli.report.comparison import Published
from cnncli.report.comparison_page import describe_test
from cnncli.runs.folder import RunFolder, create_run, end_run, update_facts
from cnncli.runs.records import HistoryRow, read_history, write_history
from cnncli.runs.results import available_metrics, differing_settings, load_runs, why_not_comparable
from tests.support.drawing import tiny_config
from tests.support.figures import capture_figures


def make_run(runs: Path, name: str, test: float, n_epochs: int = 3, **changes: Any) -> RunFolder:
    """Write a finished run whose training accuracy is 0.5, 0.6, …, 0.1 above that of validation."""
    config = tiny_config(runs, name=name, **changes)
    run = create_run(runs, name, {"config.yaml": dump_config(config)})
    accuracies = [0.5 + 0.1 * number for number in range(n_epochs)]
    rows = [
        HistoryRow(
            "scratch",
            number,
            1e-3,
            {"loss": 1 - value, "accuracy": value, "val_loss": 1.1 - value, "val_accuracy": value - 0.1},
            seconds=2.0,
            images_per_s=50.0,
        )
        for number, value in enumerate(accuracies, start=1)
    ]
    write_history(run.history, rows)
    metrics = {
        "validation": {"n": 100, "loss": 1.1 - accuracies[-1], "top1": accuracies[-1] - 0.1, "top1_ci95": [0.4, 0.7]},
        "test": {"n": 100, "loss": 0.5, "top1": test, "top1_ci95": [test - 0.1, test + 0.1]},
    }
    end_run(run, "finished", {"metrics": metrics, "best_epoch": n_epochs, "seconds": 6.0})
    return run


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Capture the drawn figures instead of writing PNGs."""
    return capture_figures(comparison, monkeypatch)


def legend(figure: Figure) -> list[str]:
    """Return the texts of a figure's legend."""
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_curves_of_several_runs_are_in_one_figure(figures: list[Figure], tmp_path: Path) -> None:
    """Rows 198 and 136: training and validation of each run, its test result, and a published value as a line."""
    runs = [make_run(tmp_path, "plain", 0.7), make_run(tmp_path, "residual", 0.8, n_epochs=4)]
    compare(runs, tmp_path / "both.png", published=[Published(0.9, "Book")])
    lines = {line.get_label(): line for line in figures[0].axes[0].lines}
    drawn = [list(line.get_ydata()) for line in figures[0].axes[0].lines]

    assert legend(figures[0]) == ["plain", "residual", "training", "validation", "test, at the end"]
    assert list(lines["residual"].get_xdata()) == [1, 2, 3, 4]
    assert list(lines["residual"].get_ydata()) == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert [0.5, 0.6, 0.7] in [[round(float(value), 9) for value in line] for line in drawn]
    assert [0.8] in drawn
    assert [0.9, 0.9] in drawn
    assert [text.get_text() for text in figures[0].axes[0].texts] == ["Book: 90.0 %"]


@pytest.mark.parametrize(
    ("x", "expected"),
    [("epoch", [1, 2, 3]), ("seconds", [2, 4, 6]), ("images", [100, 200, 300]), ("steps", [4, 8, 12])],
)
def test_curves_are_drawn_over_several_quantities(
    x: str, expected: list[float], figures: list[Figure], tmp_path: Path
) -> None:
    """Row 199: the axis counts epochs, seconds, images or training steps, here of 100 images in batches of 32."""
    compare([make_run(tmp_path, "a", 0.7), make_run(tmp_path, "b", 0.7)], tmp_path / "a.png", x=x)

    assert [list(line.get_xdata()) for line in figures[0].axes[0].lines if line.get_label() == "a"] == [expected]


def test_final_values_are_drawn_over_a_setting(figures: list[Figure], tmp_path: Path) -> None:
    """Rows 197 and 201: a line per combination of other settings; seeds become their mean and extremes."""
    runs = [
        make_run(tmp_path, f"{pooling}-{size}-{seed}", value + 0.02 * seed, **settings)
        for pooling in ("avg", "max")
        for size, value in ((64, 0.8), (32, 0.6))
        for seed in (0, 1)
        for settings in [{"seed": seed, "head": {"pooling": pooling}, "data": {"path": tmp_path, "image_size": size}}]
    ]
    compare(runs, tmp_path / "sizes.png", "test_accuracy", "data.image_size")
    containers = figures[0].axes[0].containers

    assert legend(figures[0]) == ["pooling avg", "pooling max"]
    for line in containers:
        assert list(line[0].get_xdata()) == pytest.approx([32, 64], abs=0.5)
        assert list(line[0].get_ydata()) == pytest.approx([0.61, 0.81])
        (segments,) = line[2]
        assert [sorted(segment[:, 1]) for segment in segments.get_segments()] == [
            pytest.approx([0.6, 0.62]),
            pytest.approx([0.8, 0.82]),
        ]


def test_error_bars_of_several_lines_are_beside_each_other(figures: list[Figure], tmp_path: Path) -> None:
    """Lines with equal positions do not cover each other's intervals, and only these positions have ticks."""
    runs = [
        make_run(
            tmp_path, f"{pooling}-{size}", 0.7, head={"pooling": pooling}, data={"path": tmp_path, "image_size": size}
        )
        for pooling in ("avg", "max", "flatten")
        for size in (32, 64)
    ]
    compare(runs, tmp_path / "sizes.png", "test_accuracy", "data.image_size")
    axes = figures[0].axes[0]

    assert len({float(line[0].get_xdata()[0]) for line in axes.containers}) == 3
    assert list(axes.get_xticks()) == [32, 64]


def test_runs_without_epochs_are_drawn_with_their_intervals(figures: list[Figure], tmp_path: Path) -> None:
    """Heads that were solved exactly have no curves; validation and test are in a row for each run."""
    runs = [make_run(tmp_path, "a", 0.7, n_epochs=1), make_run(tmp_path, "b", 0.8, n_epochs=1)]
    compare(runs, tmp_path / "both.png", published=[Published(0.9, "Book")])
    axes = figures[0].axes[0]
    test = next(line for line in axes.containers if line.get_label() == "test")

    assert legend(figures[0]) == ["Book", "validation", "test"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert list(test[0].get_xdata()) == [0.7, 0.8]
    assert [list(segment[:, 0]) for segment in test[2][0].get_segments()] == [
        pytest.approx([0.6, 0.8]),
        pytest.approx([0.7, 0.9]),
    ]


def test_accuracies_are_drawn_over_those_of_imagenet(figures: list[Figure], tmp_path: Path) -> None:
    """Row 166: the networks form one line over their ImageNet accuracy, with the 95 % interval of each."""
    runs = [
        make_run(tmp_path, name, test, backbone={"name": name}, data={"path": tmp_path})
        for name, test in (("VGG16", 0.9), ("Xception", 0.95))
    ]
    compare(runs, tmp_path / "networks.png", "test_accuracy", "imagenet")
    (line,) = figures[0].axes[0].containers

    assert list(line[0].get_xdata()) == [0.713, 0.79]
    assert list(line[0].get_ydata()) == [0.9, 0.95]


def test_names_are_positions_in_the_order_of_the_runs(figures: list[Figure], tmp_path: Path) -> None:
    """If the quantity is a name, runs are drawn in the given order, at positions with their names."""
    runs = [make_run(tmp_path, one, 0.7, head={"pooling": one}) for one in ("max", "avg", "flatten")]
    compare(runs, tmp_path / "a.png", x="head.pooling")

    assert [text.get_text() for text in figures[0].axes[0].get_xticklabels()] == ["max", "avg", "flatten"]


def test_copies_of_a_run_have_different_names(tmp_path: Path) -> None:
    """Runs of the same name in folders of the same name are told apart by what their paths end with."""
    (tmp_path / "old").mkdir()
    run = make_run(tmp_path / "old", "a", 0.7)
    copy = RunFolder(Path(shutil.copytree(run.path, tmp_path / "new" / run.path.name)))

    assert [one.name for one in load_runs([run, copy])] == [f"old/{run.path.name}", f"new/{run.path.name}"]
    assert len({one.name for one in load_runs([run, run])}) == 2


def test_settings_inside_lists_are_compared_one_by_one(figures: list[Figure], tmp_path: Path) -> None:
    """Row 67: runs that differ in one layer of the head, or in one block, differ in that setting only."""
    runs = [
        make_run(tmp_path, f"d{rate}", 0.7, head={"layers": [{"dropout": rate}, {"dense": 8}]}) for rate in (0.25, 0.5)
    ]
    found = compare(runs, tmp_path / "a.png", x="head.layers.0.dropout")

    assert found.settings == {"head.layers.0.dropout": (0.25, 0.5)}
    assert list(figures[0].axes[0].containers[0][0].get_xdata()) == [0.25, 0.5]


def test_settings_without_effect_are_not_compared(tmp_path: Path) -> None:
    """A head that is solved has no early stopping, defaults are left out, and the image size is the one used."""
    frozen = {"mode": "feature-extraction", "backbone": {"name": "VGG16"}}
    runs = [
        make_run(tmp_path, "solved", 0.7, **frozen, data={"path": tmp_path}, training={"solver": "exact"}),
        make_run(
            *(tmp_path, "trained", 0.7),
            **frozen,
            data={"path": tmp_path, "image_size": 96},
            training={"solver": "gradient", "early_stopping": None, "epochs": 3},
        ),
    ]

    assert compare(runs, None).settings == {"data.image_size": (224, 96), "training.solver": ("exact", "gradient")}


def test_an_unknown_quantity_is_refused(tmp_path: Path) -> None:
    """A setting that the runs do not have is refused with the names of the runs, and nothing is drawn."""
    runs = [make_run(tmp_path, "a", 0.7), make_run(tmp_path, "b", 0.7)]

    for x in ("training.depth", "imagenet"):
        with pytest.raises(CnncliError) as caught:
            compare(runs, tmp_path / "a.png", x=x)
        assert caught.value.code == "usage-compare-x-unknown"
        assert caught.value.facts["received"] == x
    assert not (tmp_path / "a.png").exists()


def test_a_comparison_is_a_png(tmp_path: Path) -> None:
    """The figures are PNG files, also for a run that has no epochs yet."""
    runs = [make_run(tmp_path, "a", 0.7), make_run(tmp_path, "b", 0.7, training={"batch_size": 16})]
    runs.append(create_run(tmp_path, "c", {"config.yaml": dump_config(tiny_config(tmp_path))}))
    for x in ("epoch", "training.batch_size"):
        compare(runs, tmp_path / f"{x}.png", x=x)
        with Image.open(tmp_path / f"{x}.png") as image:
            assert image.format == "PNG"


def test_the_table_has_results_and_differing_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the final metrics of each run, published values, and settings that are not equal."""
    make_run(tmp_path, "a", 0.7)
    make_run(tmp_path, "b", 0.8, training={"epochs": 3, "optimizer": {"name": "sgd"}})
    words = ["compare", "a", "b", "--metric", "test_accuracy", "--published", "0.985=Chollet 2021"]

    assert main([*words, "--runs-dir", str(tmp_path)]) == 0
    results, settings = capsys.readouterr().out.split("\n\n")
    header, *rows, published = [re.split(r"\s{2,}", line.strip()) for line in results.splitlines()]
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(one["run"], one["val_accuracy"], one["test_accuracy"]) for one in cells] == [
        ("a", "60.0 %", "70.0 %"),
        ("b", "60.0 %", "80.0 %"),
    ]
    assert ("Chollet 2021" in published[0], published[-1]) == (True, "98.5 %")
    assert [line.split() for line in settings.splitlines()[1:]] == [["a", "adam"], ["b", "sgd"]]


def test_the_precision_that_was_used_takes_the_place_of_int8(tmp_path: Path) -> None:
    """A run whose layers could not be quantized does not differ by int8 from others."""
    runs = [make_run(tmp_path, name, 0.7, precision="int8") for name in ("a", "b")]
    for run, used in zip(runs, ("float32", "int8"), strict=True):
        update_facts(run, {"precision": used})

    assert differing_settings(load_runs(runs)) == {"precision": ("float32", "int8")}


def test_a_solved_head_has_no_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The cell of the epoch is a dash for a head that was solved exactly, whose only row has no learning rate."""
    runs = [make_run(tmp_path, name, 0.7, n_epochs=1) for name in ("a", "b")]
    write_history(runs[0].history, [replace(row, learning_rate=None) for row in read_history(runs[0].history)])

    assert main(["compare", "a", "b", "--runs-dir", str(tmp_path)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1 : row.index("50.0")] for row in rows[1:3]] == [["–"], ["1", "of", "1"]]


@pytest.mark.parametrize("counts", [(0, 0), (1, 2), (2, 1)])
def test_runs_that_do_not_differ_keep_their_order(counts: tuple[int, int]) -> None:
    """The sentence on two runs names them in the order in which they were given, whichever is more accurate."""
    text = describe_test(PairedTest("pets", "flipped", 200, *counts, p=1.0, p_holm=1.0))

    assert text.index("pets") < text.index("flipped")


def test_the_document_has_histories_and_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints one document with the history, final metrics and differing settings of each run."""
    make_run(tmp_path, "a", 0.7)
    make_run(tmp_path, "b", 0.8, seed=1)
    (tmp_path / "out").mkdir()

    figure = tmp_path / "out" / "c.png"
    assert main(["compare", "a", "b", "--json", "--out", str(figure), "--runs-dir", str(tmp_path)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["settings"] for run in document["runs"]] == [{"seed": 0}, {"seed": 1}]
    assert document["runs"][1]["metrics"]["test"]["top1"] == 0.8
    assert [row["val_accuracy"] for row in document["runs"][0]["history"]] == pytest.approx([0.4, 0.5, 0.6])
    assert Path(document["figure"]) == figure
    assert figure.is_file()


def test_every_metric_of_the_runs_can_be_compared(figures: list[Figure], tmp_path: Path) -> None:
    """Metrics of Keras, top-5 accuracy and averages over labels are compared like the loss and the accuracy."""
    runs = [make_run(tmp_path, name, 0.7) for name in ("a", "b")]
    for place, run in enumerate(runs):
        rows = read_history(run.history)
        write_history(run.history, [replace(row, metrics={**row.metrics, "val_auc": 0.8 + place / 10}) for row in rows])
        facts = json.loads(run.facts.read_text())
        facts["metrics"]["validation"] |= {"auc": 0.8 + place / 10, "macro_f1": 0.6 + place / 10}
        run.facts.write_text(json.dumps(facts))
        run.metrics.write_text(json.dumps({"test": {"top5": 0.9 + place / 100}}))
    for metric in ("val_auc", "val_macro_f1", "test_top5"):
        compare(runs, tmp_path / "a.png", metric, "seed")
    compare(runs, tmp_path / "a.png", "val_auc")
    finals = [list(figure.axes[0].containers[0][0].get_ydata()) for figure in figures[:3]]
    curves = {str(line.get_label()): list(line.get_ydata()) for line in figures[3].axes[0].lines}

    assert finals == [[pytest.approx(0.85)], [pytest.approx(0.65)], [pytest.approx(0.905)]]
    assert curves["b"] == pytest.approx([0.9, 0.9, 0.9])
    assert figures[0].axes[0].get_ylabel() == "auc, validation"


def test_an_unknown_metric_is_refused_with_those_of_the_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A metric that no run has ends with exit code 2 and the names of those that they have."""
    make_run(tmp_path, "a", 0.7)

    assert main(["compare", "a", "--metric", "val_f1", "--runs-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "[usage-metric-unknown]" in error
    for name in ("val_accuracy", "val_loss", "test_accuracy", "test_loss", "accuracy", "loss"):
        assert f" {name}" in error


def test_without_validation_images_training_is_compared(tmp_path: Path) -> None:
    """The default metric is the training accuracy if no run has validation images. Row 127."""
    run = make_run(tmp_path, "a", 0.7)
    rows = read_history(run.history)
    write_history(run.history, [replace(row, metrics=row.training) for row in rows])

    assert compare([run], None).metric == "accuracy"
    assert compare([run, make_run(tmp_path, "b", 0.7)], None).metric == "val_accuracy"
    assert compare([create_run(tmp_path, "c", {"config.yaml": run.config.read_text()})], None).metric == "val_accuracy"


def test_a_published_value_is_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    """--published without a number is refused."""
    assert main(["compare", "a", "--published", "Chollet"]) == 2
    assert "[usage-value-invalid]" in capsys.readouterr().err


def add_evaluation(run: RunFolder, n: int, classes: str, **metrics: float) -> RunFolder:
    """Give a run more results for n test images of classes with names of one letter."""
    facts = json.loads(run.facts.read_text())
    facts["metrics"]["test"] |= {"n": n, **metrics}
    run.facts.write_text(json.dumps(facts))
    return name_classes(run, classes)


def name_classes(run: RunFolder, classes: str) -> RunFolder:
    """Give a run classes with names of one letter, as a run has from its start."""
    run.classes.write_text(json.dumps(list(classes)))
    return run


def test_the_numbers_of_images_and_classes_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The accuracy of a run with another class is that of other images: text, JSON and page have both numbers."""
    add_evaluation(make_run(tmp_path, "parent", 0.7), 100, "ab")
    add_evaluation(make_run(tmp_path, "updated", 0.8), 1_120, "abc")
    page, words = tmp_path / "both.html", ["compare", "parent", "updated", "--runs-dir", str(tmp_path)]

    assert main(words) == 0
    rows = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()[:3]]
    assert [row[2] for row in rows] == ["classes", "2", "3"]
    assert [row[6] for row in rows] == ["images", "100", "100"]
    assert [row[9] for row in rows] == ["images", "100", "1,120"]
    assert main([*words, "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)["runs"]
    assert [(one["n_classes"], one["metrics"]["test"]["n"]) for one in documents] == [(2, 100), (3, 1_120)]
    assert main([*words, "--html", str(page)]) == 0
    assert re.findall(r"<td[^>]*>(2|3|100|1,120)</td>", page.read_text()) == ["2", "100", "100", "3", "100", "1,120"]


def test_classes_are_shown_only_if_their_numbers_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs of the same classes have no column of them."""
    for name in ("a", "b"):
        add_evaluation(make_run(tmp_path, name, 0.7), 100, "ab")

    assert main(["compare", "a", "b", "--runs-dir", str(tmp_path)]) == 0
    assert "classes" not in capsys.readouterr().out


def test_metrics_of_different_definitions_are_not_compared(tmp_path: Path) -> None:
    """The Brier score of two classes is half the sum over both; with three classes it is the sum."""
    scores = {"brier_score": 0.02, "log_loss": 0.1}
    two, other_two = (add_evaluation(make_run(tmp_path, name, 0.7), 100, "ab", **scores) for name in ("two", "other"))
    three = add_evaluation(make_run(tmp_path, "three", 0.8), 120, "abc", **scores)

    with pytest.raises(CnncliError) as caught:
        compare([two, three], None, "test_brier_score")
    assert caught.value.code == "usage-metric-not-comparable"
    assert compare([two, three], None, "test_log_loss").metric == "test_log_loss"
    assert compare([two, other_two], None, "test_brier_score").metric == "test_brier_score"
    assert "test_brier_score" not in available_metrics(load_runs([two, three]))
    assert "test_brier_score" in available_metrics(load_runs([two, other_two]))


def test_different_losses_are_not_compared(tmp_path: Path) -> None:
    """A hinge loss and a cross-entropy have no common scale; smoothing is not part of the reported loss."""
    plain = make_run(tmp_path, "plain", 0.7)
    smooth = make_run(tmp_path, "smooth", 0.7, training={"label_smoothing": 0.1, "epochs": 3})
    hinge = make_run(tmp_path, "hinge", 0.7, training={"loss": "hinge", "epochs": 3})

    assert compare([plain, smooth], None, "val_loss").metric == "val_loss"
    with pytest.raises(CnncliError) as caught:
        compare([plain, hinge], None, "val_loss")
    assert caught.value.code == "usage-metric-not-comparable"
    assert compare([plain, hinge], None).metric == "val_accuracy"


SIGMOID = {"activation": "sigmoid"}
SEVERAL_LABELS = {"labels": {"separator": "_"}}
ONE_CONFIG = {
    "five sigmoids": ("abcde", {"head": SIGMOID}),
    "several labels": ("abc", {"head": SIGMOID, "data": SEVERAL_LABELS}),
    "focal, one sigmoid": ("ab", {"head": SIGMOID, "training": {"loss": "focal", "epochs": 3}}),
}


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize(("classes", "changes"), ONE_CONFIG.values(), ids=ONE_CONFIG)
def test_losses_of_a_finished_and_an_unfinished_run_of_one_config_are_compared(
    tmp_path: Path, classes: str, changes: dict[str, Any], is_known: bool
) -> None:
    """The number of classes of a running run is known from its start; without it, nothing is assumed."""
    if "data" in changes:
        changes = {**changes, "data": {"path": tmp_path, "image_size": 32, **changes["data"]}}
    done = name_classes(make_run(tmp_path, "done", 0.7, **changes), classes)
    running = create_run(tmp_path, "running", {"config.yaml": done.config.read_text()})
    write_history(running.history, read_history(done.history)[:2])
    if is_known:
        name_classes(running, classes)

    assert compare([done, running], None, "val_loss").metric == "val_loss"
    assert [run.n_classes for run in load_runs([done, running])] == [len(classes), len(classes) if is_known else None]


def is_comparable(metric: str, first: RunFolder, second: RunFolder) -> bool:
    """Return whether runs compute a metric in the same way."""
    return not why_not_comparable(metric, load_runs([first, second]))


def test_only_metrics_whose_formula_depends_on_the_number_of_outputs_are_not_compared(tmp_path: Path) -> None:
    """A run with one more class than its parent is compared by all others; one output has metrics of one class."""
    softmax, sigmoid = ({"head": {"activation": one}} for one in ("softmax", "sigmoid"))
    two, three = (name_classes(make_run(tmp_path, one, 0.7, **softmax), one) for one in ("ab", "abc"))
    one_output, three_outputs = (
        name_classes(make_run(tmp_path, f"sigmoid-{one}", 0.7, **sigmoid), one) for one in ("ab", "abc")
    )
    of_classes, of_outputs = ("val_f1_score", "val_top_k_categorical_accuracy", "val_log_loss"), ("val_auc", "recall")

    assert all(is_comparable(metric, two, three) for metric in (*of_classes, *of_outputs, "val_loss"))
    assert all(is_comparable(metric, one_output, three_outputs) for metric in of_classes)
    assert not any(is_comparable(metric, one_output, three_outputs) for metric in (*of_outputs, "val_loss"))
    assert is_comparable("val_loss", two, one_output)


def test_metrics_of_several_labels_are_not_compared_with_those_of_one(tmp_path: Path) -> None:
    """A log loss of several labels is averaged over them, and F-scores have a threshold."""
    data = {"path": tmp_path, "image_size": 32, **SEVERAL_LABELS}
    single = name_classes(make_run(tmp_path, "single", 0.7, head=SIGMOID), "abc")
    several = name_classes(make_run(tmp_path, "several", 0.7, head=SIGMOID, data=data), "abc")

    for metric in ("val_log_loss", "val_brier_score", "val_calibration_error", "val_f1_score", "val_auc"):
        assert not is_comparable(metric, single, several)
    assert is_comparable("val_accuracy", single, several)
