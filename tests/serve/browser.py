"""Debian's Chromium, driven by playwright: what the tests of the pages open them in. `make browser` brings both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_BROWSER = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: make browser")]


def needs_browser(test: Any) -> Any:
    """As a decorator, what `pytestmark = NEEDS_BROWSER` is for a whole file."""
    for mark in NEEDS_BROWSER:
        test = mark(test)
    return test


@contextmanager
def launched() -> Iterator[Any]:
    """A browser. While it is open, nothing else in this thread can run an event loop."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visitor(browser: Any, width: int, height: int, seconds: float = 20, **context: Any) -> Iterator[Any]:
    """A new visitor's page, which has not met an error when it is closed; each thing waited for comes within some seconds."""
    errors: list[str] = []
    opened = browser.new_context(viewport={"width": width, "height": height}, **context)
    page = opened.new_page()
    page.set_default_timeout(1000 * seconds)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    opened.close()
    assert errors == []
