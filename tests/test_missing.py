"""A missing package is named with the command that brings it; what fails inside a package says so itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bagnet.missing import needs


def test_what_is_installed_is_imported() -> None:
    assert needs("json", "export") is json


def test_a_missing_package_and_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"^this needs the package 'nowhere_at_all': pip install 'bagnet\[slides\]'$"):
        needs("nowhere_at_all", "slides")
    with pytest.raises(ImportError, match=r"^this needs the package 'nowhere_at_all\.part': pip install"):
        needs("nowhere_at_all.part", "slides")
    monkeypatch.setitem(sys.modules, "wave", None)  # as though it were not there
    with pytest.raises(ImportError, match=r"'wave': pip install 'bagnet\[export\]'"):
        needs("wave", "export")


def test_what_a_package_itself_lacks_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import nowhere_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere_at_all'"):
        needs("half_installed", "export")
