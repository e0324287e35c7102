"""What holds of every runtime in the registry: a new one is tested by being listed."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module

import pytest
from torch import nn

from bagnet.engine.program import CannotRun
from bagnet.engine.runtimes import PRECISIONS, RUNTIMES, ways_to_run
from bagnet.engine.runtimes.runner import Options


@pytest.fixture(params=RUNTIMES)
def name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_it_is_listed_by_its_name(name: str) -> None:
    assert RUNTIMES[name].name == name


def test_its_runner_is_a_class_in_this_folder(name: str) -> None:
    file, _, runner = RUNTIMES[name].runner.partition(":")
    runner_class = getattr(import_module(f"bagnet.engine.runtimes.{file}"), runner)
    assert callable(runner_class.apply)
    assert callable(runner_class.pooled)


def test_its_precisions_are_known_and_float32_is_among_them(name: str) -> None:
    assert RUNTIMES[name].precisions
    for device, precisions in RUNTIMES[name].precisions.items():
        assert device in ("cpu", "cuda")
        assert set(precisions) <= set(PRECISIONS)
        assert len(set(precisions)) == len(precisions)
        assert "float32" in precisions


def test_its_options_are_those_of_runners(name: str) -> None:
    assert set(RUNTIMES[name].options) <= {field.name for field in fields(Options)} - {"device"}


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "tpu"])
def test_what_it_does_not_run_is_refused_in_one_line(name: str, device: str) -> None:
    able = RUNTIMES[name].precisions.get(device.split(":")[0], ())
    for precision in {*PRECISIONS, "fp8"} - set(able):
        with pytest.raises(CannotRun, match=rf"^{name} on .*, not {precision}") as caught:
            RUNTIMES[name].run(nn.Identity(), precision, Options(device))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_all_ways_to_run_are_those_of_the_runtimes(device: str) -> None:
    ways = ways_to_run(device)
    assert len(set(ways)) == len(ways)
    assert set(ways) == {(name, precision) for name in RUNTIMES for precision in RUNTIMES[name].precisions.get(device, ())}
    assert ("torch", "float32") in ways
    assert ways_to_run("tpu") == []


@pytest.mark.parametrize(
    ("runtime", "precision", "device", "message"),
    [
        ("onnxruntime", "bf16", "cpu", "onnxruntime on the CPU runs float32, not bf16; torch and openvino can"),
        ("torch", "int8", "cpu", "torch on the CPU runs float32, mixed, bf16, not int8; openvino can"),
        ("torch", "int8", "cuda:0", "torch on CUDA runs float32, tf32, mixed, bf16, not int8"),
        ("openvino", "bf16", "cuda", "openvino on CUDA does not run, not bf16; torch can"),
    ],
)
def test_the_refusal_says_who_can(runtime: str, precision: str, device: str, message: str) -> None:
    with pytest.raises(CannotRun) as caught:
        RUNTIMES[runtime].run(nn.Identity(), precision, Options(device))
    assert str(caught.value) == message
