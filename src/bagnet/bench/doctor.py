"""What is installed here, what works, and what to do about the rest."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, Literal

import numpy as np
import torch
from packaging.requirements import Requirement

from ..architecture import Architecture
from ..engine.prepare import prepare
from ..engine.program import CannotRun
from ..engine.runtimes import ways_to_run
from ..evidence import explain
from ..model import BagNet
from ..progress import Listener, Progress, unheard
from ..zoo.fetch import cache_folder
from ..zoo.load import load
from .machine import machine

State = Literal["works", "not here", "broken"]
_SMALL = Architecture((1, 1, 0, 0), (2, 2, 1, 1), (1, 1, 1, 1), 16, num_classes=10)  # a network that is run in a blink
_TOLERANCES = {"float32": 1e-4}  # of the largest logit; other precisions are asked for because they round
_COARSE = 0.2


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was tried.

    Args:
        name: of it.
        state: "works"; "not here": it needs something that is not installed or that this processor lacks; "broken": it should
            work, and does not.
        detail: what was seen.
        remedy: what to type or do about it; "" where nothing is to be done.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


def checkup(progress: Listener = unheard) -> list[Check]:
    """Try everything once, in seconds, offline.

    Args:
        progress: told after each check.
    """
    steps: list[tuple[str, Callable[[], Iterator[Check]]]] = [
        ("system", _system),
        ("packages", _packages),
        ("bundled model", _bundled),
        ("runtimes", _runtimes),
        ("cache", _cache),
        ("page", _page),
    ]
    checks: list[Check] = []
    for done, (stage, step) in enumerate(steps):
        progress(Progress(stage, done, len(steps)))
        try:
            checks += step()
        except Exception as error:  # a broken installation raises anything; what the rest says is worth hearing then
            checks.append(Check(stage, "broken", f"{type(error).__name__}: {' '.join(str(error).split())}", _REINSTALL))
    progress(Progress("done", len(steps), len(steps)))
    return checks


_REINSTALL = "pip install --force-reinstall bagnet"


def _system() -> Iterator[Check]:
    about = machine()
    yield Check("python", "works", f"{about['python']} in {sys.prefix}")
    yield Check("processor", "works", f"{about['processor']}, {about['cores']} cores, {about['instructions']}")
    yield Check("torch", "works", version("torch"))
    if torch.cuda.is_available():
        yield Check("cuda", "works", torch.cuda.get_device_name())
    else:
        yield Check("cuda", "not here", "torch sees no CUDA device: everything runs on the processor")


def _packages() -> Iterator[Check]:
    """Of the package itself and of each of its extras, whether all is installed, and new enough."""
    needed: dict[str, list[Requirement]] = {}
    for line in requires("bagnet") or []:
        requirement = Requirement(line)
        match = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if requirement.name != "bagnet":
            needed.setdefault(match[1] if match else "", []).append(requirement)
    for extra, requirements in needed.items():
        lacking = [problem for requirement in requirements if (problem := _lacking(requirement))]
        title, install = (f"extra {extra}", f"pip install 'bagnet[{extra}]'") if extra else ("packages", _REINSTALL)
        if lacking:
            yield Check(title, "not here" if extra else "broken", ", ".join(lacking), install)
        else:
            yield Check(title, "works", f"{len(requirements)} {'package' if len(requirements) == 1 else 'packages'}")


def _lacking(requirement: Requirement) -> str:
    """What is wrong with an installed package, or ""."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"no {requirement.name}"
    fits = requirement.specifier.contains(installed, prereleases=True)
    return "" if fits else f"{requirement.name} {installed}, not {requirement.specifier}"


def _bundled() -> Iterator[Check]:
    """The default explains a picture, and its map adds up."""
    model = load()
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    evidence = explain(model, picture)
    best = evidence.top(1)[0]
    yield Check("bundled model", "works", f"{evidence.model}: its map adds up to the logit ({best.logit:+.2f})")


def _runtimes() -> Iterator[Check]:
    """Each runtime in each precision on a small network, beside torch in float32."""
    torch.manual_seed(0)
    model = BagNet(_SMALL).eval()
    x = torch.randn(2, 3, 33, 33)
    with torch.inference_mode():
        exact = model(x)
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for runtime, precision in ways_to_run(device):
            yield _way(model.to(device), x, exact, runtime, precision, "" if device == "cpu" else " on CUDA")


def _way(model: BagNet, x: torch.Tensor, exact: torch.Tensor, runtime: str, precision: str, where: str) -> Check:
    name = f"{runtime} {precision}{where}"
    options: dict[str, Any] = {"calibration": x} if precision == "int8" else {}
    try:
        fast = prepare(model, runtime, precision, **options)
        difference = float((fast(x).cpu() - exact).abs().max() / exact.abs().max())
    except ImportError as error:
        return Check(name, "not here", f"{runtime} is not installed", str(error).partition(": ")[2])
    except CannotRun as error:
        return Check(name, "not here", str(error))
    detail = f"runs in {fast.precision}, {difference:.1e} of the largest logit away"
    fits = difference <= _TOLERANCES.get(precision, _COARSE)
    return Check(name, "works" if fits else "broken", detail, "" if fits else f"use another precision, and report this: {name}")


def _cache() -> Iterator[Check]:
    folder = cache_folder()
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(nearest, os.W_OK):
        free = shutil.disk_usage(nearest).free / 1e9
        yield Check("cache", "works", f"{folder}, {free:.0f} GB free")
    else:
        yield Check("cache", "broken", f"{folder} cannot be written", "name another folder in $BAGNET_CACHE")


def _page() -> Iterator[Check]:
    """`bagnet export --web` fetches the runtime of the browser by npm."""
    npm = shutil.which("npm")
    if npm:
        yield Check("npm", "works", npm)
    else:
        yield Check("npm", "not here", "export --web and serve --slide fetch what their pages load with it", "install Node.js")
