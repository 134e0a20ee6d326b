"""Boxes, arrows and text as SVG, with a light and a dark theme."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Literal

Variant = Literal["light", "dark"]
VARIANTS: tuple[Variant, Variant] = ("light", "dark")
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colors of a variant.

    Attributes:
        text: Color of text.
        faint: Color of secondary text and arrows.
        fills: Fill and border colors of boxes, by the kind of thing that a box represents.
    """

    text: str
    faint: str
    fills: dict[str, tuple[str, str]]


THEMES: dict[Variant, Theme] = {
    "light": Theme(
        text="#1f2328",
        faint="#59636e",
        fills={
            "plain": ("#f6f8fa", "#8c959f"),
            "frozen": ("#ddf4ff", "#0969da"),
            "stored": ("#fff8c5", "#bf8700"),
            "trained": ("#ffe7d6", "#bc4c00"),
            "result": ("#dafbe1", "#1a7f37"),
        },
    ),
    "dark": Theme(
        text="#e6edf3",
        faint="#9198a1",
        fills={
            "plain": ("#21262d", "#6e7681"),
            "frozen": ("#0c2d4a", "#4493f8"),
            "stored": ("#3a2d05", "#d29922"),
            "trained": ("#43220b", "#f0883e"),
            "result": ("#0f2e1a", "#3fb950"),
        },
    ),
}


@dataclass
class Drawing:
    """An SVG under construction. Coordinates are pixels from the top left.

    Attributes:
        width, height: Size in pixels.
        title: Description for screen readers.
        variant: Name of the theme.
    """

    width: int
    height: int
    title: str
    variant: Variant
    parts: list[str] = field(default_factory=list)

    @property
    def theme(self) -> Theme:
        """Colors of the drawing's variant."""
        return THEMES[self.variant]

    def box(self, x: float, y: float, width: float, height: float, kind: str = "plain", radius: float = 6) -> None:
        """Draw a rectangle with round corners."""
        fill, border = self.theme.fills[kind]
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" fill="{fill}" '
            f'stroke="{border}" stroke-width="1.4"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 14,
        faint: bool = False,
        bold: bool = False,
        anchor: str = "middle",
        mono: bool = False,
    ) -> None:
        """Write one line; y is its baseline."""
        color = self.theme.faint if faint else self.theme.text
        style = ' font-weight="600"' if bold else ""
        style += " font-family=\"ui-monospace, 'DejaVu Sans Mono', monospace\"" if mono else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{color}" text-anchor="{anchor}"{style}>'
            f"{escape(text)}</text>"
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, *, arrow: bool = False, dashed: bool = False, kind: str = ""
    ) -> None:
        """Draw a straight line."""
        color = self.theme.fills[kind][1] if kind else self.theme.faint
        style = ' stroke-dasharray="5 4"' if dashed else ""
        style += ' marker-end="url(#arrow)"' if arrow else ""
        self.parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{color}" stroke-width="1.6"{style}/>'
        )

    def svg(self) -> str:
        """Return the SVG document as text."""
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" font-family="{FONT}">',
                f"<title>{escape(self.title)}</title>",
                '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
                f'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="{self.theme.faint}"/></marker></defs>',
                *self.parts,
                "</svg>\n",
            ]
        )
