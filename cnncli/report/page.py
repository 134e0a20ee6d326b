"""Self-contained HTML pages: style, tables, charts and images in one file that loads nothing from elsewhere.

Charts consist of a scaled SVG for lines and of HTML for text, so that they fit a phone and a large screen alike. Colors
follow the light or dark mode of the reader, and differ for color-blind readers.
"""

from __future__ import annotations

import base64
import html
import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnncli.errors import ImageError
from cnncli.images.bands import preview
from cnncli.images.decode import PixelSpec, decode
from cnncli.terminal.formatting import counted

THUMBNAIL_PX = 224
"""Side of the square images on a page."""
N_COLORS = 7
MAX_TICKS = 6
LEAST_SPAN = 0.01
"""Smallest range of an axis of fractions."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content-Security-Policy of the pages: nothing but what they contain."""

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c1e21;--soft:#5c6370;--line:#dfe2e7;--card:#f5f6f8;--shade:#0005;
--good:#0b6e4f;--bad:#b3261e;--c0:#0072b2;--c1:#c44e00;--c2:#00795a;--c3:#a3487e;--c4:#8a6100;--c5:#3a7ca8;--c6:#444}
@media (prefers-color-scheme:dark){:root{--paper:#14161a;--ink:#e8eaed;--soft:#a3a9b4;--line:#343941;--card:#1d2026;
--shade:#fff5;
--good:#4fd1a1;--bad:#ff8a80;--c0:#56b4e9;--c1:#f2954e;--c2:#35cfa0;--c3:#e59ac6;--c4:#ecc24a;--c5:#9fd3f5;--c6:#ccc}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:64rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.5rem 0 .75rem}
p{margin:.5rem 0;max-width:46rem}code{font-size:.9em;overflow-wrap:anywhere}.lead{font-size:1.1rem}
.soft,figcaption,footer{color:var(--soft)}
footer{margin-top:3rem;font-size:.85rem;border-top:1px solid var(--line);padding-top:1rem}
.scroll{overflow-x:auto;margin:.75rem 0;
background:linear-gradient(90deg,var(--paper) 40%,transparent) left/3rem 100% local no-repeat,
linear-gradient(270deg,var(--paper) 40%,transparent) right/3rem 100% local no-repeat,
linear-gradient(90deg,var(--shade),transparent) left/.8rem 100% no-repeat,
linear-gradient(270deg,var(--shade),transparent) right/.8rem 100% no-repeat}
.scroll:focus-visible,pre:focus-visible{outline:2px solid var(--c0)}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:100%}
th,td{padding:.4rem .8rem .4rem 0;text-align:left;border-bottom:1px solid var(--line);vertical-align:top;
white-space:nowrap}
th{font-weight:600}tbody th{white-space:normal;overflow-wrap:anywhere;min-width:6rem;max-width:16rem}
thead th{color:var(--soft);font-weight:500}.number{text-align:right}
.wrap td,.wrap th{white-space:normal;min-width:5rem}.wrap td{overflow-wrap:anywhere}
.wrap th{overflow-wrap:break-word}
.dots{display:grid;grid-template-columns:minmax(6rem,14rem) 1fr;gap:.35rem 1rem;align-items:center}
.dots{margin-right:1.4rem}.dots .name{overflow-wrap:anywhere}
.track{position:relative;height:2rem;border-bottom:1px solid var(--line)}
.lane{position:absolute;inset:0;height:1.1rem}.lane+.lane{top:.75rem}.lane:only-child{top:.45rem}
.whisker{position:absolute;top:.5rem;height:2px;background:currentColor}
.dot{position:absolute;width:.7rem;height:.7rem;border-radius:50%;background:currentColor;border:2px solid currentColor}
.track .dot{top:.18rem;margin-left:-.35rem}.plot .dot{margin:0 0 -.35rem -.35rem}.hollow{background:var(--paper)}
.scale{position:relative;height:1.5rem;font-size:.8rem;color:var(--soft)}.scale span{position:absolute;translate:-50%;
white-space:nowrap}
figcaption.title{font-weight:600;color:var(--ink);margin-top:1.25rem}figure.chart{margin:0 0 1.25rem}
.plot{position:relative;height:17rem;margin:1.5rem 1.6rem 2rem 3.4rem;
border:solid var(--line);border-width:0 0 1px 1px}
.plot svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.plot path{fill:none;stroke:currentColor;stroke-width:2;vector-effect:non-scaling-stroke}
.plot .grid{stroke:var(--line);stroke-width:1}
.plot .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 3}.dashed{stroke-dasharray:6 4}
.plot.low{height:4.5rem}
.bar{position:absolute;bottom:0;min-height:2px;background:var(--c0);border:solid var(--paper);border-width:0 1px}
.tick{position:absolute;font-size:.8rem;color:var(--soft);white-space:nowrap}
.tick.y{right:calc(100% + .4rem);translate:0 50%}
.tick.x{top:calc(100% + .2rem);translate:-50%}.tick.mark{bottom:calc(100% + .15rem);margin-left:.2rem}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;margin:0 0 .75rem;list-style:none;font-size:.9rem}
.legend .dot{position:static;display:inline-block;color:var(--soft)}
.legend i{display:inline-block;width:1.6rem;border-top:3px solid;margin-right:.4rem;vertical-align:middle}
.legend i.dashed{border-top-style:dashed}
.images{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:1.25rem 1rem;margin:0;padding:0}
.images figure{margin:0;font-size:.85rem;break-inside:avoid}.images img{width:100%;aspect-ratio:1;
display:block;background:var(--card);border-radius:.4rem;object-fit:cover}
.gone{font-size:.85rem;columns:20rem;padding-left:1.2rem}.gone li{break-inside:avoid;overflow-wrap:anywhere}
.images figcaption{margin-top:.35rem;overflow-wrap:anywhere}.images b{color:var(--ink)}
.images.pairs{grid-template-columns:repeat(auto-fill,minmax(17rem,1fr))}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:.25rem}
.verdict{font-size:1.25rem;max-width:none}.verdict b{font-size:2.6rem;line-height:1.1;font-variant-numeric:tabular-nums}
img.wide{max-width:100%;height:auto;background:#fff;border-radius:.4rem}.matrix td,.matrix th{padding:.4rem .8rem}
pre{overflow:auto;background:var(--card);padding:1rem;
border-radius:.4rem;font-size:.85rem;line-height:1.4;max-height:16rem}
.good{color:var(--good)}.bad{color:var(--bad)}
@media (max-width:40rem){.dots{grid-template-columns:1fr;gap:0;margin:0 1.3rem}.dots .name{margin-left:-1.3rem}
.dots div:empty{display:none}
main{padding:1.25rem 1rem 3rem}th,td{padding-right:.5rem;font-size:.9rem}
thead th{white-space:normal;vertical-align:bottom}
.plot{margin-left:2.9rem;margin-right:1.2rem}.images{grid-template-columns:repeat(auto-fill,minmax(8rem,1fr))}}
@media print{main{max-width:none;padding:0}
body{font-size:11pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
.scroll{overflow:visible;background:none}pre{max-height:none;white-space:pre-wrap;font-size:7.5pt;columns:2}
h2,section>p:not(:last-child){break-after:avoid}h2,p{break-inside:avoid}
h2::after{content:"";display:block;height:8rem;margin-bottom:-8rem}
section:has(.images)>h2::after{height:18rem;margin-bottom:-18rem}
tr,.dots,.legend,figure.chart,table:not(:has(tr:nth-child(12))){break-inside:avoid}.plot{height:10rem}.plot.low{height:4.5rem}}
"""


def html_page(title: str, body: str, footer: str, refresh_s: int | None = None) -> str:
    """Return a page; `title` and `footer` are texts, `body` is HTML. The page reloads after `refresh_s`, if given."""
    refresh = "" if refresh_s is None else f'<meta http-equiv="refresh" content="{refresh_s}">'
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        f'content="{POLICY}">'
        f"{refresh}<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n<footer>{escape(footer)}</footer>\n</main></body></html>\n"
    )


def escape(text: object) -> str:
    """Return a text as HTML.

    Control characters and lone surrogates, which file names can contain, are replaced. A number stays with its `%`.
    """
    plain = "".join(sign if sign.isprintable() or sign == " " else "�" for sign in str(text))
    plain = re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", plain)
    return html.escape(plain.encode("utf-8", "replace").decode("utf-8"))


def section(title: str, *parts: str) -> str:
    """Return a section of HTML under a heading, or nothing if all parts are empty."""
    return f"<section><h2>{escape(title)}</h2>\n{''.join(parts)}</section>\n" if any(parts) else ""


def paragraph(text: str, style: str = "") -> str:
    """Return a paragraph. Text between backticks is code."""
    code = re.sub("`([^`]*)`", r"<code>\1</code>", escape(text))
    return f'<p class="{style}">{code}</p>\n' if style else f"<p>{code}</p>\n"


def html_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1, *, wraps: bool = False
) -> str:
    """Return a table that scrolls on a narrow screen, or whose texts wrap.

    Columns after the first `texts` are aligned as numbers. There is no head if no column has a name.
    """
    kinds = ["" if place < texts else ' class="number"' for place in range(len(columns))]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for name, kind in zip(columns, kinds, strict=True))
    lines = []
    for first, *cells in rows:
        others = "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(cells, kinds[1:], strict=True))
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{others}</tr>\n')
    names = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    table = f"<table{' class=wrap' if wraps else ''}>{names}<tbody>\n{''.join(lines)}</tbody></table>"
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}">{table}</div>\n'


@dataclass(frozen=True)
class Dot:
    """A value with its interval in a dot plot; `is_hollow` distinguishes a second kind."""

    value: float
    low: float
    high: float
    text: str
    is_hollow: bool = False


def dot_plot(rows: Sequence[tuple[str, Sequence[Dot]]], kinds: Sequence[tuple[str, bool]]) -> str:
    """Return a row for each name with its dots and whiskers on a common scale of fractions.

    `kinds` are the names of the kinds of dots, and whether they are hollow.
    """
    dots = [dot for _, found in rows for dot in found]
    if not dots:
        return ""
    ticks = fraction_ticks(min(dot.low for dot in dots), max(dot.high for dot in dots))
    low, high = ticks[0], ticks[-1]

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    lines = []
    for place, (name, found) in enumerate(rows):
        marks = "".join(
            f'<span class="lane"><span class="whisker" style="left:{at(dot.low)};right:calc(100% - {at(dot.high)})">'
            f'</span><span class="dot{" hollow" if dot.is_hollow else ""}" style="left:{at(dot.value)}"></span></span>'
            for dot in found
        )
        label = escape(", ".join(dot.text for dot in found))
        color = f"color:var(--c{place % N_COLORS})"
        lines.append(
            f'<div class="name">{escape(name)}</div>'
            f'<div class="track" role="img" aria-label="{label}" title="{label}" style="{color}">{marks}</div>\n'
        )
    scale = "".join(f'<span style="left:{at(tick)}">{_tick_text(tick, is_fraction=True)}</span>' for tick in ticks)
    scale = f'<div></div><div class="scale" aria-hidden="true">{scale}</div>'
    names = [(f'<span class="dot{" hollow" if hollow else ""}"></span> ', name) for name, hollow in kinds]
    legend = "".join(f"<li>{mark if len(kinds) > 1 else ''}{escape(name)}</li>" for mark, name in names)
    return f'<div class="dots">\n{"".join(lines)}{scale}</div>\n<ul class="legend">{legend}</ul>\n'


@dataclass(frozen=True)
class Line:
    """A line of a chart: the number of its color, and its points; NaN is left out.

    With `intervals` of y, one for each point, the points are dots with whiskers, which no line connects.
    """

    name: str
    color: int
    x: Sequence[float]
    y: Sequence[float]
    is_dashed: bool = False
    intervals: Sequence[tuple[float, float]] = ()

    @property
    def is_dots(self) -> bool:
        """Whether the points are dots: they have intervals, or there is only one."""
        return bool(self.intervals) or len(self.points) == 1

    @property
    def points(self) -> list[tuple[float, float]]:
        """The points with numbers."""
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if math.isfinite(x) and math.isfinite(y)]


def line_chart(
    title: str,
    x_title: str,
    lines: Sequence[Line],
    *,
    is_fraction: bool,
    x_is_fraction: bool = False,
    x_is_log: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Return a chart of lines; a line with a single point is a dot. `marks` are positions on the x axis with names.

    An axis without a range spans the points. If `x_is_log`, x are decimal logarithms of what is shown on the axis.
    """
    points = [point for line in lines for point in line.points]
    if not points:
        return ""
    y_range = y_range or (min(y for _, y in points), max(y for _, y in points))
    y_ticks = (fraction_ticks if is_fraction else ticks_between)(*y_range)
    left, right = x_range or (min(x for x, _ in points), max(x for x, _ in points))
    x_ticks = ticks_between(left, right)
    needs_integers = x_is_log or x_title == "epoch"
    x_ticks = [tick for tick in x_ticks if left <= tick <= right and (not needs_integers or tick.is_integer())]
    bottom, top = y_ticks[0], y_ticks[-1]

    def x_text(tick: float) -> str:
        return f"{10**tick:g}" if x_is_log else _tick_text(tick, x_is_fraction)

    def at(x: float, y: float) -> tuple[float, float]:
        return 100 * (x - left) / (right - left or 1), 100 * (y - bottom) / (top - bottom)

    grid = "".join(f'<path class="grid" d="M0 {100 - at(left, tick)[1]:.2f}H100"/>' for tick in y_ticks)
    grid += "".join(f'<path class="mark" d="M{at(x, bottom)[0]:.2f} 0V100"/>' for x, _ in marks if left < x < right)
    paths, dots = "", ""
    for line in lines:
        places, color = [at(*point) for point in line.points], f"color:var(--c{line.color % N_COLORS})"
        if line.is_dots:
            hollow = " hollow" if line.is_dashed else ""
            for x, y in places:
                dots += f'<span class="dot{hollow}" style="{color};left:{x:.2f}%;bottom:{y:.2f}%"></span>'
            for (x, _), (low, high) in zip(places, line.intervals, strict=bool(line.intervals)):
                ends = f"M{x:.2f} {100 - at(left, low)[1]:.2f}V{100 - at(left, high)[1]:.2f}"
                paths += f'<path style="{color}" d="{ends}"/>'
        else:
            path = " ".join(f"{x:.2f} {100 - y:.2f}" for x, y in places)
            paths += f'<path{" class=dashed" if line.is_dashed else ""} style="{color}" d="M{path}"/>'
    texts = "".join(
        f'<span class="tick y" style="bottom:{at(left, tick)[1]:.2f}%">{_tick_text(tick, is_fraction)}</span>'
        for tick in y_ticks
    ) + "".join(
        f'<span class="tick x" style="left:{at(tick, bottom)[0]:.2f}%">{x_text(tick)}</span>' for tick in x_ticks
    )
    texts += "".join(
        f'<span class="tick mark" style="left:{max(0.0, at(x, bottom)[0]):.2f}%">{escape(name)}</span>'
        for x, name in marks
    )
    legend = "".join(f"<li>{_legend_mark(line)}{escape(line.name)}</li>" for line in lines if line.points)
    svg = f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{grid}{paths}</svg>'
    plot = f'<div class="plot" role="img" aria-label="{escape(title)}">{svg}{dots}{texts}</div>'
    caption = f'<figcaption class="title">{escape(title)}, over {escape(x_title)}</figcaption>'
    legend = f'<ul class="legend">{legend}</ul>' if len(lines) > 1 else ""
    return f'<figure class="chart">{caption}{plot}{legend}</figure>\n'


def _legend_mark(line: Line) -> str:
    color = f'style="color:var(--c{line.color % N_COLORS})"'
    if line.is_dots:
        return f'<span class="dot{" hollow" if line.is_dashed else ""}" {color}></span> '
    return f"<i{' class=dashed' if line.is_dashed else ''} {color}></i>"


def fraction_histogram(title: str, x_title: str, bars: Sequence[tuple[float, float, int]], low: float) -> str:
    """Return a low chart of counts, `(from, to, count)`, over fractions from `low` to 1."""
    most = max((n for *_, n in bars), default=0)
    if not most:
        return ""

    def at(x: float) -> float:
        return 100 * (max(x, low) - low) / (1 - low)

    columns = "".join(
        f'<span class="bar" title="{escape(f"{100 * start:.1f}–{100 * end:.1f} %: {n:,}")}" '
        f'style="left:{at(start):.2f}%;width:{at(end) - at(start):.2f}%;height:{100 * n / most:.2f}%"></span>'
        for start, end, n in bars
        if n
    )
    ticks = "".join(
        f'<span class="tick x" style="left:{at(tick):.2f}%">{_tick_text(tick, is_fraction=True)}</span>'
        for tick in ticks_between(low, 1.0)
        if tick >= low
    )
    ticks += "".join(f'<span class="tick y" style="bottom:{place}%">{n:,}</span>' for place, n in ((0, 0), (100, most)))
    plot = f'<div class="plot low" role="img" aria-label="{escape(title)}">{columns}{ticks}</div>'
    caption = f'<figcaption class="title">{escape(title)}, over {escape(x_title)}</figcaption>'
    return f'<figure class="chart">{caption}{plot}</figure>\n'


def _tick_text(tick: float, is_fraction: bool) -> str:
    return escape(f"{100 * tick:.4g} %" if is_fraction else f"{tick:.4g}").replace("-", "−")


def fraction_ticks(low: float, high: float) -> list[float]:
    """Return round fractions from at most `low` to at least `high`, two or more, between 0 and 1.

    >>> fraction_ticks(1.0, 1.0)
    [0.99, 0.992, 0.994, 0.996, 0.998, 1.0]
    """
    if high - low < LEAST_SPAN:
        low = min(max(0.0, (low + high - LEAST_SPAN) / 2), 1 - LEAST_SPAN)
        high = low + LEAST_SPAN
    return ticks_between(max(0.0, low), min(high, 1.0))


def ticks_between(low: float, high: float) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, two or more.

    >>> ticks_between(0.913, 0.988)
    [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]
    """
    if high <= low:
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / (MAX_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def image_uri(path: Path, spec: PixelSpec, fit: Literal["stretch", "crop", "pad"] = "pad") -> str | None:
    """Return an image, whose colors `spec` describes, as a small square JPEG; None if it can no longer be read."""
    try:
        pixels = decode(path, replace(spec, height=THUMBNAIL_PX, width=THUMBNAIL_PX, fit=fit), name=str(path))
    except ImageError:
        return None
    return pixels_uri(preview(pixels))


def pixels_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an image, uint8 (height, width, 3), as a JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return data_uri(file.getvalue(), "jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """Return the content of an image file of a kind, such as png."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def image_grid(images: Iterable[tuple[Path, Sequence[str | None], str, str]], instead: str = "") -> str:
    """Return a grid of figures.

    Args:
        images: For each figure the file, the data of one or two images, the alternative text and the caption as HTML.
            Figures without data, because the file can no longer be read, are listed by their captions below the grid.
        instead: HTML to show above the list if no file can be read.
    """
    figures, gone, most = [], [], 1
    for path, uris, text, caption in images:
        if not all(uris):
            gone.append((path, caption))
            continue
        most = max(most, len(uris))
        shown = "".join(f'<img alt="{escape(text)}" src="{uri}">' for uri in uris)
        shown = f'<div class="pair">{shown}</div>' if len(uris) > 1 else shown
        figures.append(f"<figure>{shown}<figcaption>{caption}</figcaption></figure>\n")
    kind = "images pairs" if most > 1 else "images"
    grid = f'<div class="{kind}">\n{"".join(figures)}</div>\n' if figures else ""
    return grid + (_gone(gone, "" if figures else instead) if gone else "")


def _gone(images: Sequence[tuple[Path, str]], instead: str) -> str:
    """Return how many files can no longer be read, the path of one, other HTML, and their captions as a list."""
    example = f"{', such as' if len(images) > 1 else ':'} `{images[0][0]}`."
    text = paragraph(f"{counted(len(images), 'image')} can no longer be read{example}", "soft")
    items = "".join(f"<li>{caption.replace('<br>', ' · ')}</li>\n" for _, caption in images)
    return f'{text}{instead}<ul class="gone">\n{items}</ul>\n'
