"""Optional packages: imported where they are needed, and named with the command that brings them where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needs(package: str, extra: str) -> Any:
    """Import a package that one of bagnet's extras brings.

    Raises:
        ImportError: it is not installed; the message has the pip command.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package.split(".", maxsplit=1)[0]:
            raise
        raise ImportError(f"this needs the package {package!r}: pip install 'bagnet[{extra}]'") from None
