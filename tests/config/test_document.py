"""YAML texts: positions, duplicates, aliases, and texts made to hurt."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnncli.config.document import MAX_BYTES, MAX_VALUES, parse, read_document
from cnncli.config.problems import raise_all
from cnncli.config.tree import Origin
from cnncli.errors import ConfigError
from tests.config.conftest import Lines

HERE = Origin("here", Path("/"))


def plain(text: str | bytes) -> object:
    """What a sound text means."""
    tree, problems = parse(text, lambda _: HERE)
    assert not problems, problems
    assert tree is not None
    return tree.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2.0e-5", 2.0e-5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1_000", 1000),
        ("0x10", 16),
        ("0", 0),
        ("010", "010"),
        ("150:150", "150:150"),
        ("2026-01-31", "2026-01-31"),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 12", "12"),
        ("1e-3x", "1e-3x"),
        ("=", "="),
        (".inf", float("inf")),
    ],
)
def test_plain_scalars_mean_what_people_write(text: str, value: object) -> None:
    """Numbers with an exponent are numbers; base 60, base 8 and dates are text."""
    found = plain(f"key: {text}")
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


def test_each_key_knows_its_line_and_column(tmp_path: Path) -> None:
    """Lines and columns count from 1; an item of a list stands where the item does."""
    source = tmp_path / "a.yaml"
    source.write_text("seed: 1\nhead:\n  layers:\n    - {dense: 8,  l2: 1}\n    - dropout: 0.5\n")
    tree, problems = read_document(source)
    assert not problems
    assert tree is not None
    keys = [
        "seed",
        "head",
        "head.layers",
        "head.layers.0",
        "head.layers.0.l2",
        "head.layers.1",
        "head.layers.1.dropout",
    ]
    places = [node.origin.where.removeprefix(f"{source}:") for key in keys if (node := tree.find(key))]
    assert places == ["1:1", "2:1", "3:3", "4:7", "4:19", "5:7", "5:7"]


def test_aliases_and_merges_are_written_out() -> None:
    """Each place an alias stands has a tree of its own; own entries win over merged ones, earlier merges over later."""
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}\nd: [*a, *a]\n"
    expected = {
        "a": {"x": 1, "y": 1},
        "b": {"y": 2, "z": 2},
        "c": {"x": 3, "y": 1, "z": 2},
        "d": [{"x": 1, "y": 1}] * 2,
    }
    assert plain(text) == expected
    tree, _ = parse(text, lambda _: HERE)
    assert tree is not None
    assert tree.find("d.0") is not tree.find("d.1")


def test_empty_text_means_nothing_is_set() -> None:
    """No text, comments alone, a lone separator."""
    assert plain("") is plain("# nothing\n") is plain("---\n") is None


def test_utf16_and_byte_order_marks_are_read() -> None:
    """Editors of another system write them."""
    assert plain("seed: 1".encode("utf-16")) == plain("seed: 1".encode("utf-8-sig")) == {"seed": 1}


PATH = "data: {path: images}\n"
TAG = "a.yaml:2:7: seed: not a value of a config"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "seed: 1\nseed: 2\n" + PATH,
            ["a.yaml:2:1: seed: given twice (received 2), expected once. The first is at a.yaml:1:1."],
        ),
        (
            "data: {path: images, path: x}\n",
            ["a.yaml:1:22: data.path: given twice (received 'x'), expected once. The first is at a.yaml:1:8."],
        ),
        (
            PATH + "seed: 1\n---\nseed: 2\n",
            [
                "a.yaml:3:1: not valid YAML: a second document."
                " One file is one config: remove what follows the line of dashes."
            ],
        ),
        (
            PATH + "head:\n\tpooling: avg\n",
            [
                "a.yaml:3:1: not valid YAML: found character '\\t' that cannot start any token."
                " Indent with spaces: YAML allows no tabs."
            ],
        ),
        (
            "data: path: images\n",
            [
                "a.yaml:1:11: not valid YAML: mapping values are not allowed here."
                " Text that holds a colon and a space needs quotes; or a line is indented wrongly."
            ],
        ),
        ("data: {path: *images}\n", ["a.yaml:1:14: not valid YAML: found undefined alias 'images'."]),
        ("data: {path: [images\n", ["a.yaml:2:1: not valid YAML: expected ',' or ']', but got '<stream end>'."]),
        (
            PATH + "seed: !!python/object/apply:os.system [reboot]\n",
            [f"{TAG}: the tag !!python/object/apply:os.system is not allowed."],
        ),
        (PATH + "seed: !!timestamp 2026-01-01\n", [f"{TAG}: the tag !!timestamp is not allowed."]),
        (PATH + "seed: !!int x\n", [f"{TAG}: 'x' is not a number that can be read."]),
        (PATH + "seed: !!bool x\n", [f"{TAG}: 'x' is neither true nor false."]),
        (PATH + "? [seed]\n: 1\n", ["a.yaml:2:3: a list or a group in the place of a name."]),
        (PATH + "<<: 3\n", ["a.yaml:2:5: <<: not a group of settings."]),
        (
            PATH + "head: &head {layers: [*head]}\n",
            ["a.yaml:2:7: head.layers.0: an alias that contains itself."],
        ),
        (b"data: {path: \xff}\n", ["a.yaml:1:1: not text in UTF-8: byte 0xff at position 13."]),
        ("data: {path: \x07}\n", ["a.yaml:1:1: not text in UTF-8: character 0x07 at position 13."]),
        ("[" * 5000, ["a.yaml:1:1: nested too deeply for a config."]),
        ("#" * (MAX_BYTES + 1), ["a.yaml: too large for a config, expected at most 128 KiB."]),
        (
            "- 1\n- 2\n",
            [
                "a.yaml:1:1: wrong type (received [1, 2]), expected a group of settings (name, mode, seed, data,"
                " backbone, head, augmentation, training, engine, precision, cache)."
            ],
        ),
        ("", ["a.yaml:1:1: data.path: missing, expected a folder of images."]),
        ("seed: 1\ndata:\n", ["a.yaml:2:1: data.path: missing, expected a folder of images."]),
    ],
)
def test_what_is_wrong_with_a_text_is_one_line(lines_of: Lines, text: str | bytes, lines: list[str]) -> None:
    """Each defect of the text, with its place."""
    assert lines_of(text) == lines


def test_a_few_lines_that_stand_for_billions_fail_at_once(lines_of: Lines) -> None:
    """Ten aliases of ten aliases, ten times over."""
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    started = time.monotonic()
    assert lines_of(bomb) == [f"a.yaml:1:1: more than {MAX_VALUES:,} values, with aliases written out."]
    assert time.monotonic() - started < 5


def test_deep_nesting_through_aliases_ends(lines_of: Lines) -> None:
    """Nesting that only aliases make deep."""
    text = "a0: &a0 1\n" + "".join(f"a{n}: &a{n} {'[' * 40}*a{n - 1}{']' * 40}\n" for n in range(1, 60))
    assert lines_of(text) in (
        ["a.yaml:1:1: nested too deeply for a config."],
        [f"a.yaml:1:1: more than {MAX_VALUES:,} values, with aliases written out."],
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("b.yaml", "b.yaml: no such file, expected a config in YAML. Did you mean a.yaml?"),
        ("quite-another.txt", "quite-another.txt: no such file, expected a config in YAML. There are a.yaml."),
        ("nowhere/b.yaml", "nowhere/b.yaml: no such file, expected a config in YAML."),
        (
            "images",
            "images: a folder, expected a config in YAML. `cnncli init images` writes one for a folder of images.",
        ),
        ("a.yaml/b.yaml", "a.yaml/b.yaml: cannot be read: not a directory."),
        ("a\0b", "a\\x00b: cannot be read: embedded null byte."),
    ],
)
def test_file_that_cannot_be_read_is_one_line(folder: Path, name: str, line: str) -> None:
    """With what is there instead."""
    Path("a.yaml").write_text(PATH)
    _, problems = read_document(Path(name))
    with pytest.raises(ConfigError) as caught:
        raise_all(problems)
    assert caught.value.problems == (line,)


@settings(max_examples=300, deadline=None)
@example(text="? ")
@example(text="!!set {a}")
@example(text="&a [*a]")
@example(text="!<tag:yaml.org,2002:merge> <<: 1")
@given(text=st.text(st.sampled_from("ab1 :-[]{},&*!?|>'\"#%@`\n\t~<.\x85é"), max_size=30) | st.binary(max_size=30))
def test_no_text_breaks_the_reader(text: str | bytes) -> None:
    """Any text gives a tree or problems, never another exception."""
    tree, problems = parse(text, lambda _: HERE)
    assert tree is not None or problems


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (PATH + 'name: "\\UFFFFFFFF"\n', "a.yaml:1:1: not valid YAML: "),
        (f"%YAML {'1' * 5000}.1\n---\n{PATH}", "a.yaml:1:1: not valid YAML: "),
        (f"{PATH}seed: 0x{'f' * 20_000}\n", "a.yaml:2:1: seed: out of range (received a number of about 240"),
        ('data: {path: "../a\\0b"}\n', "a.yaml:1:8: data.path: "),
        ('data: {path: "~a\\0b"}\n', "a.yaml:1:8: data.path: "),
        (f"data: {{path: {'a/' * 40_000}}}\n", "a.yaml:1:8: data.path: "),
        ("data: {path: circle/../x}\n", "a.yaml:1:8: data.path: "),
    ],
    ids=["beyond-unicode", "long-version", "long-number", "nul-behind-dots", "nul-in-home", "long-path", "circle"],
)
def test_what_no_person_writes_is_one_line_too(lines_of: Lines, text: str, start: str) -> None:
    """Each of these once ended in a traceback, or took long."""
    Path("circle").symlink_to("circle")
    started = time.monotonic()
    (line,) = lines_of(text)
    assert line.startswith(start)
    assert len(line) < 3000
    assert time.monotonic() - started < 5
