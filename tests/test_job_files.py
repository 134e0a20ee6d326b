"""The job files on the page about several machines."""

from __future__ import annotations

import subprocess

import yaml

from cnncli.features.parts import ImagePart
from tests.support.commands import command_lines, parse
from tests.support.pages import DOCS, blocks

BLOCKS = {block.language: block.body for block in blocks(DOCS / "how-to" / "several-machines.md")}


def test_the_slurm_script_is_valid_bash() -> None:
    """Bash accepts the script, which runs every part of its array once."""
    script = BLOCKS["bash"]
    (words,) = command_lines(script)
    first, last = map(int, script.split("--array=")[1].split()[0].split("-"))

    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert (first, str(last)) == (1, words[-1].split("/")[1])


def test_the_kubernetes_job_runs_every_part() -> None:
    """The job is valid YAML, and its shell command names one part for each index."""
    job = yaml.safe_load(BLOCKS["yml"])
    (container,) = job["spec"]["template"]["spec"]["containers"]
    command = container["args"][0].replace("exec cnncli", "echo")
    n, parts = job["spec"]["completions"], []
    for index in range(n):
        variables = {"JOB_COMPLETION_INDEX": str(index)}
        words = subprocess.check_output([*container["command"], command], env=variables, text=True).split()
        parse(words)
        parts.append(ImagePart.parse(words[-1]))

    assert parts == [ImagePart(number, n) for number in range(1, n + 1)]
