"""Work on a cluster gives the numbers of one process, whatever happens to its nodes."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bagnet
from bagnet import cluster
from bagnet.cluster import NoCluster, evaluate_on, predict_on, slide_on
from bagnet.data.names import UnknownClass
from bagnet.model import BagNet
from bagnet.progress import Progress
from bagnet.runs.store import Busy
from bagnet.weights import storable, write

from .engine.classifiers import small_bagnet
from .evaluation.colours import folder_of

MODEL_CALLS: list[str] = []


def model_called(name: str) -> str:
    MODEL_CALLS.append(name)
    return f"model {name}"


def test_a_worker_builds_a_model_once() -> None:
    MODEL_CALLS.clear()
    done: list[Any] = []

    def work(model: str, shard: tuple[int, int], folder: Path) -> None:
        done.append((model, shard, folder))

    for number in (1, 2):
        cluster._do(pickle.dumps(partial(model_called, "a")), work, (number, 2), Path(str(number)))
    assert done == [("model a", (1, 2), Path("1")), ("model a", (2, 2), Path("2"))]
    assert MODEL_CALLS == ["a"]


def test_a_worker_waits_for_a_dead_one_to_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PAUSE", 0.0)
    tries: list[int] = []

    def work(*_: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise Busy("another run is writing it")

    cluster._do(pickle.dumps(partial(model_called, "b")), work, (1, 1), Path())
    assert len(tries) == 3
    monkeypatch.setattr(cluster, "PATIENCE", -1.0)
    tries.clear()
    with pytest.raises(Busy):
        cluster._do(pickle.dumps(partial(model_called, "b")), work, (1, 1), Path())


def test_as_many_parts_whatever_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [cluster._count(images) for images in (1, 255, 600, 10**6)] == [1, 1, 2, cluster.MOST]
    monkeypatch.chdir(tmp_path)
    assert cluster._absolute("hub:name") == "hub:name"
    assert cluster._absolute(Path("photos")) == str(tmp_path / "photos")
    assert cluster._absolute(["a.jpg", tmp_path / "b.jpg"]) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]


def test_what_is_wrong_is_said_before_a_cluster_is_asked(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.zeros((60, 60, 3), np.uint8))
    with pytest.raises(UnknownClass):
        slide_on("nowhere", small_bagnet, tmp_path / "image.npy", ["zebra"], tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        slide_on("nowhere", small_bagnet, tmp_path / "none.npy", ["dog"], tmp_path / "out")
    with pytest.raises(ValueError, match="tables end in"):
        predict_on("nowhere", small_bagnet, tmp_path, tmp_path / "out.txt")
    (tmp_path / "out.csv").touch()
    with pytest.raises(FileExistsError, match=r"out\.csv: is there already"):
        predict_on("nowhere", small_bagnet, tmp_path, tmp_path / "out.csv")
    with pytest.raises(FileNotFoundError):
        evaluate_on("nowhere", small_bagnet, tmp_path / "none", tmp_path / "report")


def test_nobody_listens_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for asked in (address, f"ray://{address}"):
            with pytest.raises(NoCluster, match=rf"{asked}: no Ray cluster answers there \(.*; start it with ray start --head"):
                cluster._check_answer(asked)
        free.listen()
        cluster._check_answer(address)
    cluster._check_answer("auto")


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A cluster of three nodes, a core each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    for _ in range(2):
        started.add_node(num_cpus=1)
    yield started
    started.shutdown()


@pytest.fixture
def build(tmp_path: Path) -> partial[BagNet]:
    write(tmp_path / "model.safetensors", *storable(small_bagnet()))
    return partial(bagnet.load, str(tmp_path / "model.safetensors"))


@pytest.mark.slow
def test_a_node_is_killed_and_the_numbers_are_those_of_one_process(nodes: Any, build: partial[BagNet], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", random.integers(0, 256, (9000, 1500, 3), np.uint8))
    victims = [node for node in nodes.list_all_nodes() if node is not nodes.head_node]
    parts: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.done and len(victims) == 2:
            import ray

            end = time.monotonic() + 10
            while ray.available_resources().get("CPU", 0) > 0 and time.monotonic() < end:
                time.sleep(0.05)
            assert ray.available_resources().get("CPU", 0) == 0, "all nodes are at work"
            nodes.remove_node(victims.pop(), allow_graceful=False)
        parts.append(progress.total or 0)

    result = slide_on(nodes.address, build, tmp_path / "image.npy", ["dog", "cow"], tmp_path / "out", progress=kill)
    assert len(victims) == 1, "a node was killed on the way"
    assert parts[-1] > 3
    whole = bagnet.slide(build(), tmp_path / "image.npy", ["dog", "cow"], tmp_path / "whole")
    assert (tmp_path / "out" / "evidence.npy").read_bytes() == (tmp_path / "whole" / "evidence.npy").read_bytes()
    assert result.logits == pytest.approx(whole.logits, abs=1e-6 * float(np.abs(whole.logits).max()))
    assert not (tmp_path / "out.parts").exists()

    photos = folder_of(tmp_path / "photos", {"dog": ["red"] * 2, "cow": ["blue"] * 3}, side=40)
    for path in photos.rglob("*.png"):
        Image.fromarray(random.integers(0, 256, (300, 300, 3), np.uint8)).save(path)
    (photos / "val" / "dog" / "0.png").write_bytes(b"broken")
    options = {"batch_size": 1, "workers": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "IMAGES", 2)
        summary = predict_on(nodes.address, build, photos, tmp_path / "table.csv", **options)
        evaluation = evaluate_on(nodes.address, build, photos, tmp_path / "report", **options)
    assert (summary.images, len(summary.bad)) == (5, 1)
    bagnet.predict(build(), photos, tmp_path / "whole.csv", **options)
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    alone = bagnet.evaluate(build(), photos, **options)
    assert np.array_equal(evaluation.scores, alone.scores)
    assert evaluation.bad == alone.bad
    np.save(tmp_path / "small.npy", np.zeros((5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="too small"):
        slide_on(nodes.address, build, tmp_path / "small.npy", ["dog"], tmp_path / "other")


@pytest.mark.slow
def test_no_cluster_there(build: partial[BagNet], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    np.save(tmp_path / "image.npy", np.zeros((60, 60, 3), np.uint8))
    with pytest.raises(NoCluster, match="auto: no Ray cluster answers there"):
        slide_on("auto", build, tmp_path / "image.npy", ["dog"], tmp_path / "out")
