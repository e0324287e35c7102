"""Pages of HTML that need no other file: one skeleton, one style sheet, pictures inside; and the templates of all rooms."""

from __future__ import annotations

import io
from base64 import b64encode
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image

from .colours import DARK_PAGE, PAGE
from .words import counted, percent, signed


def render(room: str, template: str, **values: Any) -> str:
    """Fill in a template of a room. A page of HTML extends `page.html`, and finds its parts in `parts.html`.

    Args:
        room: the package that has it in its folder `templates`.
        template: name of the file; in one that ends in .html all values are escaped.
        values: by the names that the template has for them.

    Raises:
        jinja2.UndefinedError: the template asks for a value that is not there.
    """
    return _environment(room).get_template(template).render(light=PAGE, dark=DARK_PAGE, **values)


def data_uri(picture: Image.Image | bytes) -> str:
    """A picture, or the content of a PNG file, as an address that holds all of it."""
    if isinstance(picture, Image.Image):
        file = io.BytesIO()
        picture.save(file, "PNG", optimize=True)
        picture = file.getvalue()
    return f"data:image/png;base64,{b64encode(picture).decode()}"


def _environment(room: str) -> Environment:
    loaders = ChoiceLoader([PackageLoader(room), PackageLoader(__package__)])
    environment = Environment(
        loader=loaders,
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(counted=counted, data_uri=data_uri, number="{:,}".format, percent=percent, signed=signed)
    return environment
