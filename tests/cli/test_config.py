"""`cnncli config`: `show`, `validate`, `schema`, and errors reported without importing TensorFlow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from cnncli.cli import main
from cnncli.config.notes import notes_of
from cnncli.config.overrides import variable_notes
from cnncli.config.reader import load_config, load_resolved

PATH = "data: {path: images}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change into a folder with a config and a folder for its images."""
    (tmp_path / "images").mkdir()
    (tmp_path / "a.yaml").write_text(PATH)
    monkeypatch.chdir(tmp_path)


def test_show_prints_a_config_with_every_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The printed config contains every setting and is read as the same config from any folder."""
    assert main(["config", "show", "a.yaml", "training.epochs=7", "head.layers=[{dropout: 0.3}]"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "# stages:\n#   head: unfreeze 0, 7 epochs, adam 0.001" in printed.out
    (tmp_path / "images" / "b.yaml").write_text(printed.out)
    shown = load_resolved("images/b.yaml")
    assert shown == load_config("a.yaml", ["training.epochs=7", "head.layers=[{dropout: 0.3}]"], environment={})


def test_show_as_json_is_one_document(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`config show --json` prints all settings as one JSON document."""
    assert main(["config", "show", "a.yaml", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["data"]["path"] == str(tmp_path / "images")
    assert settings["training"]["solver"] == "exact"


def test_show_does_not_need_the_data_to_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """`config show` accepts a data path that does not exist."""
    assert main(["config", "show", "a.yaml", "data.path=/not/there/yet"]) == 0
    assert "  path: /not/there/yet\n" in capsys.readouterr().out


def test_validate_prints_ok_or_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    """`config validate` prints valid configs to stdout and all problems of invalid ones to stderr, and exits with 2."""
    Path("b.yaml").write_text("sede: 1\ndata: {path: nowhere}\n")
    Path("c.yaml").write_text("seed: [\n")
    assert main(["config", "validate", "a.yaml", "b.yaml", "c.yaml", "d.yaml"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "a.yaml: ok\n"
    lines = [line.split("error: ", 1)[1] if "error: " in line else line for line in printed.err.splitlines()]
    assert [line[:24] for line in lines] == [
        "b.yaml:1:1: sede: unknow",
        "b.yaml:2:8: data.path: d",
        "c.yaml:2:1: not valid YA",
        "d.yaml: does not exist, ",
    ]
    assert main(["config", "validate", "a.yaml"]) == 0


def test_validate_accepts_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    """Overrides apply to every config, and the name of an existing file may contain an equals sign."""
    Path("b=c.yaml").write_text(PATH)
    assert main(["config", "validate", "a.yaml", "b=c.yaml", "training.epochs=3"]) == 0
    assert capsys.readouterr().out == "a.yaml: ok\nb=c.yaml: ok\n"
    assert main(["config", "validate", "a.yaml", "training.epoch=3"]) == 2
    assert re.fullmatch(r"error: override training\.epoch=3: .* \[config-unknown-key\]\n", capsys.readouterr().err)
    assert main(["config", "validate", "training.epochs=3"]) == 2
    assert "[usage-argument-missing]" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["show", "validate"])
def test_variables_that_are_not_settings_are_reported(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment variable with a single underscore in place of a double one is reported in one warning."""
    monkeypatch.setenv("CNNCLI_TRAINING_EPOCHS", "1")
    assert main(["config", verb, "a.yaml"]) == 0
    (note,) = variable_notes()
    assert note.code == "config-unknown-variable"
    assert capsys.readouterr().err.count(note) == 1


def test_validate_shows_notes(capsys: pytest.CaptureFixture[str]) -> None:
    """`config validate` accepts a warm-up that is longer than its stage, but prints a warning."""
    Path("a.yaml").write_text(PATH + "training: {epochs: 2, schedule: {warmup_epochs: 3}}")
    (note,) = notes_of(load_config("a.yaml"))
    assert main(["config", "validate", "a.yaml"]) == 0
    assert capsys.readouterr().err.count(f"a.yaml: {note}") == 1


def test_schema_is_a_json_schema_of_configs(capsys: pytest.CaptureFixture[str]) -> None:
    """The printed schema is valid, accepts a minimal config and rejects an unknown key."""
    assert main(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid({"data": {"path": "x"}})
    assert not Draft202012Validator(schema).is_valid({"data": {"path": "x"}, "sede": 1})


def test_the_group_without_a_subcommand_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`cnncli config` without a subcommand shows its three subcommands and an example."""
    main(["config"])
    printed = capsys.readouterr()
    for word in ("show", "validate", "schema", "Example:"):
        assert word in printed.out + printed.err


@pytest.mark.parametrize("words", [["config", "validate", "b.yaml"], ["train", "b.yaml"], ["config", "show", "a.yaml"]])
def test_config_errors_import_nothing_heavy(words: list[str]) -> None:
    """An invalid config is reported without importing TensorFlow or another slow library."""
    Path("b.yaml").write_text("sede: 1\nbackbone: {name: VGG17}\n")
    program = (
        "import sys\n"
        "from cnncli.cli import main\n"
        f"code = main({words!r})\n"
        "heavy = {'tensorflow', 'keras', 'openvino', 'sklearn', 'matplotlib', 'cv2'} & set(sys.modules)\n"
        "print(code, sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ("0 []" if words[1] == "show" else "2 []"), done.stderr
