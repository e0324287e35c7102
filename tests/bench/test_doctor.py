"""What the doctor says of a machine that lacks something, and of one that is broken."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

from bagnet.bench import doctor
from bagnet.bench.doctor import Check, checkup
from bagnet.engine.program import CannotRun

INSTALLED = {"numpy": "2.3.0", "onnx": "1.10", "captum": "0.9.0"}


def installed(name: str) -> str:
    if name not in INSTALLED:
        raise PackageNotFoundError(name)
    return INSTALLED[name]


def test_extras_are_here_where_every_package_is_and_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=2.0", "onnx>=1.17; extra == 'export'", "nncf>=2; extra == 'export'", "captum>=0.7; extra == 'compare'"]
    monkeypatch.setattr(doctor, "requires", lambda _: [*needed, "bagnet[export]; extra == 'dev'"])
    monkeypatch.setattr(doctor, "version", installed)
    assert list(doctor._packages()) == [
        Check("packages", "works", "1 package"),
        Check("extra export", "not here", "onnx 1.10, not >=1.17, no nncf", "pip install 'bagnet[export]'"),
        Check("extra compare", "works", "1 package"),
    ]
    monkeypatch.setattr(doctor, "requires", lambda _: ["scipy>=1.13"])
    assert list(doctor._packages()) == [Check("packages", "broken", "no scipy", doctor._REINSTALL)]


def test_each_way_to_run_is_compared_with_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "ways_to_run", lambda _: [("torch", "float32")])
    (check,) = doctor._runtimes()
    assert (check.name, check.state, check.remedy) == ("torch float32", "works", "")


@pytest.mark.parametrize(
    ("error", "check"),
    [
        (
            ImportError("this needs the package 'openvino': pip install 'bagnet[export]'"),
            Check("openvino bf16", "not here", "openvino is not installed", "pip install 'bagnet[export]'"),
        ),
        (CannotRun("this processor has no bf16"), Check("openvino bf16", "not here", "this processor has no bf16")),
    ],
)
def test_what_cannot_run_is_not_here(error: Exception, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "ways_to_run", lambda _: [("openvino", "bf16")])
    monkeypatch.setattr(doctor, "prepare", refuse)
    assert list(doctor._runtimes()) == [check]


def test_a_runtime_whose_answers_are_others_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any, **__: Any) -> Any:
        answer = type("Wrong", (), {"precision": "float32", "__call__": lambda _, x: torch.full((len(x), 10), 99.0)})
        return answer()

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "ways_to_run", lambda _: [("openvino", "float32")])
    monkeypatch.setattr(doctor, "prepare", wrong)
    (check,) = doctor._runtimes()
    assert (check.state, check.remedy) == ("broken", "use another precision, and report this: openvino float32")


def test_a_check_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("the file is\ncut short")

    for step in ("_system", "_packages", "_runtimes", "_cache", "_page"):
        monkeypatch.setattr(doctor, step, lambda: iter(()))
    monkeypatch.setattr(doctor, "_bundled", fail)
    told: list[int] = []
    checks = checkup(lambda progress: told.append(progress.done))
    assert checks == [Check("bundled model", "broken", "OSError: the file is cut short", doctor._REINSTALL)]
    assert told == [*range(7)]


def test_a_cache_that_cannot_be_written_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAGNET_CACHE", str(tmp_path / "cache"))
    (check,) = doctor._cache()
    assert check.state == "works"
    monkeypatch.setattr(os, "access", lambda *_: False)
    (check,) = doctor._cache()
    assert (check.state, check.remedy) == ("broken", "name another folder in $BAGNET_CACHE")
