"""bagnet doctor"""

from __future__ import annotations

import json

import pytest

from bagnet.bench import doctor
from bagnet.bench.doctor import Check

from .conftest import Run


def test_what_is_not_here_has_its_remedy_and_what_is_broken_an_exit_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Check("extra serve", "not here", "no fastapi", "pip install 'bagnet[serve]'")
    monkeypatch.setattr(doctor, "checkup", lambda _: [Check("torch", "works", "2.9"), lacking])
    result = run("doctor")
    assert result.code == 0
    assert result.out.splitlines()[-1] == "extra serve: pip install 'bagnet[serve]'"
    monkeypatch.setattr(doctor, "checkup", lambda _: [Check("cache", "broken", "cannot be written", "another")])
    result = run("doctor", "--json")
    assert result.code == 1
    assert json.loads(result.out) == [{"name": "cache", "state": "broken", "detail": "cannot be written", "remedy": "another"}]
