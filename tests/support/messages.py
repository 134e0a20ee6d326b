"""The messages of the package, found in its source: their codes, and their wording as templates."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cnncli
from cnncli.catalogue.explanations import load_explanations

PACKAGE = Path(cnncli.__file__).parent
DOMAINS = (
    *("augmentation", "cache", "config", "cut", "data", "engine", "image", "machine", "metrics", "run", "training"),
    *("usage", "weights"),
)
CODE = re.compile(rf"(?:{'|'.join(DOMAINS)})(?:-[a-z0-9]+)+")


@dataclass(frozen=True, order=True)
class Site:
    """A place in the source that makes a message.

    Attributes:
        code: of the message.
        template: its text, with expressions in braces.
        where: file and line.
    """

    code: str
    template: str
    where: str


def message_sites() -> list[Site]:
    """Return all calls of `Message` in the package, sorted by code and text."""
    return sorted(site for path in PACKAGE.rglob("*.py") for site in sites_of(path))


def sites_of(path: Path) -> Iterator[Site]:
    """Yield the calls of `Message` in a file.

    A call whose code is no literal stands for all codes that the module holds elsewhere, in a table for example.
    """
    tree = ast.parse(path.read_bytes())
    where = path.relative_to(PACKAGE.parent) if path.is_relative_to(PACKAGE) else path
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_text(node.value):
            names[node.targets[0].id] = template_of(node.value)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1]
    messages = [call for call in calls if ast.unparse(call.func) == "Message"]
    literal = {call.args[0].value for call in messages if isinstance(call.args[0], ast.Constant)}
    for call in messages:
        code, text = call.args[:2]
        codes = [code.value] if isinstance(code, ast.Constant) else _codes_in(tree) - literal
        template = names.get(ast.unparse(text), template_of(text))
        yield from (Site(str(one), template, f"{where}:{call.lineno}") for one in codes)


def template_of(node: ast.expr) -> str:
    """Return the text of an expression, with everything that is not literal in braces.

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


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def disagreements() -> list[str]:
    """Return the messages without an explanation and the explanations without a message."""
    explained, sites = load_explanations(), message_sites()
    missing = [f"{site.where}: {site.code} has no entry" for site in sites if site.code not in explained]
    return missing + [f"{code} has no message" for code in explained.keys() - {site.code for site in sites}]


def _codes_in(tree: ast.Module) -> set[str]:
    """Return the literals of a module that are codes."""
    literals = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {literal for literal in literals if CODE.fullmatch(literal)}


if __name__ == "__main__":
    print(*disagreements(), sep="\n")
