"""Pages of the servers: HTML files with one style sheet, and a Content-Security-Policy for each answer."""

from __future__ import annotations

import secrets
from importlib.resources import files


def read_page(name: str, policy: str) -> tuple[str, str]:
    """Return an HTML file of this package, and its Content-Security-Policy.

    Args:
        name: Name of the file, with `{{style}}` for the style sheet and `{{nonce}}` for a random number.
        policy: Sources that the page may load in addition to its own style and scripts, which have the nonce.
    """
    folder, nonce = files("cnncli.serving"), secrets.token_urlsafe(12)
    text, style = (folder.joinpath(file).read_text(encoding="utf-8") for file in (name, "pages.css"))
    page = text.replace("{{style}}", style.rstrip()).replace("{{nonce}}", nonce)
    return page, f"{policy}; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'"
