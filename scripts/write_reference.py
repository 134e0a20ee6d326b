"""Update the reference of settings in the README from the schema: `python -m scripts.write_reference`."""

from __future__ import annotations

from pathlib import Path

from cnncli.config.reference import with_reference

if __name__ == "__main__":
    readme = Path(__file__).resolve().parents[1] / "README.md"
    readme.write_text(with_reference(readme.read_text(encoding="utf-8")), encoding="utf-8")
