"""Hostile YAML."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fault_injection.kinds import Kind, Refusal, read_config

PATH = "data: {path: images}\n"


def _text(text: str | bytes, code: str, mentions: str = "") -> Kind:
    data = text.encode() if isinstance(text, str) else text

    def make(here: Path) -> None:
        (here / "config.yaml").write_bytes(data)

    return Kind(make, read_config, Refusal(code, rf"config\.yaml.*{mentions}"))


def _long(content: Callable[[], str], code: str, mentions: str = "") -> Kind:
    """Return a kind whose text is long and therefore created on demand."""

    def make(here: Path) -> None:
        (here / "config.yaml").write_text(content(), encoding="utf-8")

    return Kind(make, read_config, Refusal(code, rf"config\.yaml.*{mentions}"))


def _laughs(form: str, empty: str) -> str:
    lines = [f"a0: &a0 {empty}"]
    lines += [f"a{n}: &a{n} " + form.format(f"*a{n - 1}") for n in range(1, 30)]
    return "\n".join(lines) + "\n" + PATH


_PICKLED = base64.b64encode(b"cos\nsystem\n(S'touch ran'\ntR.").decode()

KINDS: Mapping[str, Kind] = {
    "yaml billion laughs": _text(_laughs("[{0}, {0}, {0}, {0}]", "[x, x]"), "config-too-large", "10,000 values"),
    "yaml laughs through merge keys": _text(
        _laughs("{{<<: [{0}, {0}, {0}, {0}]}}", "{x: 1}"), "config-too-large", "10,000 values"
    ),
    "yaml nested 50,000 deep": _long(lambda: "[" * 50_000, "config-too-large", "nested"),
    "yaml of 50 MB": _long(lambda: f"{PATH}name: {'x' * 50_000_000}\n", "config-too-large", "128 KiB"),
    "yaml with one long scalar": _long(lambda: f"{PATH}seed: {'x' * 120_000}\n", "config-wrong-type", "seed"),
    "yaml that makes objects": _text(
        f"{PATH}seed: !!python/object/apply:os.system ['touch ran']\n",
        "config-invalid-value",
        "!!python/object/apply:os\\.system",
    ),
    "yaml that makes a class": _text(
        f"{PATH}seed: !!python/name:os.system ''\n", "config-invalid-value", "!!python/name:os\\.system"
    ),
    "yaml with a pickle as bytes": _text(f"{PATH}seed: !!binary {_PICKLED}\n", "config-invalid-value", "!!binary"),
    "yaml with a key twice": _text(f"{PATH}seed: 1\nseed: 2\n", "config-duplicate-key", "seed"),
    "yaml of binary junk": _text(bytes(range(256)) * 40, "config-not-utf8"),
    "yaml with NUL": _text(PATH.encode() + b"name: a\0b\n", "config-not-utf8"),
    "yaml in another encoding": _text(PATH.encode() + "name: Bäume\n".encode("latin-1"), "config-not-utf8"),
    "yaml with a number of 100,000 digits": _long(
        lambda: f"{PATH}seed: {'9' * 100_000}\n", "config-invalid-value", "seed"
    ),
    "yaml with a number of 20,000 hexadecimal digits": _long(
        lambda: f"{PATH}seed: 0x{'f' * 20_000}\n", "config-out-of-range", "seed"
    ),
    "yaml with an anchor that contains itself": _text(f"{PATH}head: &a {{layers: [*a]}}\n", "config-too-large"),
    "yaml with a character beyond Unicode": _text(PATH + 'name: "\\UFFFFFFFF"\n', "config-not-yaml"),
    "yaml with a version of 5,000 digits": _long(lambda: f"%YAML {'1' * 5000}.1\n---\n{PATH}", "config-not-yaml"),
    "yaml with NUL in a path": _text('data: {path: "../a\\0b"}\n', "config-path-missing", r"data\.path"),
    "yaml that reads a file": _text(f"{PATH}head: !include /etc/passwd\n", "config-invalid-value", "!include"),
    "yaml with 20,000 settings": _long(
        lambda: PATH + "".join(f"k{n}:\n" for n in range(12_000)), "config-too-large", "10,000 values"
    ),
}
