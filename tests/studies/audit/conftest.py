"""The images of `colours`, what an audit of them says, and the steps on the way there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bagnet.data.labelled import open_labelled
from bagnet.data.labels import LabelledImages
from bagnet.runs.store import Store, claim
from bagnet.studies.audit.decisive import Decisive, Task, find_decisive
from bagnet.studies.audit.findings import Audit
from bagnet.studies.audit.run import audit

from .colours import colour_bagnet, folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("images") / "data")


@pytest.fixture(scope="session")
def audited(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    """The result, and the folder it was written to."""
    out = tmp_path_factory.mktemp("report") / "new"
    return audit(colour_bagnet(), data, out, workers=0), out


@pytest.fixture(scope="session")
def images(data: Path) -> LabelledImages:
    return open_labelled(data, "val")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with claim(tmp_path / "unfinished", {}) as claimed:
        yield claimed


@pytest.fixture
def task(images: LabelledImages) -> Task:
    model = colour_bagnet()
    return Task(model, images, [0, 1], model.transform, windows=3, seed=0, batch_size=8, workers=0)


@pytest.fixture
def decisive(task: Task, store: Store) -> Decisive:
    return find_decisive(task, store, None)
