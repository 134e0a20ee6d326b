"""`cnncli doctor`: the report on installation and machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cnncli.cli import main
from cnncli.engines import build
from cnncli.engines.build import choose_engine
from cnncli.engines.int8 import has_fast_int8
from cnncli.recipes import doctor


def report(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    """Return the document that `doctor --json` prints."""
    assert main(["doctor", "--json"]) == code
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def codes(document: dict[str, Any]) -> list[str]:
    """Return the codes of the problems."""
    return [problem["code"] for problem in document["problems"]]


def test_the_report_has_every_section(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The document has versions, processor, memory, precision, GPUs, weights, cache and extras, and no problems."""
    found = report(capsys)

    assert codes(found) == []
    assert found["versions"]["tensorflow"]
    assert set(found["processor"]["features"]) == {"AVX2", "AVX-512", "VNNI", "BF16", "AMX"}
    assert found["processor"]["threads"] >= 1
    assert "EfficientNetLite0" in found["weights"]["installed"]
    assert found["cache"]["folder"] == os.environ["CNNCLI_CACHE"]
    assert found["cache"]["free_bytes"] > 0
    assert {"gpu", "int8", "lite", "parquet"} <= set(found["extras"])
    assert found["extras"]["lite"] == {"installed": True, "missing": [], "install": "pip install 'cnncli[lite]'"}
    assert not Path(os.environ["CNNCLI_CACHE"]).exists()


def test_the_precision_is_the_one_that_training_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    """The reported engine and precision are those of a config that leaves both to cnncli."""
    found, choice = report(capsys)["precision"], choose_engine("auto", "auto")

    assert (found["engine"], found["precision"]) == (choice.engine, choice.precision)
    assert found["int8"] == (has_fast_int8() and choice.engine == "openvino")


@pytest.mark.parametrize("has_bfloat16", [False, True])
@pytest.mark.parametrize("has_gpu", [False, True])
def test_every_machine_gets_the_precision_that_training_chooses(
    has_gpu: bool, has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a GPU and bfloat16, the report names the engine and precision of `choose_engine`."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(build, "gpus", lambda: ("T4",) * has_gpu)
    monkeypatch.setattr(build, "has_bfloat16", lambda: has_bfloat16)
    extras = {name: {"installed": True} for name in ("gpu", "int8")}
    found, choice = doctor._precision(has_bfloat16, has_gpu, extras, {"flags": None}), choose_engine("auto", "auto")

    assert (found.engine, found.precision) == (choice.engine, choice.precision)


def test_the_choice_of_int8_has_one_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """The line about int8 says yes or no, and why, in one clause."""
    assert main(["doctor"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]

    assert any(re.fullmatch(r"int8: (yes, where|no, because) [^:]+", line) for line in lines)


def test_tensorflow_is_not_imported() -> None:
    """The report needs neither TensorFlow nor Keras nor OpenVINO in its own process."""
    heavy = "{'tensorflow', 'keras', 'openvino'}"
    code = f"import sys; from cnncli.cli import main; main(['doctor']); print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"


def test_problems_come_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache folder that is a file is reported before everything else, and the exit code is 2."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNNCLI_CACHE", str(tmp_path / "file"))
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert captured.err.rstrip().endswith("[cache-folder-unusable]")
    assert captured.out.startswith("versions")


@pytest.mark.parametrize(
    ("limit", "code"), [("MIN_DISK_BYTES", "machine-disk-low"), ("MIN_MEMORY_BYTES", "machine-memory-low")]
)
def test_too_little_space_is_a_problem(
    limit: str, code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less free memory or disk space than training needs is a problem."""
    monkeypatch.setattr(doctor, limit, 10**18)
    assert codes(report(capsys, 2)) == [code]


def test_a_broken_openvino_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If OpenVINO cannot be imported, the reason is reported, and no precision."""
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so is gone')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    found = report(capsys, 2)

    assert codes(found) == ["engine-openvino-broken"]
    assert "libopenvino.so is gone" in found["problems"][0]["message"]
    assert found["precision"] is None


def test_a_crash_of_openvino_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash, as from an instruction that the processor lacks, does not end the report."""
    (tmp_path / "openvino.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert codes(report(capsys, 2)) == ["engine-openvino-broken"]


def test_a_gpu_without_its_libraries_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU that the driver lists is reported; without the extra gpu, it is named with the command that installs it."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA T4, 15360, 550.90'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    is_installed = doctor.diagnose_installation().extras["gpu"]["installed"]
    found = report(capsys, 0 if is_installed else 2)

    assert found["gpus"] == [{"name": "NVIDIA T4", "memory_mb": "15360", "driver": "550.90"}]
    assert codes(found) == ([] if is_installed else ["engine-gpu-unused"])
    assert is_installed or "pip install 'cnncli[gpu]'" in found["problems"][0]["message"]
