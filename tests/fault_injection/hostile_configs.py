"""YAML that means harm."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fault_injection.kinds import Kind, read_config

PATH = "data: {path: images}\n"


def _text(text: str | bytes, says: str | None) -> Kind:
    data = text.encode() if isinstance(text, str) else text

    def make(here: Path) -> None:
        (here / "config.yaml").write_bytes(data)

    return Kind(make, read_config, says and rf"config\.yaml.*{says}")


def _made(content: Callable[[], str], says: str) -> Kind:
    """Where the text is long: it is made when it is needed."""

    def make(here: Path) -> None:
        (here / "config.yaml").write_text(content(), encoding="utf-8")

    return Kind(make, read_config, rf"config\.yaml.*{says}")


def _laughs(form: str, empty: str) -> str:
    lines = [f"a0: &a0 {empty}"]
    lines += [f"a{n}: &a{n} " + form.format(f"*a{n - 1}") for n in range(1, 30)]
    return "\n".join(lines) + "\n" + PATH


_PICKLED = base64.b64encode(b"cos\nsystem\n(S'touch ran'\ntR.").decode()

KINDS: Mapping[str, Kind] = {
    "yaml billion laughs": _text(_laughs("[{0}, {0}, {0}, {0}]", "[x, x]"), "more than 10,000 values"),
    "yaml laughs through merge keys": _text(
        _laughs("{{<<: [{0}, {0}, {0}, {0}]}}", "{x: 1}"), "more than 10,000 values"
    ),
    "yaml nested 50,000 deep": _made(lambda: "[" * 50_000, "nested too deeply"),
    "yaml of 50 MB": _made(lambda: f"{PATH}name: {'x' * 50_000_000}\n", "too large"),
    "yaml with one long scalar": _made(lambda: f"{PATH}seed: {'x' * 120_000}\n", "seed"),
    "yaml that makes objects": _text(f"{PATH}seed: !!python/object/apply:os.system ['touch ran']\n", "tag"),
    "yaml that makes a class": _text(f"{PATH}seed: !!python/name:os.system ''\n", "tag"),
    "yaml with a pickle as bytes": _text(f"{PATH}seed: !!binary {_PICKLED}\n", "tag"),
    "yaml with a key twice": _text(f"{PATH}seed: 1\nseed: 2\n", "given twice"),
    "yaml of binary junk": _text(bytes(range(256)) * 40, "not text"),
    "yaml with NUL": _text(PATH.encode() + b"name: a\0b\n", "not text"),
    "yaml in another encoding": _text(PATH.encode() + "name: Bäume\n".encode("latin-1"), "not text"),
    "yaml with a number of 100,000 digits": _made(lambda: f"{PATH}seed: {'9' * 100_000}\n", "seed"),
    "yaml with a number of 20,000 hexadecimal digits": _made(lambda: f"{PATH}seed: 0x{'f' * 20_000}\n", "seed"),
    "yaml with an anchor that contains itself": _text(f"{PATH}head: &a {{layers: [*a]}}\n", "contains itself"),
    "yaml with a character beyond Unicode": _text(PATH + 'name: "\\UFFFFFFFF"\n', "not valid YAML"),
    "yaml with a version of 5,000 digits": _made(lambda: f"%YAML {'1' * 5000}.1\n---\n{PATH}", "not valid YAML"),
    "yaml with a path that none can be": _text('data: {path: "../a\\0b"}\n', "data.path"),
    "yaml that reads a file": _text(f"{PATH}head: !include /etc/passwd\n", "tag"),
    "yaml with 20,000 settings": _made(lambda: PATH + "".join(f"k{n}:\n" for n in range(12_000)), "more than 10,000"),
}
