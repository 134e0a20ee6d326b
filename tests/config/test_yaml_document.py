"""Reading YAML with line and column numbers, and refusing hostile texts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cnncli.config.tree import Origin, raise_all
from cnncli.config.yaml_document import MAX_BYTES, MAX_VALUES, parse, read_document
from cnncli.errors import ConfigError
from tests.config.conftest import Problems, summary

HERE = Origin("here", Path("/"))


def plain(text: str | bytes) -> object:
    """Return the value of a valid text."""
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
def test_plain_scalars_are_read_as_intended(text: str, value: object) -> None:
    """Plain scalars in exponent notation are read as numbers; base 60, base 8 and dates are read as text."""
    found = plain(f"key: {text}")
    assert found == {"key": value}
    assert isinstance(found, dict)
    assert type(found["key"]) is type(value)


def test_each_key_records_its_line_and_column(tmp_path: Path) -> None:
    """Every key and list item records its line and column, counted from 1."""
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


def test_aliases_and_merges_are_resolved() -> None:
    """Aliases are copied. A mapping's own entries override merged ones, and earlier merges override later ones."""
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


def test_an_empty_text_is_null() -> None:
    """An empty text, a text with only comments and a single document separator are read as null."""
    assert plain("") is plain("# nothing\n") is plain("---\n") is None


def test_utf16_and_byte_order_marks_are_read() -> None:
    """Text in UTF-16, or in UTF-8 with a byte order mark, is read correctly."""
    assert plain("seed: 1".encode("utf-16")) == plain("seed: 1".encode("utf-8-sig")) == {"seed": 1}


PATH = "data: {path: images}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: 1\nseed: 2\n" + PATH, "config-duplicate-key 2:1 seed"),
        ("data: {path: images, path: x}\n", "config-duplicate-key 1:22 data.path"),
        (PATH + "seed: 1\n---\nseed: 2\n", "config-not-yaml 3:1"),
        (PATH + "head:\n\tpooling: avg\n", "config-not-yaml 3:1"),
        ("data: path: images\n", "config-not-yaml 1:11"),
        ("data: {path: *images}\n", "config-not-yaml 1:14"),
        ("data: {path: [images\n", "config-not-yaml 2:1"),
        (PATH + "seed: !!python/object/apply:os.system [reboot]\n", "config-invalid-value 2:7 seed"),
        (PATH + "seed: !!timestamp 2026-01-01\n", "config-invalid-value 2:7 seed"),
        (PATH + "seed: !!int x\n", "config-invalid-value 2:7 seed"),
        (PATH + "seed: !!bool x\n", "config-invalid-value 2:7 seed"),
        (PATH + "? [seed]\n: 1\n", "config-invalid-value 2:3"),
        (PATH + "<<: 3\n", "config-invalid-value 2:5 <<"),
        (PATH + "head: &head {layers: [*head]}\n", "config-too-large 1:1"),
        (b"data: {path: \xff}\n", "config-not-utf8 1:1"),
        ("data: {path: \x07}\n", "config-not-utf8 1:1"),
        ("[" * 5000, "config-too-large 1:1"),
        ("#" * (MAX_BYTES + 1), "config-too-large -"),
        ("- 1\n- 2\n", "config-wrong-type 1:1"),
        ("", "config-missing-key 1:1 data.path"),
        ("seed: 1\ndata:\n", "config-missing-key 2:1 data.path"),
    ],
)
def test_each_defect_of_a_text_is_one_problem(problems_of: Problems, text: str | bytes, problem: str) -> None:
    """Each defect is reported as one problem with its line, its column and, if known, its key."""
    (found,) = problems_of(text)

    assert summary(found) == problem
    assert found.facts["path"] == Path("a.yaml")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("seed: 1\nseed: 2\n" + PATH, "a.yaml:1:1"),
        (PATH + "seed: 1\n---\nseed: 2\n", "after the line of dashes"),
        (PATH + "head:\n\tpooling: avg\n", "spaces"),
        ("data: path: images\n", "quotes"),
    ],
)
def test_a_defect_is_reported_with_a_remedy(problems_of: Problems, text: str, hint: str) -> None:
    """The hint points to the first of two duplicate settings or explains the required change."""
    (found,) = problems_of(text)

    assert hint in str(found.facts["hint"])


@pytest.mark.parametrize(
    "text",
    [PATH + " seed: 1\n", "  seed: 1\n" + PATH, PATH + "- 1\n", PATH + "head: {layers: [1\n", PATH + "name: 'x\n"],
)
def test_a_defect_is_described_without_words_of_the_parser(problems_of: Problems, text: str) -> None:
    """The names that PyYAML has for parts of a text, such as block end, are not shown."""
    (found,) = problems_of(text)

    assert found.code == "config-not-yaml"
    assert not any(word in str(found) for word in ("<", "block", "stream"))


def test_aliases_that_expand_to_billions_of_values_are_refused(problems_of: Problems) -> None:
    """Aliases that expand to billions of values are refused in less than five seconds."""
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    started = time.monotonic()
    (found,) = problems_of(bomb)
    assert summary(found) == "config-too-large 1:1"
    assert f"{MAX_VALUES:,}" in found
    assert time.monotonic() - started < 5


def test_deep_nesting_through_aliases_is_refused(problems_of: Problems) -> None:
    """Aliases that expand to very deep nesting are refused."""
    text = "a0: &a0 1\n" + "".join(f"a{n}: &a{n} {'[' * 40}*a{n - 1}{']' * 40}\n" for n in range(1, 60))
    assert [summary(problem) for problem in problems_of(text)] == ["config-too-large 1:1"]


@pytest.mark.parametrize(
    ("name", "code", "hint"),
    [
        ("b.yaml", "config-file-missing", "Did you mean a.yaml?"),
        ("quite-another.txt", "config-file-missing", "This folder contains a.yaml, images."),
        ("nowhere/b.yaml", "config-file-missing", ""),
        ("images", "config-is-folder", "`cnncli init images` writes one for a folder of images."),
        ("a.yaml/b.yaml", "config-unreadable", ""),
        ("a\0b", "config-unreadable", ""),
    ],
)
def test_file_that_cannot_be_read_is_one_problem(folder: Path, name: str, code: str, hint: str) -> None:
    """A config file that cannot be read is reported as one problem, with a hint to an existing file or a command."""
    Path("a.yaml").write_text(PATH)
    Path("README.txt").touch()
    _, problems = read_document(Path(name))
    with pytest.raises(ConfigError) as caught:
        raise_all(problems)
    assert caught.value.codes == (code,)
    assert caught.value.facts["path"] == Path(name)
    assert caught.value.facts["hint"] == hint


@example(text="? ")
@example(text="!!set {a}")
@example(text="&a [*a]")
@example(text="!<tag:yaml.org,2002:merge> <<: 1")
@given(text=st.text(st.sampled_from("ab1 :-[]{},&*!?|>'\"#%@`\n\t~<.\x85é"), max_size=30) | st.binary(max_size=30))
def test_no_text_breaks_the_reader(text: str | bytes) -> None:
    """Parsing any text returns a tree or problems and never raises."""
    tree, problems = parse(text, lambda _: HERE)
    assert tree is not None or problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (PATH + 'name: "\\UFFFFFFFF"\n', "config-not-yaml 1:1"),
        (f"%YAML {'1' * 5000}.1\n---\n{PATH}", "config-not-yaml 1:1"),
        (f"{PATH}seed: 0x{'f' * 20_000}\n", "config-out-of-range 2:1 seed"),
        ('data: {path: "../a\\0b"}\n', "config-path-missing 1:8 data.path"),
        ('data: {path: "~a\\0b"}\n', "config-path-missing 1:8 data.path"),
        (f"data: {{path: {'a/' * 40_000}}}\n", "config-path-missing 1:8 data.path"),
        ("data: {path: circle/../x}\n", "config-path-missing 1:8 data.path"),
    ],
    ids=["beyond-unicode", "long-version", "long-number", "nul-behind-dots", "nul-in-home", "long-path", "circle"],
)
def test_extreme_values_are_one_short_problem(problems_of: Problems, text: str, problem: str) -> None:
    """Extreme values, which once caused tracebacks or long delays, are reported as one short problem within seconds."""
    Path("circle").symlink_to("circle")
    started = time.monotonic()
    (found,) = problems_of(text)
    assert summary(found) == problem
    assert len(found) < 3000
    assert time.monotonic() - started < 5
