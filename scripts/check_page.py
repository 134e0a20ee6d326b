"""Check an HTML page of a run in headless Chromium, as a phone and a large screen show it, light and dark.

    python scripts/check_page.py runs/NAME/report.html
    python scripts/check_page.py runs/NAME/report.html --axe package/axe.min.js

Checks that every image is loaded, that nothing is wider than the screen, and that nothing is fetched from elsewhere.
With axe-core (`npm pack axe-core`, and extract it), also its accessibility rules. Exits with 1 if there is a violation.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

SCREENS = tuple((width, scheme) for width in (400, 1400) for scheme in ("light", "dark"))
"""Widths in CSS pixels, and color schemes."""
TIMEOUT_S = 300
CHECK = """
const found = [...document.images].filter(one => !one.naturalWidth).map(one => "image not loaded: " + one.alt);
if (document.documentElement.scrollWidth > window.innerWidth)
  found.push(`wider than the screen: ${document.documentElement.scrollWidth} px`);
for (const one of performance.getEntriesByType("resource"))
  if (!one.name.startsWith("data:")) found.push("fetched: " + one.name);
const rules = window.axe ? axe.run().then(result => result.violations) : Promise.resolve([]);
rules.then(violations => {
  for (const one of violations)
    found.push(`${one.id} (${one.impact}, ${one.nodes.length} elements): ${one.nodes[0].html.slice(0, 160)}`);
  document.body.setAttribute("data-found", JSON.stringify(found));
});
"""


def check_page(page: Path, width: int, scheme: str, axe: Path | None = None) -> list[str]:
    """Return the violations of a page on a screen, each in one line.

    Args:
        page: The HTML file.
        width: Width of the window in CSS pixels.
        scheme: `light` or `dark`.
        axe: axe-core's script; None: accessibility is not checked.

    Raises:
        RuntimeError: Chromium has not shown the page.
    """
    text = page.read_text(encoding="utf-8")
    # The page's own policy forbids the scripts that examine it; what it would fetch is then seen instead of blocked.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    if scheme == "dark":
        text = text.replace("@media (prefers-color-scheme:dark)", "@media all")
    scripts = [*([axe.read_text(encoding="utf-8")] if axe else []), f'addEventListener("load", () => {{{CHECK}}})']
    text = text.replace("</body>", "".join(f"<script>{script}</script>" for script in scripts) + "</body>")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "page.html"
        copy.write_text(text, encoding="utf-8")
        command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},2000"]
        command += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=30000", "--dump-dom", copy.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout
    match = re.search(r'data-found="([^"]*)"', shown)
    if match is None:
        raise RuntimeError(f"{page}: Chromium has not shown the page.")
    found: list[str] = json.loads(html.unescape(match[1]))
    return found


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.argument("pages", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--axe", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="axe.min.js of axe-core.")
def main(pages: tuple[Path, ...], axe: Path | None) -> None:
    """Check pages, and print the violations of each."""
    if shutil.which("chromium") is None:
        raise click.UsageError("Chromium is not installed (apt-get install chromium).")
    n_found = 0
    for page in pages:
        for width, scheme in SCREENS:
            found = check_page(page, width, scheme, axe)
            n_found += len(found)
            click.echo(f"{page}, {width} px, {scheme}: {len(found)} violations")
            for one in found:
                click.echo(f"  {one}")
    sys.exit(1 if n_found else 0)


if __name__ == "__main__":
    main()
