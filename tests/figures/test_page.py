"""The skeleton of pages: everything escaped, everything inside, by day and by night."""

from __future__ import annotations

import io
from base64 import b64decode
from importlib.resources import files

import jinja2
import pytest
from PIL import Image

from bagnet.figures.colours import DARK_PAGE, PAGE
from bagnet.figures.page import data_uri, render

ROOMS = {
    "bagnet.figures": ("base.css", "page.css", "page.html", "parts.html"),
    "bagnet.training": ("report.html",),
    "bagnet.studies.audit": ("audit.html",),
    "bagnet.studies.paper": ("paper.html", "paper.md"),
}


def skeleton(title: str) -> str:
    return render("bagnet.figures", "page.html", title=title)


@pytest.mark.parametrize("room", ROOMS)
def test_templates_lie_in_the_package(room: str) -> None:
    assert sorted(path.name for path in (files(room) / "templates").iterdir()) == sorted(ROOMS[room])


def test_the_title_is_escaped() -> None:
    text = skeleton("<cats> & 'dogs'")
    assert "<title>&lt;cats&gt; &amp; &#39;dogs&#39;</title>" in text
    assert "<h1>&lt;cats&gt; &amp; &#39;dogs&#39;</h1>" in text
    assert "<cats>" not in text


def test_phones_and_both_colour_schemes() -> None:
    text = skeleton("title")
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "@media (max-width:" in text
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    for name in PAGE:
        assert f"--{name}: {PAGE[name]};" in light
        assert f"--{name}: {DARK_PAGE[name]};" in dark


def test_every_colour_that_is_used_has_a_value() -> None:
    text = skeleton("title")
    used = {part.split(")")[0] for part in text.split("var(--")[1:]}
    assert used <= PAGE.keys()


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("bagnet.figures", "page.html")


def test_markdown_is_not_escaped() -> None:
    text = render("bagnet.studies.paper", "paper.md", title="a < b", note="", sections=[], figures="", machines=["x & y"])
    assert text.startswith("# a < b\n\nBrackets are")
    assert "Measured on x & y." in text


def test_pictures_are_inside() -> None:
    picture = Image.new("RGB", (3, 2), (10, 200, 30))
    head, content = data_uri(picture).split(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(b64decode(content))) as opened:
        assert (opened.size, opened.getpixel((2, 1))) == ((3, 2), (10, 200, 30))
    assert data_uri(b64decode(content)) == data_uri(picture)
