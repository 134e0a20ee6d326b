"""The HTML pages of the servers, with their common style sheet."""

from __future__ import annotations

import re

import pytest

from cnncli.serving.pages import read_page


@pytest.mark.parametrize("name", ["label_review.html", "prediction_page.html"])
def test_a_page_is_complete(name: str) -> None:
    """No placeholder is left, the style and the script have the nonce of the policy, and all colors are defined."""
    page, policy = read_page(name, "default-src 'none'")
    nonce = re.findall("'nonce-([^']+)'", policy)

    assert "{{" not in page
    assert re.findall('<(?:style|script) nonce="([^"]+)">', page) == nonce
    assert set(re.findall(r"var\((--[\w-]+)\)", page)) <= set(re.findall(r"(--[\w-]+):", page))
