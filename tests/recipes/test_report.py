"""`cnncli report`: a page that a person can read, and a model card that a machine can."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import yaml
from PIL import Image

import cnncli
from cnncli.cli import main
from cnncli.dataset.manifest import Manifest
from cnncli.errors import RunError
from cnncli.images.decode import decode
from cnncli.recipes.data_review import rank_labels
from cnncli.recipes.export import COLUMNS
from cnncli.recipes.report import report, write_report
from cnncli.report.model_card import is_edited
from cnncli.report.page import STYLE, Dot, Line, dot_plot, line_chart
from cnncli.report.run_page import run_page
from cnncli.report.run_report import Parent, RunReport
from cnncli.runs.folder import RunFolder, update_facts
from cnncli.runs.listing import open_run
from cnncli.runs.records import HistoryRow
from cnncli.serving.live_report import LiveReportServer
from cnncli.terminal.console import Console
from cnncli.terminal.formatting import percent, percent_range
from scripts.check_page import SCREENS, check_page
from tests.support.drawing import draw_dataset, draw_image


class Page(HTMLParser):
    """Elements of a page: their tags with attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished run `drawn`, whose images have names with signs that mean something in HTML."""
    folder, patch = tmp_path_factory.mktemp("report"), pytest.MonkeyPatch()
    patch.setenv("CNNCLI_CACHE", str(folder / "cache"))
    draw_dataset(folder / "images")
    for number, path in enumerate(sorted((folder / "images" / "test").rglob("*.png"))):
        path.rename(path.with_name(f"<b>&{number}.png"))
    words = ["train", str(folder / "images"), "name=drawn", "data.image_size=32", "augmentation.horizontal_flip=true"]
    assert main([*words, "--runs-dir", str(folder / "runs"), "--quiet"]) == 0
    patch.undo()
    return folder / "runs"


@pytest.fixture
def run(runs: Path) -> RunFolder:
    """Return the finished run."""
    return open_run("drawn", runs)


@pytest.fixture
def page(run: RunFolder) -> Page:
    """Return the page that the training wrote."""
    return Page(run.report.read_text(encoding="utf-8"))


def test_the_page_begins_with_the_accuracy_of_the_run(run: RunFolder) -> None:
    """The verdict is the accuracy in metrics.json, with its interval and number of images."""
    metrics, page = json.loads(run.metrics.read_text())["test"], run.report.read_text(encoding="utf-8")
    verdict = re.sub(r"<[^>]*>", "", page.partition('<p class="verdict">')[2].partition("</p>")[0])
    verdict = verdict.replace("\N{NO-BREAK SPACE}", " ")

    assert verdict.startswith(f"{percent(metrics['top1'])} of {metrics['n']:,} test images")
    assert percent_range(*metrics["top1_ci95"]) in verdict


def test_the_verdict_names_the_next_steps(run: RunFolder) -> None:
    """Before the first section are the commands on labels and on more images; nothing is confused without mistakes."""
    report = RunReport.load(run)
    assert report.found is not None
    heads = []
    for confusion in (((6, 0), (0, 6)), ((6, 0), (2, 4))):
        metrics = replace(report.found.metrics, confusion_matrix=confusion)
        page = run_page(replace(report, found=replace(report.found, metrics=metrics)))
        heads.append(page.partition("<section>")[0])

    assert all(f"{run.path.name}/config.yaml" in head for head in heads)
    assert all(("data review" in head) != (run.review / "labels.csv").is_file() for head in heads)
    assert ["Most frequent confusion" in head for head in heads] == [False, True]


def test_the_page_loads_nothing(page: Page) -> None:
    """Images are part of the page, there is no script or link, and its policy forbids both."""
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")

    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in page.elements}


def test_every_image_is_described(page: Page) -> None:
    """Each image has an alternative text, and there are views of training images."""
    assert page.all("img")
    assert all(image.get("alt") for image in page.all("img"))
    assert any(str(image["alt"]).startswith("view 1 of") for image in page.all("img"))


@pytest.mark.parametrize("n_gone", [1, 2])
@pytest.mark.parametrize("has_figure", [False, True])
def test_images_that_are_gone_are_counted_once(run: RunFolder, tmp_path: Path, n_gone: int, has_figure: bool) -> None:
    """Mistakes without their files are listed below one sentence; if all are gone, the figure of the run is shown."""
    run = RunFolder(Path(shutil.copytree(run.path, tmp_path / "copy")))
    figure = run.figures / "mistakes-test.png"
    figure.unlink(missing_ok=True)
    if has_figure:
        shutil.copy(run.figures / "confusion-test.png", figure)
    report = RunReport.load(run)
    assert report.found is not None
    first, second, *_ = report.found.images
    wrong = [replace(one, predictions=("other",), confidence=0.9) for one in (first, second)]
    wrong[:n_gone] = [replace(one, path=f"/gone/{number}.png") for number, one in enumerate(wrong[:n_gone])]
    text = run_page(replace(report, found=replace(report.found, images=tuple(wrong))))
    section = text.partition("<h2>Mistakes</h2>")[2].partition("</section>")[0]

    assert section.count("<code>/gone/0.png</code>") == 1
    assert section.count("<li>") == n_gone
    assert section.count("<img") == (2 - n_gone if n_gone == 1 else has_figure)
    assert ('class="wide"' in section) == (n_gone == 2 and has_figure)


def test_the_text_has_enough_contrast() -> None:
    """Text and lines have the contrast that WCAG 2.2 AA asks for, on the page and on cards, light and dark."""
    for mode in re.findall(r":root{[^}]*}", STYLE):
        colors = {name: _luminance(value) for name, value in re.findall(r"--(\w+):#(\w+)", mode)}
        for paper in ("paper", "card"):
            ratios = {name: _contrast(light, colors[paper]) for name, light in colors.items()}
            assert min(ratios[name] for name in ("ink", "soft", "good", "bad")) >= 4.5
            assert min(ratio for name, ratio in ratios.items() if re.fullmatch(r"c\d", name)) >= 3


def _luminance(color: str) -> float:
    """Return the relative luminance (0-1) of a color in hexadecimal, as WCAG 2.2 defines it."""
    digits = color if len(color) == 6 else "".join(2 * digit for digit in color)
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_a_browser_shows_the_whole_report(run: RunFolder, tmp_path: Path, width: int, scheme: str) -> None:
    """On a phone and a large screen every image is loaded, nothing is too wide, and nothing comes from elsewhere."""
    text = run.report.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(
        text.replace("</main>", '<img alt="none" src="none.png"><hr style="width:3000px"></main>'), encoding="utf-8"
    )

    assert check_page(run.report, width, scheme) == []
    assert len(check_page(broken, width, scheme)) >= 2


def test_numbers_stay_with_their_unit_and_commands_are_code(run: RunFolder, page: Page) -> None:
    """No line can end between a number and its %, and what is between backticks is a `code` element."""
    text = run.report.read_text(encoding="utf-8")

    assert "\N{NO-BREAK SPACE}%" in text
    assert not re.search(r"\d %", text)
    assert "`" not in text
    assert not page.all("details")  # whose text a printed page would lack


def test_an_axis_of_fractions_ends_at_100_percent() -> None:
    """Accuracies of 100 % are at the top of their axis, and intervals do not extend it."""
    line = line_chart("accuracy", "epoch", [Line("one", 0, [1, 2], [1.0, 1.0])], is_fraction=True)
    dots = dot_plot([("run", [Dot(1.0, 0.981, 1.0, "")])], [("accuracy", False)])

    for chart in (line, dots):
        ticks = [float(one) for one in re.findall(r">([\d.]+)\N{NO-BREAK SPACE}%</span>", chart)]
        assert (min(ticks) >= 0, max(ticks)) == (True, 100)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_confidences_are_shown_on_full_axes(run: RunFolder, temperature: float) -> None:
    """The reliability of two classes is drawn from 50 to 100 % with an interval at each dot, and every image counts.

    Confidences and probabilities are drawn apart only if a temperature changes them.
    """
    loaded = RunReport.load(run)
    assert loaded.found is not None
    assert loaded.found.calibrated is not None
    found = replace(loaded, found=replace(loaded.found, temperature=temperature))
    assert found.found is not None
    text = run_page(found).partition("<h2>Can its confidence be trusted?</h2>")[2].partition("</section>")[0]
    shown = [found.found.metrics.reliability, *([loaded.found.calibrated.bins] if temperature != 1 else [])]
    bins = [one for bins in shown for one in bins if one.n]
    chart, histogram = re.findall(r'<div class="plot.*?</div>', text)
    ends = [float(one) for one in re.findall(r'tick x"[^>]*>([\d.]+)\N{NO-BREAK SPACE}%', chart)]

    assert (min(ends), max(ends)) == (50, 100)
    assert chart.count('<span class="dot"') == len(re.findall(r'd="M[\d.]+ [\d.]+V', chart)) == len(bins)
    assert sum(int(n) for n in re.findall(r'title="[^"]*: (\d+)"', histogram)) == found.found.metrics.n


@pytest.mark.parametrize(("n_high", "n_low", "n_stated"), [(40, 3, 1), (3, 40, 1), (40, 40, 2), (0, 1, 0)])
def test_few_predictions_are_not_judged(run: RunFolder, n_high: int, n_low: int, n_stated: int) -> None:
    """The accuracy of predictions of high and of lower confidence is stated only where there are enough of them."""
    found = RunReport.load(run)
    assert found.found is not None
    high, low = (replace(found.found.images[0], confidence=value) for value in (0.95, 0.8))
    text = run_page(replace(found, found=replace(found.found, images=(high,) * n_high + (low,) * n_low)))

    assert len(re.findall(r"Of [\d,]+ predictions with", text)) == n_stated
    assert text.count("too few to judge") == 2 - n_stated


def test_stages_are_separated_in_the_curves(run: RunFolder) -> None:
    """A line with the name of the stage is between the last epoch of a stage and the first of the next."""
    rows = [
        HistoryRow(stage, epoch, 1e-3, {"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 1.0, "val_accuracy": 0.5}, 1, 1)
        for epoch, stage in enumerate(("head", "head", "fine-tune"), start=1)
    ]
    text = run_page(replace(RunReport.load(run), history=rows, stages=()))

    assert text.count('<path class="mark" d="M75.00 0V100"/>') == 2  # loss and accuracy
    assert '<path class="mark"' not in run_page(replace(RunReport.load(run), history=rows[:2], stages=()))


def test_an_exact_head_was_not_chosen_by_validation_images(run: RunFolder) -> None:
    """Only a run with epochs says that validation images chose one."""
    rows = [HistoryRow("head", epoch, 1e-3, {"loss": 1.0, "accuracy": 0.5}, 1, 1) for epoch in (1, 2)]
    found = RunReport.load(run)

    assert "the best epoch was chosen" not in run_page(found)
    assert "the best epoch was chosen" in run_page(replace(found, history=rows, stages=()))


def test_a_parent_with_other_images_is_not_subtracted(run: RunFolder) -> None:
    """The difference to the parent is given only if both were evaluated on as many images of the same classes."""
    found = RunReport.load(run)
    assert found.found is not None
    metrics = found.found.metrics
    pages = [
        run_page(replace(found, parent=Parent("before", {"test": one})))
        for one in (metrics, replace(metrics, n=metrics.n + 1), replace(metrics, classes=("a", "b")))
    ]

    assert ["points against the parent run" in page for page in pages] == [True, False, False]


@pytest.mark.parametrize("text", ['{"test": ', '{"test": {"n": 3}}', "[1]"])
def test_damaged_metrics_of_a_parent_do_not_fail_the_report_of_its_child(
    text: str, run: RunFolder, tmp_path: Path
) -> None:
    """The child is reported without its parent, whose own report says which file is damaged."""
    copies = [RunFolder(Path(shutil.copytree(run.path, tmp_path / name))) for name in ("parent", "child")]
    copies[0].metrics.write_text(text)
    update_facts(copies[1], {"parent": str(copies[0].path)})
    with pytest.raises(RunError) as caught:
        RunReport.load(copies[0])

    assert RunReport.load(copies[1]).parent is None
    assert caught.value.facts["path"] == copies[0].metrics


def test_a_run_that_kept_its_parents_weights_says_so(run: RunFolder) -> None:
    """Where no epoch was better, a difference to the parent would be one of precision."""
    found = RunReport.load(run)
    assert found.found is not None
    parent = Parent("before", {"test": found.found.metrics})
    pages = [
        run_page(replace(found, parent=parent, stages=({**found.stages[0], "best_epoch": best},))) for best in (0, 1)
    ]

    assert ["its weights were kept" in page for page in pages] == [True, False]
    assert ["points against the parent run" in page for page in pages] == [False, True]


def test_an_explained_mistake_is_shown_with_and_without_the_map(run: RunFolder) -> None:
    """Beside where the network looked, the image itself remains visible."""
    found = RunReport.load(run)
    assert found.found is not None
    wrong = replace(found.found.images[0], predictions=("other",))
    found = replace(found, found=replace(found.found, images=(wrong,)))
    pages = [
        Page(run_page(replace(found, explanations=maps)))
        for maps in ({}, {Path(wrong.path): np.zeros((8, 8, 3), np.uint8)})
    ]

    assert [sum(one["alt"] == Path(wrong.path).name for one in page.all("img")) for page in pages] == [1, 2]


def test_names_of_files_are_texts(page: Page) -> None:
    """A name that looks like HTML does not become an element: `b` only emphasizes what the page says."""
    assert all("&" not in tag for tag, _ in page.elements)
    assert all(not attributes for attributes in page.all("b"))


def test_the_report_gains_suspicious_labels(run: RunFolder) -> None:
    """`report` ranks the labels, writes neither quality nor a sheet, and the page has one more section."""
    before = run.report.read_text(encoding="utf-8")
    written = report(run, Console(quiet=True))

    assert (written.page, "<h2>Suspicious labels</h2>" in before) == (run.report, False)
    assert "<h2>Suspicious labels</h2>" in run.report.read_text(encoding="utf-8")
    assert [path.name for path in run.review.iterdir()] == ["labels.csv"]


def test_labels_are_ranked_without_decoding_images(
    runs: Path, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For `report`, labels are ranked by cached features only, even suspicious ones."""

    def refuse(path: Path, *_: object) -> None:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setenv("CNNCLI_CACHE", str(runs.parent / "cache"))
    shutil.copytree(run.path, tmp_path / "copy", ignore=shutil.ignore_patterns("review"))
    manifest = tmp_path / "copy" / "manifest.csv"
    lines, (one, other) = manifest.read_text(encoding="utf-8").splitlines(), Manifest.from_csv(manifest).classes
    wrong = next(n for n, line in enumerate(lines) if f'"{one}","train"' in line)
    lines[wrong] = lines[wrong].replace(f'"{one}"', f'"{other}"')
    manifest.write_text("\n".join([*lines, ""]), encoding="utf-8")
    for name, module in [*sys.modules.items()]:
        if name.startswith("cnncli.") and getattr(module, "decode", None) is decode:
            monkeypatch.setattr(module, "decode", refuse)
    found = rank_labels(RunFolder(tmp_path / "copy"), Console(quiet=True))

    assert found.suspects


@pytest.fixture
def copy(run: RunFolder, tmp_path: Path) -> RunFolder:
    """Return a copy of the run whose labels have not been reviewed."""
    shutil.copytree(run.path, tmp_path / "copy", ignore=shutil.ignore_patterns("review"))
    return open_run("copy", tmp_path)


def test_a_review_of_another_split_does_not_replace_that_of_training(copy: RunFolder) -> None:
    """After a review of test images, the page names their split, and `report` reviews the training images as well."""
    assert main(["data", "review", str(copy.path), "--split", "test", "--quiet"]) == 0
    before = run_page(RunReport.load(copy))
    report(copy, Console(quiet=True), explain=False)
    after = RunReport.load(copy)

    assert re.search(r"Suspicious labels: \d+ of 12 test images", before)
    assert Counter(one.split for one in after.reviewed_labels) == {"train": 24, "validation": 12, "test": 12}
    assert re.search(r"Suspicious labels: \d+ of 48 train, validation and test images", run_page(after))


def test_an_empty_folder_is_no_review(copy: RunFolder) -> None:
    """A review whose tables could not be written is made up for by the next report."""
    copy.review.mkdir()
    report(copy, Console(quiet=True), explain=False)

    assert "<h2>Suspicious labels</h2>" in copy.report.read_text(encoding="utf-8")


def test_doubtful_labels_are_counted_and_not_condemned(run: RunFolder) -> None:
    """The page states how many labels are doubtful, flagged and shown; flags count as they were or are written."""
    before = run.review / "labels.csv" if run.review.is_dir() else None
    text = before.read_text(encoding="utf-8") if before else ""
    run.review.mkdir(exist_ok=True)
    path = next(row.path for row in RunReport.load(run).manifest.rows)
    lines = [f'"{path}","a","b",0.9,"{flag}","train"' for flag in ("true", "True", *["false"] * 12)]
    (run.review / "labels.csv").write_text("\n".join(["path,label,suggested,score,flagged,split", *lines]))
    shown = run_page(RunReport.load(run)).partition("<h2>Suspicious labels</h2>")[2].partition("</section>")[0]
    if before:
        before.write_text(text, encoding="utf-8")
    else:
        shutil.rmtree(run.review)

    assert (shown.count("<figure>"), "The 12 most suspicious are shown" in shown) == (12, True)
    assert re.search(r"14 of 14 .* flags 2 of them", shown)
    assert "certain" not in shown


def test_exported_files_are_listed(run: RunFolder) -> None:
    """The page has a row for each export, also for one that its runtime could not run."""
    assert "<h2>Exported files</h2>" not in run_page(RunReport.load(run))
    lines = [
        "onnx,float32,exports/onnx-float32/model.onnx,1200,0.985,0.985,2e-06,2e-06,4400000,8.914,True",
        "litert,int8,exports/litert-int8.failed/model.tflite,1200,nan,0.985,nan,nan,900,nan,False",
    ]
    run.export_table.write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    page = run_page(RunReport.load(run))
    run.export_table.unlink()

    shown = page.partition("<h2>Exported files</h2>")[2].partition("</section>")[0]
    percent = "{}\N{NO-BREAK SPACE}%".format
    cells = [re.findall("<t[dh][^>]*>([^<]*)<", row) for row in shown.split("<tr>")[2:]]
    assert cells == [
        ["onnx", "float32", "1,200", percent("98.5"), percent("97.6–99.0"), "2e-06", "4.4 MB", "8.91", "probabilities"],
        ["litert", "int8", "1,200", "–", "–", "–", "900 B", "–", "no"],
    ]


LABELS = "path,label,suggested,score,flagged,split\n"
EXPORTS = ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("review/labels.csv", LABELS + "a.png,a,b,high,true,train"),
        ("review/labels.csv", LABELS + "a.png,a,b,0.9"),
        ("review/labels.csv", LABELS + '"a.png'),
        ("review/labels.csv", "path,label\na.png,a"),
        ("exports.csv", EXPORTS + "onnx,float32,model.onnx,many,1,1,0,0,9,1,True"),
        ("exports.csv", EXPORTS + "onnx,float32,model.onnx,9,1,1,none,0,9,1,True"),
        ("exports.csv", "format\nonnx"),
    ],
)
def test_a_damaged_table_is_reported(run: RunFolder, tmp_path: Path, name: str, text: str) -> None:
    """A table of a copied run with other columns or without numbers is reported as damaged."""
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    (copy / "review").mkdir(exist_ok=True)
    (copy / name).write_text(text, encoding="utf-8")
    with pytest.raises(RunError) as error:
        run_page(RunReport.load(open_run("copy", tmp_path)))

    assert [(one.code, one.facts["path"]) for one in error.value.problems] == [("run-file-damaged", copy / name)]


def test_commands_quote_the_name_of_the_run(run: RunFolder, tmp_path: Path) -> None:
    """A name with a space is one argument of the suggested command."""
    shutil.copytree(run.path, tmp_path / "my run", ignore=shutil.ignore_patterns("review"))
    page = run_page(RunReport.load(open_run("my run", tmp_path)))
    (command,) = set(re.findall("<code>(cnncli data review .*?)</code>", page))

    assert shlex.split(unescape(command)) == ["cnncli", "data", "review", "my run"]


def test_the_model_card_has_the_results(run: RunFolder) -> None:
    """The metadata is YAML between two lines, and its accuracy is that of metrics.json."""
    _, header, text = run.model_card.read_text(encoding="utf-8").split("---\n", 2)
    metadata = yaml.safe_load(header)
    (result,) = metadata["model-index"][0]["results"]
    values = {one["type"]: one["value"] for one in result["metrics"]}
    metrics = json.loads(run.metrics.read_text())["test"]

    assert metadata["pipeline_tag"] == "image-classification"
    assert result["dataset"]["split"] == "test"
    assert values["accuracy"] == pytest.approx(metrics["top1"], abs=1e-6)
    assert text.strip().startswith("# drawn")


def _probabilities_of_example(run: RunFolder, image: Path, patch: pytest.MonkeyPatch) -> dict[str, float]:
    """Run the example of the model card in the folder of the run, with the path of an image."""
    (example,) = re.findall("```python\n(.*?)```", run.model_card.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    patch.chdir(run.path)
    exec(re.sub(r'"image\.\w+"', repr(str(image)), example), names)
    if "prediction" in names:
        return dict(zip(names["prediction"].labels, names["prediction"].probabilities, strict=True))
    return dict(zip(names["classes"], map(float, names["probabilities"]), strict=True))


def _predicted(run: RunFolder, image: Path) -> dict[str, float]:
    (found,) = cnncli.predict(image, run=run.path, top=9)
    return dict(zip(found.labels, found.probabilities, strict=True))


def test_the_example_of_the_model_card_gives_the_predicted_probabilities(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code runs unchanged except for the name of the image."""
    image = Path(Manifest.from_csv(run.manifest).split("test")[0].file)

    assert _probabilities_of_example(run, image, monkeypatch) == pytest.approx(_predicted(run, image), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["data.color=grayscale", "data.fit=crop", "data.image_size=[32,48]"],
        ["data.color=rgba", "data.fit=pad", "data.image_size=[32,48]", "head.activation=sigmoid"],
        ["data.color=bands", "data.bands=3"],
        ["training.loss=hinge", "head.activation=linear"],
        ["data.labels.separator=_", "head.activation=sigmoid"],
    ],
)
def test_the_example_fits_the_colors_and_the_scores_of_the_run(
    settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo that is rotated, scaled while it is decoded and fitted has the probabilities of `predict`."""
    draw_dataset(tmp_path / "images", classes=("stripes_red", "dots"))
    words = ["mode=from-scratch", "backbone.name=ConvNet", "backbone.options.filters=[4,8]", "data.image_size=32"]
    words += ["training.epochs=1", "precision=float32", "name=one", *settings, "--runs-dir", str(tmp_path / "runs")]
    assert main(["train", str(tmp_path / "images"), *words, "--quiet"]) == 0
    run, image = open_run("one", tmp_path / "runs"), tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6 if settings[-1] != "data.image_size=[32,48]" else 1
    Image.fromarray(draw_image("dots", 1, 400)[:300]).save(image, exif=exif)

    assert _probabilities_of_example(run, image, monkeypatch) == pytest.approx(_predicted(run, image), abs=1e-4)


def test_an_edited_model_card_is_kept(run: RunFolder) -> None:
    """A README.md is written again after it was deleted, but not after somebody has changed it."""
    written = run.model_card.read_text(encoding="utf-8")
    edited = written.replace("# drawn", "# Our network")
    run.model_card.write_text(edited, encoding="utf-8")
    write_report(run)
    assert run.model_card.read_text(encoding="utf-8") == edited

    run.model_card.write_text(written, encoding="utf-8")
    write_report(run)
    assert not is_edited(run.model_card)


@pytest.fixture
def unfinished(run: RunFolder) -> Iterator[RunFolder]:
    """Return the run in the state of one that is training."""
    facts = run.read_facts()
    update_facts(run, {"state": "running"})
    yield run
    update_facts(run, {"state": facts["state"]})


def test_an_unfinished_run_has_no_report(unfinished: RunFolder, runs: Path) -> None:
    """The command exits with code 2; `--live` is for such runs."""
    assert main(["report", str(unfinished.path), "--runs-dir", str(runs)]) == 2


def test_the_live_page_shows_the_epochs_so_far(unfinished: RunFolder) -> None:
    """The page of a run that trains is loaded again by itself, and has no results."""
    text = run_page(RunReport.load(unfinished), refresh_s=5)

    assert '<meta http-equiv="refresh" content="5">' in text
    assert "1 epoch so far" in text


def test_the_live_page_is_only_for_this_machine(run: RunFolder) -> None:
    """Another name in the request's header, or another path, gets nothing."""
    with LiveReportServer(run) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urlopen(server.address) as answer:
            text = answer.read().decode()
        codes = []
        for request in (Request(server.address, headers={"Host": "example.org"}), server.address + "etc"):
            with pytest.raises(HTTPError) as caught:
                urlopen(request)
            codes.append(caught.value.code)
            caught.value.close()
        server.shutdown()

    assert "test images are classified correctly" in re.sub(r"<[^>]*>", "", text)
    assert codes == [404, 404]
