"""What clients are answered."""

from __future__ import annotations

import struct
import threading
import zlib
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import bagnet
from bagnet.model import BagNet
from bagnet.serve import batches
from bagnet.serve.app import application
from bagnet.serve.limits import Limits

from .conftest import picture

PNG = {"Content-Type": "image/png"}
# The header of 60,000 x 60,000 pixels, of which none follow.
_IHDR = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
HUGE = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + _IHDR + struct.pack(">I", zlib.crc32(_IHDR)) + b"\0\0\0\0IDAT"


def test_the_answer_is_the_librarys(client: TestClient, model: BagNet) -> None:
    expected = bagnet.explain(model, picture())
    answer = client.post("/v1/explain?class=bee&class=4&count=3", content=picture(), headers=PNG).json()
    assert [entry["name"] for entry in answer["predictions"]] == [entry.name for entry in expected.top(3)]
    np.testing.assert_allclose([entry["logit"] for entry in answer["predictions"]], [entry.logit for entry in expected.top(3)])
    assert [(entry["index"], entry["name"]) for entry in answer["maps"]] == [(1, "bee"), (4, "elk")]
    np.testing.assert_allclose(answer["maps"][0]["values"], expected.map("bee"))
    assert np.mean(answer["maps"][0]["values"]) == pytest.approx(answer["maps"][0]["logit"], abs=1e-5)
    rows, columns = expected.values.shape[1:]
    assert answer["grid"] == {"size": 17, "stride": 8, "origin": 0, "rows": rows, "columns": columns}
    assert answer["horizontal"] == {"source": 60, "resized": 48, "start": 0, "length": 48}
    assert answer["all_maps"] is None


def test_the_certificate_is_the_librarys(client: TestClient, model: BagNet) -> None:
    """Of a patch that is named; what cannot be certified is told."""
    for patch in ("1%", "3photo", "9x5photo"):
        expected = bagnet.certify(model, picture(180, 50), patch)
        answer = client.post(f"/v1/explain?patch={patch.replace('%', '%25')}", content=picture(180, 50), headers=PNG).json()
        proof = answer["certificate"]
        assert (proof["certified"], proof["name"], proof["rival"]) == (expected.certified, expected.name, expected.rival)
        assert str(model.classes[proof["index"]]) == proof["name"]
        assert proof["margin"] == pytest.approx(expected.margin)
        assert proof["worst"] == list(expected.worst_place)
    assert client.post("/v1/explain", content=picture(), headers=PNG).json()["certificate"] is None
    for patch, reason in (("huge", "is no size of a patch"), ("500photo", "larger than the image"), ("40photo", "leave none")):
        refused = client.post(f"/v1/explain?patch={patch}", content=picture(), headers=PNG)
        assert refused.status_code == 400
        assert reason in refused.json()["detail"]


def test_all_maps_as_bytes(client: TestClient, model: BagNet) -> None:
    expected = bagnet.explain(model, picture())
    maps = client.post("/v1/explain?all=true", content=picture(), headers=PNG).json()["all_maps"]
    values = np.frombuffer(b64decode(maps["values"]), "<f4").reshape(maps["shape"])
    np.testing.assert_array_equal(values, expected.values)
    np.testing.assert_array_equal(np.frombuffer(b64decode(maps["logits"]), "<f4"), expected.logits)
    assert maps["classes"] == [0, 1, 2, 3, 4]


def test_the_best_classes_of_a_form(client: TestClient, model: BagNet) -> None:
    answer = client.post("/v1/classify?count=1", files={"image": ("../../etc/passwd", picture())}).json()
    best = bagnet.explain(model, picture()).top(1)[0]
    assert answer["predictions"] == [
        {"index": best.index, "name": best.name, "logit": best.logit, "probability": best.probability}
    ]


def test_requests_side_by_side_get_their_own_answers(model: BagNet) -> None:
    """Of several sizes, which are not seen together."""
    images = [picture(60 + 10 * (seed % 3), 50, seed) for seed in range(12)]
    expected = [bagnet.explain(model, image).top(1)[0].logit for image in images]
    with TestClient(application(model, Limits(waiting=12))) as client, ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(client.post, "/v1/classify?count=1", content=image, headers=PNG) for image in images]
        logits = [future.result().json()["predictions"][0]["logit"] for future in asked]
    np.testing.assert_allclose(logits, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("path", "request_", "code", "words"),
    [
        ("/v1/explain", {"content": b"", "headers": PNG}, 400, "there are no bytes"),
        ("/v1/explain", {"content": b"/etc/hostname", "headers": PNG}, 400, "not an image of a known kind"),
        ("/v1/explain", {"content": picture()[:500], "headers": PNG}, 400, "broken or incomplete"),
        ("/v1/explain", {"content": picture(3, 3), "headers": PNG}, 400, "too small"),
        ("/v1/explain?class=fox", {"content": picture(), "headers": PNG}, 400, "fox"),
        ("/v1/explain", {"content": bytes(128) + b"DICM", "headers": PNG}, 400, "DICOM is read from files, not by the service"),
        ("/v1/explain", {"files": {"image": b"GIF89a"}}, 400, "not an image of a known kind"),
        ("/v1/explain", {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ("/v1/explain", {"content": picture(101, 100), "headers": PNG}, 413, "at most 10,000 pixels, this one 10,100"),
        ("/v1/explain", {"content": HUGE, "headers": PNG}, 413, "at most 10,000 pixels"),
        ("/v1/classify", {"content": picture(400, 20), "headers": PNG}, 413, "would get 32,000 pixels of this image of 400 x 20"),
        ("/v1/explain?prepared=1", {"content": picture(3, 3), "headers": PNG}, 400, "too small"),
        ("/v1/explain", {"content": bytes(200_001), "headers": PNG}, 413, "at most 200,000 bytes"),
        ("/v1/explain", {"content": iter([bytes(150_000)] * 2), "headers": PNG}, 413, "at most 200,000 bytes"),
        ("/v1/explain", {"files": {"image": bytes(200_000)}}, 413, "at most 200,000 bytes"),
        ("/v1/classify", {"content": picture(), "headers": {"Content-Type": "text/plain"}}, 415, "send an image file"),
        ("/v1/classify", {"files": {"photo": picture()}}, 422, "no file called 'image'"),
        ("/v1/classify", {"data": {"image": "dog.jpg"}, "files": {"photo": b""}}, 422, "no file called 'image'"),
        ("/v1/classify?count=0", {"content": picture(), "headers": PNG}, 422, "greater than or equal to 1"),
    ],
)
def test_what_is_refused(client: TestClient, path: str, request_: dict[str, Any], code: int, words: str) -> None:
    refused = client.post(path, **request_)
    assert (refused.status_code, words in refused.text) == (code, True), refused.text


def test_too_many_at_once_are_told_to_come_back(model: BagNet, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Semaphore(0)
    explain_batch = batches.explain_batch

    def slow(*arguments: Any) -> Any:
        begun.release()
        go_on.wait()
        return explain_batch(*arguments)

    monkeypatch.setattr(batches, "explain_batch", slow)
    with TestClient(application(model, Limits(waiting=1))) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/classify", content=picture(), headers=PNG)
        begun.acquire()
        second = client.post("/v1/classify", content=picture(), headers=PNG)
        go_on.set()
        assert first.result().status_code == 200
    assert second.status_code == 429
    assert second.headers["Retry-After"] == "1"
    assert second.json()["detail"] == "1 requests are waiting: come back later"


def test_an_answer_that_takes_too_long(model: BagNet, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(batches, "explain_batch", lambda *_: [go_on.wait()])
    with TestClient(application(model, Limits(seconds=0.1))) as client:
        late = client.post("/v1/classify", content=picture(), headers=PNG)
        go_on.set()
    assert late.status_code == 429
    assert "not answered within 0.1 seconds" in late.json()["detail"]


def test_the_token(model: BagNet) -> None:
    with TestClient(application(model, token="s3cret")) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/v1/models", "/metrics"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer wrong"}).headers["WWW-Authenticate"] == "Bearer"
            assert client.get(path, headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert client.post("/v1/classify", content=picture(), headers=PNG).status_code == 401


def test_pages_of_other_sites_cannot_ask_under_their_name(model: BagNet) -> None:
    with TestClient(application(model, hosts=("localhost",)), base_url="http://evil.example") as client:
        assert client.get("/v1/models").status_code == 400
        assert client.get("/v1/models", headers={"Host": "localhost:8000"}).status_code == 200


def test_what_is_served_and_counted(client: TestClient) -> None:
    (served,) = client.get("/v1/models").json()["models"]
    assert (served["window"], served["stride"], served["classes"]) == (17, 8, ["ape", "bee", "cow", "dog", "elk"])
    client.post("/v1/classify", content=picture(), headers=PNG)
    client.post("/v1/classify", content=b"?", headers=PNG)
    client.get("/nowhere")
    counted = client.get("/metrics").text
    for line in (
        'bagnet_requests_total{route="/v1/classify",status="200"} 1.0',
        'bagnet_requests_total{route="/v1/classify",status="400"} 1.0',
        'bagnet_requests_total{route="other",status="404"} 1.0',
        "bagnet_batch_images_count 1.0",
        "bagnet_requests_inside 0.0",
    ):
        assert line in counted


def test_the_page_is_served_at_the_root(model: BagNet, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>here</title>")
    (tmp_path.parent / "secret.txt").write_text("secret")
    with TestClient(application(model, page=tmp_path)) as client:
        assert "here" in client.get("/").text
        assert client.get("/../secret.txt").status_code == 404
        assert client.get("/%2e%2e/secret.txt").status_code == 404
        assert client.get("/v1/models").status_code == 200
        for path in ("/v1/explain", "/v1/classify"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
