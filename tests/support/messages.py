"""Extract the codes and templates of the package's messages from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cnncli
from cnncli.catalogue.explanations import load_explanations

PACKAGE = Path(cnncli.__file__).parent
DOMAINS = (
    *(
        "augmentation",
        "cache",
        "cluster",
        "config",
        "cut",
        "data",
        "engine",
        "export",
        "image",
        "machine",
        "metrics",
        "run",
        "serve",
        "training",
    ),
    *("usage", "weights"),
)
CODE = re.compile(rf"(?:{'|'.join(DOMAINS)})(?:-[a-z0-9]+)+")


@dataclass(frozen=True, order=True)
class Site:
    """A place in the source that creates a message.

    Attributes:
        code: Code of the message.
        template: Text of the message, with expressions in braces.
        where: File and line.
    """

    code: str
    template: str
    where: str


def message_sites() -> list[Site]:
    """Return all places in the package that give a text to a code, sorted by code and text."""
    return sorted(site for path in PACKAGE.rglob("*.py") for site in sites_of(path))


def sites_of(path: Path) -> Iterator[Site]:
    """Yield the places in a file that give a text to a code: `Message(code, text)`, table rows, dictionary items."""
    tree = ast.parse(path.read_bytes())
    where = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else path
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    seen: set[int] = set()
    for scope in (*functions, tree):
        for node, names in _with_names(scope):
            if id(node) not in seen:
                seen.add(id(node))
                yield from (Site(code, text, f"{where}:{node.lineno}") for code, text in _messages(node, names))


Node = ast.Call | ast.Tuple | ast.Dict


def _with_names(scope: ast.AST) -> Iterator[tuple[Node, Mapping[str, Sequence[ast.expr]]]]:
    """Yield calls, tuples and dictionaries with the values that were assigned to names since their last use."""
    names: dict[str, list[ast.expr]] = {}
    used: set[str] = set()
    nodes = [node for node in ast.walk(scope) if isinstance(node, ast.Assign | Node)]
    for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
        if not isinstance(node, ast.Assign):
            yield node, names
            arguments = node.args if isinstance(node, ast.Call) else []
            used |= {one.id for one in arguments[1:] if isinstance(one, ast.Name) and _codes_of(arguments[0])}
        elif isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            names[name] = [*([] if name in used else names.get(name, [])), node.value]
            used.discard(name)


def _messages(node: Node, names: Mapping[str, Sequence[ast.expr]]) -> Iterator[tuple[str, str]]:
    """Yield code and text of a call or tuple that starts with a code, or of the items of a dictionary."""
    if isinstance(node, ast.Dict):
        items = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key and _is_text(value)]
        yield from ((code, template_of(value)) for key, value in items for code in _codes_of(key))
        return
    values = node.args if isinstance(node, ast.Call) else node.elts
    keywords = node.keywords if isinstance(node, ast.Call) and ast.unparse(node.func) != "Message" else []
    alternatives = [names.get(ast.unparse(value), [value]) for value in values]
    alternatives += [[keyword.value] for keyword in keywords]
    parts = [" | ".join(template_of(one) for one in choices if _is_text(one)) for choices in alternatives[1:]]
    for code in (code for choice in alternatives[:1] for one in choice for code in _codes_of(one)):
        yield code, " · ".join(filter(None, parts))


def template_of(node: ast.expr) -> str:
    """Return the text of an expression, with all parts that are not literal in braces.

    >>> template_of(ast.parse('f"{path}: no such file; " "did you mean" + hint', mode="eval").body)
    '{path}: no such file; did you mean{hint}'
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(template_of, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template_of(node.left) + template_of(node.right)
    if isinstance(node, ast.IfExp):
        return f"{{{template_of(node.body)} | {template_of(node.orelse)}}}"
    inner = node.value if isinstance(node, ast.FormattedValue) else node
    return f"{{{ast.unparse(inner)}}}"


def _codes_of(node: ast.expr) -> list[str]:
    """Return the codes that an expression can have: a literal, or literals combined by `or` or `if`."""
    literals = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    is_choice = isinstance(node, ast.Constant | ast.BoolOp | ast.IfExp)
    return [literal for literal in literals if CODE.fullmatch(literal)] if is_choice else []


def _is_text(node: ast.expr) -> bool:
    is_literal = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_literal or isinstance(node, ast.JoinedStr | ast.BinOp | ast.IfExp)


def disagreements() -> list[str]:
    """Return the messages without an explanation and the explanations without a message."""
    explained, sites = load_explanations(), message_sites()
    missing = [f"{site.where}: {site.code} has no entry" for site in sites if site.code not in explained]
    return missing + [f"{code} has no message" for code in explained.keys() - {site.code for site in sites}]


if __name__ == "__main__":
    print(*disagreements(), sep="\n")
