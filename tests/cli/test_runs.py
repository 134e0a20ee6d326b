"""`cnncli runs`: listing and pruning runs."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from cnncli.cli import main
from cnncli.runs.folder import RunFolder, create_run, end_run, locked, update_facts
from cnncli.runs.listing import COLUMNS

CREATED = "2026-11-21T12:00:00.000Z"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Return a folder with one finished and one broken run."""
    facts = {"mode": "feature-extraction", "backbone": "VGG16"}
    run = create_run(tmp_path / "runs", "a", {"config.yaml": "", "model.keras": ""}, facts=facts)
    test = {"n": 1000, "loss": 0.1, "top1": 0.98, "top1_ci95": [0.9693, 0.987]}
    end_run(run, "finished", {"seconds": 20.0, "metrics": {"test": test}})
    update_facts(run, {"created": CREATED})
    run.path.rename(tmp_path / "runs" / "2026-11-21T120000Z_a")
    (tmp_path / "runs" / "2026-11-21T130000Z_b").mkdir()
    return tmp_path / "runs"


def test_a_table_of_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each run is listed in one row; a broken run is listed, too, with a warning on stderr."""
    assert main(["runs", "--runs-dir", str(runs)]) == 0
    captured = capsys.readouterr()
    header, *lines = captured.out.splitlines()

    assert re.split(r" {2,}", header) == list(COLUMNS)
    assert [re.sub(r" +", " ", line) for line in lines] == [
        "2026-11-21T130000Z_b broken – – – – – – –",
        "2026-11-21T120000Z_a finished feature-extraction VGG16 – 98.0 % 96.9–98.7 % 1,000 20 s",
    ]
    assert captured.err.startswith(f"warning: {runs}/2026-11-21T130000Z_b: ")
    assert captured.err.count("\n") == 1


def test_json_has_every_fact_and_absolute_paths(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--json prints one document with all facts and absolute paths to stdout, and nothing to stderr."""
    monkeypatch.chdir(runs.parent)
    assert main(["runs", "--json", "--runs-dir", "runs"]) == 0
    captured = capsys.readouterr()
    broken, run = json.loads(captured.out)

    assert captured.err == ""
    assert run == {
        "name": "2026-11-21T120000Z_a",
        "path": str(runs / "2026-11-21T120000Z_a"),
        "state": "finished",
        "created": CREATED,
        "parent": None,
        "mode": "feature-extraction",
        "backbone": "VGG16",
        "val_accuracy": None,
        "test_accuracy": 0.98,
        "test_ci95": [0.9693, 0.987],
        "test_n": 1000,
        "seconds": 20.0,
        "problem": None,
    }
    assert broken["state"] == "broken"
    assert broken["problem"]["code"] == "run-not-a-run"


def test_the_environment_sets_the_runs_folder(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are listed from the folder in CNNCLI_RUNS if --runs-dir is not given."""
    monkeypatch.setenv("CNNCLI_RUNS", str(runs))

    assert main(["runs"]) == 0
    assert "2026-11-21T120000Z_a" in capsys.readouterr().out


def test_a_missing_runs_folder_is_reported_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A missing runs folder is treated as empty, reported on stderr and not created."""
    folder = tmp_path / "runs"

    assert main(["runs", "--runs-dir", str(folder)]) == 0
    assert capsys.readouterr() == ("", f"no runs in {folder}\n")
    assert main(["runs", "--json", "--runs-dir", str(folder)]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert not folder.exists()


def test_a_file_is_not_a_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--runs-dir is refused if it is a file."""
    (tmp_path / "runs").write_text("")

    assert main(["runs", "--runs-dir", str(tmp_path / "runs")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_hundred_runs_are_listed_in_order_of_creation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hundred runs are listed in the order in which they were created."""
    for k in range(100):
        run: RunFolder = create_run(tmp_path, f"r{k}", {"config.yaml": "mode: from-scratch\n"})
        update_facts(run, {"created": f"2026-11-{1 + k % 28:02}T{k // 28:02}:00:00.000Z"})
    main(["runs", "--json", "--runs-dir", str(tmp_path)])
    created = [run["created"] for run in json.loads(capsys.readouterr().out)]

    assert len(created) == 100
    assert created == sorted(created)


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """Return a finished run with a model, metrics and 3,000 bytes of checkpoints."""
    files = {"config.yaml": "", "model.keras": "weights", "metrics.json": "{}", "state/config.yaml": ""}
    run = create_run(tmp_path / "runs", "a", files)
    for number in ("000001", "000002"):
        (run.state / number).mkdir()
        (run.state / number / "arrays.npz").write_bytes(bytes(1500))
    end_run(run, "finished")
    return run


def _files(run: RunFolder) -> set[str]:
    return {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}


KEPT = {"config.yaml", "model.keras", "metrics.json", "run.json", "state/config.yaml"}


@pytest.mark.parametrize("words", [["runs", "prune"], ["runs", "--runs-dir", "runs", "prune"]], ids=" ".join)
def test_prune_deletes_checkpoints_only(
    words: list[str],
    finished: RunFolder,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`runs prune` deletes only checkpoints; --runs-dir is accepted before and after `prune`."""
    monkeypatch.chdir(tmp_path)
    option = [] if "--runs-dir" in words else ["--runs-dir", "runs"]

    assert main([*words, "a", "--yes", *option]) == 0
    assert capsys.readouterr().out == "freed 3.0 kB\n"
    assert _files(finished) - {"lock"} == KEPT


def test_a_dry_run_deletes_nothing(finished: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run reports the bytes that would be deleted, counting a run named twice only once, and deletes nothing."""
    before = _files(finished)
    words = ["runs", "prune", str(finished.path), str(finished.path), "--dry-run", "--json"]

    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {
        "runs": [{"path": str(finished.path), "size_bytes": 3000}],
        "freed_bytes": 0,
        "dry_run": True,
    }
    assert _files(finished) == before


def test_prune_needs_confirmation(
    finished: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pruning requires --yes without a terminal; on a terminal, it requires the answer yes."""
    before = _files(finished)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["runs", "prune", str(finished.path)]) == 2
    assert "--yes" in capsys.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    assert main(["runs", "prune", str(finished.path)]) == 130
    assert _files(finished) == before
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert main(["runs", "prune", str(finished.path)]) == 0
    assert _files(finished) - {"lock"} == KEPT


def test_only_finished_runs_are_pruned(finished: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """If a run is unfinished or missing, all such problems are reported and no run is pruned."""
    create_run(finished.path.parent, "b", {"config.yaml": ""})
    before = _files(finished)

    assert main(["runs", "prune", "a", "b", "nosuch", "--yes", "--runs-dir", str(finished.path.parent)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "interrupted" in errors[0]
    assert "nosuch" in errors[1]
    assert _files(finished) == before


def test_a_run_in_training_is_not_pruned(finished: RunFolder) -> None:
    """A finished run that is locked, because it may be training more epochs, is not pruned."""
    with locked(finished):
        assert main(["runs", "prune", str(finished.path), "--yes"]) == 2
    assert "state/000001/arrays.npz" in _files(finished)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three finished runs, one without a test split, and a broken one."""
    folder = tmp_path_factory.mktemp("many")
    for name, backbone, top1, seed in (("a", "VGG16", 0.97, 3), ("b", "ResNet50", 0.9, 1), ("c", "ResNet50", None, 2)):
        text = f"data: {{path: /data}}\nbackbone: {{name: {backbone}}}\nseed: {seed}\n"
        run = create_run(folder, name, {"config.yaml": text, "model.keras": ""}, facts={"backbone": backbone})
        metrics = {} if top1 is None else {"test": {"n": 10, "loss": 1 - top1, "top1": top1, "top1_ci95": [0.8, 1.0]}}
        end_run(run, "finished", {"seconds": 2.0, "metrics": metrics})
        run.path.rename(folder / name)
    (folder / "broken").mkdir()
    return folder


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--where", "backbone=resnet50"], ["b", "c"]),
        (["--where", "backbone != VGG16", "--where", "state=finished"], ["b", "c"]),
        (["--where", "test.accuracy>0.95"], ["a"]),
        (["--where", "test.accuracy>=90%", "--sort", "test.accuracy"], ["b", "a"]),
        (["--where", "test.accuracy<0.95", "--where", "test.loss<0.05"], []),
        (["--where", "seed<3", "--sort", "seed"], ["b", "c"]),
        (["--where", "training.optimizer.name=adam", "--sort", "-seed"], ["a", "c", "b"]),
        (["--where", "test.accuracy!=null", "--sort", "run"], ["a", "b"]),
        (["--where", "parent=null", "--where", "state=broken"], ["broken"]),
        (["--sort", "-test.accuracy"], ["a", "b", "broken", "c"]),
        (["--where", "backbone>Sigma"], ["a"]),
        (["--where", "mode<3"], []),
    ],
)
def test_runs_are_selected_and_sorted(
    many: Path, words: list[str], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Conditions on facts, results and settings must all hold; runs without a value are sorted last."""
    assert main(["runs", "--runs-dir", str(many), "--json", *words]) == 0
    found = [run["name"] for run in json.loads(capsys.readouterr().out)]
    is_tie = words == ["--sort", "-test.accuracy"]
    assert (sorted(found) if is_tie else found) == names
    assert not is_tie or found[:2] == ["a", "b"]


def test_metrics_of_different_definitions_are_sorted_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Brier score of two classes and that of three are not comparable; log loss and those of one kind are."""
    for name, classes in (("a", ["x", "y"]), ("b", ["x", "y", "z"]), ("c", ["x", "y"])):
        files = {"config.yaml": "data: {path: /data}\n", "model.keras": "", "classes.json": json.dumps(classes)}
        run = create_run(tmp_path, name, files, facts={})
        end_run(run, "finished", {"metrics": {"validation": {"n": 10, "brier_score": 0.2, "log_loss": 0.4}}})
    for words, mixed in (
        (["--sort", "validation.brier_score"], True),
        (["--sort", "-validation.log_loss"], False),
        (["--sort", "validation.brier_score", "--where", "name!=b"], False),
    ):
        assert main(["runs", "--runs-dir", str(tmp_path), *words]) == 0
        assert ("[run-metrics-differ]" in capsys.readouterr().err) == mixed


@pytest.mark.parametrize(
    ("condition", "holds"),
    [("name=2024", True), ("name!=2024", False), ("name=null", False), ("created>2024", True), ("seed=2024.0", False)],
)
def test_a_value_that_is_text_is_compared_as_text(
    condition: str, holds: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number in a condition is a number only for values that are numbers: a run may be called 2024."""
    run = create_run(tmp_path, "2024", {"config.yaml": "data: {path: /data}\nseed: 3\n"}, facts={})
    end_run(run, "finished", {})
    assert main(["runs", "--runs-dir", str(tmp_path), "--json", "--where", condition]) == 0
    assert bool(json.loads(capsys.readouterr().out)) == holds


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("data.dicom.window=[-512, 1024]", ["a"]),
        ("data.dicom.window=[-512.0,1024]", ["a"]),
        ("data.dicom.window!=[-512, 1024]", ["b"]),
        ("data.dicom.window=null", ["b"]),
        ("head.layers=[]", ["b"]),
        ("head.layers!=[]", ["a"]),
        ("backbone.options={}", ["a", "b"]),
        ("training.batch_size=auto", []),
        ("training.batch_size=16", ["a", "b"]),
    ],
)
def test_lists_are_compared_as_in_a_config(
    condition: str, names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list in a condition is YAML, and integers equal floats in it; a group without contents is compared as well."""
    texts = {"a": "data: {path: /data, dicom: {window: [-512, 1024]}}\nhead: {layers: [{dense: 8}]}\n"}
    texts["b"] = "data: {path: /data}\nhead: {layers: []}\n"
    for name, text in texts.items():
        run = create_run(tmp_path, name, {"config.yaml": f"{text}training: {{batch_size: 16}}\n"}, facts={})
        end_run(run, "finished", {})
    assert main(["runs", "--runs-dir", str(tmp_path), "--json", "--where", condition]) == 0

    assert [run["name"][-1] for run in json.loads(capsys.readouterr().out)] == names


@pytest.mark.parametrize(
    "condition",
    [
        *("test.accuracy>abc", "test.accuracy=abc", "test.accuracy>null", "seconds>1m", "seed=abc", "seed=true"),
        *(
            "data.dicom.window>3",
            "data.image_size>[1]",
            "training.batch_size>abc",
            "backbone.options>1",
            "backbone.options=abc",
            "seed>[1]",
        ),
    ],
)
def test_a_value_that_cannot_be_compared_is_an_error(
    many: Path, condition: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A condition that no value of its kind can fulfill is a mistake, and not an empty result."""
    assert main(["runs", "--runs-dir", str(many), "--where", condition]) == 2
    assert "[usage-where-value]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (["--where", "nmae=a"], ["usage-where-key"]),
        (["--sort", "-sead"], ["usage-where-key"]),
        (["--where", "__import__('os')"], ["usage-where"]),
        (["--where", "backbone", "--where", "sead=1"], ["usage-where", "usage-where-key"]),
    ],
)
def test_wrong_conditions_are_reported_together(
    many: Path, words: list[str], codes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts that are no conditions and unknown keys are all reported, with similar keys."""
    assert main(["runs", "--runs-dir", str(many), *words]) == 2
    error = capsys.readouterr().err
    assert re.findall(r"\[([\w-]+)\]$", error, re.M) == codes
    assert "nmae" not in error or "Did you mean name?" in error


def test_the_table_has_the_selected_runs(many: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table lists the selected runs only; if there are none, a line on stderr says so."""
    assert main(["runs", "--runs-dir", str(many), "--where", "seed=3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["runs", "--runs-dir", str(many), "--where", "seed=4"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no runs" in captured.err
