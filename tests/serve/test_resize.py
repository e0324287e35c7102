"""The page prepares photographs as Pillow does, and proves what the library proves: its JavaScript, run by Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bagnet.certificates.certify import certificate_of
from bagnet.certificates.patch import Patch
from bagnet.data.names import ClassName, ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.evidence import Evidence
from bagnet.geometry import Box, Geometry
from bagnet.serve.web import PAGE, height_first

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node")


def run(tmp_path: Path, script: str, *arguments: str) -> str:
    """What a script prints that imports from the page."""
    file = tmp_path / "script.mjs"
    file.write_text(script.replace("PAGE", PAGE.as_uri()), encoding="utf-8")
    assert NODE is not None
    modules = {
        name: (PAGE / name).read_text(encoding="utf-8") for name in ("resize.js", "geometry.js", "certificate.js", "evidence.js")
    }
    for name, text in modules.items():
        (tmp_path / name.replace(".js", ".mjs")).write_text(text, encoding="utf-8")
    done = subprocess.run([NODE, str(file), *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


SCRIPT = """
import { readFileSync, writeFileSync } from 'node:fs';
import { prepared } from './resize.mjs';
const cases = JSON.parse(readFileSync('cases.json'));
console.log(JSON.stringify(cases.map(({ file, width, height, preprocessing }) => {
  const input = prepared(new Uint8Array(readFileSync(file)), width, height, preprocessing);
  writeFileSync(`${file}.out`, input.pixels);
  return [input.width, input.height, input.placement];
})));
"""


def test_pixels_are_those_of_pillow(tmp_path: Path) -> None:
    """To the last bit, for smaller and larger images, all filters, crops inside and beyond the image."""
    shapes = [(61, 47), (300, 200), (33, 90), (40, 40)]
    steps = [
        Preprocessing(40, None, "bilinear"),
        Preprocessing(40, None, "bicubic"),
        Preprocessing(37, 32, "lanczos"),
        Preprocessing(30, 35, "bicubic"),
        Preprocessing(None, 29),
        Preprocessing(None, None),
    ]
    cases, expected = [], []
    for number, ((width, height), step) in enumerate((shape, step) for shape in shapes for step in steps):
        image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8))
        (tmp_path / str(number)).write_bytes(np.asarray(image.convert("RGBA")).tobytes())
        cases.append(
            {
                "file": str(number),
                "width": width,
                "height": height,
                "preprocessing": {**step.to_dict(), "height_first": height_first()},
            }
        )
        expected.append((np.asarray(step._resized_and_cropped(image)), step.placement(image.size)))
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    results = json.loads(run(tmp_path, SCRIPT))
    for case, (pixels, placement), (width, height, found) in zip(cases, expected, results, strict=True):
        assert (height, width) == pixels.shape[:2] == placement.input_size
        assert np.array_equal(np.frombuffer((tmp_path / f"{case['file']}.out").read_bytes(), np.uint8), pixels.ravel()), case
        for name, axis in (("horizontal", placement.horizontal), ("vertical", placement.vertical)):
            assert found[name] == {key: getattr(axis, key) for key in ("source", "resized", "start", "length")}


GEOMETRY = """
import { Geometry } from './geometry.mjs';
const [shape, length, pixels] = JSON.parse(process.argv[2]);
const geometry = new Geometry(shape);
const touching = pixels.map(([start, stop]) => geometry.touching(start, stop, length));
console.log(JSON.stringify([geometry.cells(length), touching, geometry.runs(length)]));
"""


@pytest.mark.parametrize("shape", [(17, 8, 0), (8, 4, 0), (9, 8, -4), (6, 8, 0)])
def test_windows_lie_where_the_library_has_them(shape: tuple[int, int, int], tmp_path: Path) -> None:
    size, stride, origin = shape
    geometry, length = Geometry(*shape), 45
    pixels = [(start, start + width) for start in range(-3, 50, 4) for width in (1, 9)]
    asked = json.dumps([{"size": size, "stride": stride, "origin": origin}, length, pixels])
    cells, touching, runs = json.loads(run(tmp_path, GEOMETRY, asked))
    assert (cells, cells) == geometry.grid(length, length)
    for (start, stop), (first, last) in zip(pixels, touching, strict=True):
        box = geometry.cells_touching(Box(start, start, stop, stop), length, length)
        assert last - first == box.width
        assert not box.width or (first, last) == (box.left, box.right)
    assert [start for start, *_ in runs] == [0, *(stop for _, stop, *_ in runs[:-1])]
    for start, stop, first, last in runs:
        for pixel in range(start, stop):
            held = [cell for cell in range(cells) if 0 <= pixel - geometry.window(0, cell).left < size]
            assert held == list(range(first, last))


PROBABILITIES = """
import { Evidence } from './evidence.mjs';
const values = Float32Array.from([1, 3, -1, 0, 4, 2]);
const shares = (more) => Array.from(new Evidence({ values, rows: 1, columns: 2, classes: 3, ...more }).probabilities);
console.log(JSON.stringify([shares({}), shares({ temperature: 2.5 }), shares({ temperature: 2.5, multilabel: true })]));
"""


def test_probabilities_are_at_the_temperature(tmp_path: Path) -> None:
    """Of logits 2, -0.5 and 3."""
    plain, warm, several = json.loads(run(tmp_path, PROBABILITIES))
    logits = np.array([2, -0.5, 3])
    assert plain == pytest.approx(np.exp(logits) / np.exp(logits).sum())
    assert warm == pytest.approx(np.exp(logits / 2.5) / np.exp(logits / 2.5).sum())
    assert several == pytest.approx(1 / (1 + np.exp(-logits / 2.5)))


CERTIFICATE = """
import { readFileSync } from 'node:fs';
import { certificate } from './certificate.mjs';
import { Geometry } from './geometry.mjs';
import { radius } from './resize.mjs';
const cases = JSON.parse(readFileSync('cases.json'));
console.log(JSON.stringify(cases.map(({ values, shape, placement, geometry, share, interpolation }) => {
  const [count, rows, columns] = shape;
  const evidence = { values: Float32Array.from(values), count, rows, columns };
  return certificate({ evidence, placement }, new Geometry(geometry), share, radius(interpolation));
})));
"""


def test_certificates_are_the_librarys(tmp_path: Path) -> None:
    """Verdict, answer, margin, worst place: of random evidence with a class that leads by little, on prepared photographs."""
    cases, expected = [], []
    random = np.random.default_rng(0)
    for number in range(60):
        geometry = Geometry(*[(17, 8, 0), (8, 4, 0), (9, 8, -4)][number % 3])
        step = Preprocessing(*[(56, None), (60, 48), (40, 50), (None, None)][number % 4], "bicubic" if number % 2 else "bilinear")
        size = (int(random.integers(60, 130)), int(random.integers(60, 130)))
        placement, share = step.placement(size), [0.005, 0.02, 0.06][number % 3]
        values = random.normal(0, 1, (4, *geometry.grid(*placement.input_size))).astype(np.float32)
        values[number % 4] += random.uniform(0, 1.5)
        axes = {name: getattr(placement, name) for name in ("horizontal", "vertical")}
        cases.append(
            {
                "values": values.ravel().tolist(),
                "shape": values.shape,
                "placement": {
                    name: {key: getattr(axis, key) for key in ("source", "resized", "start", "length")}
                    for name, axis in axes.items()
                },
                "geometry": {"size": geometry.size, "stride": geometry.stride, "origin": geometry.origin},
                "share": share,
                "interpolation": step.interpolation,
            }
        )
        classes = ClassNames([ClassName((word,)) for word in "abcd"])
        logits = values.mean((1, 2), dtype=np.float64).astype(np.float32)
        evidence = Evidence(values, logits, geometry, placement, classes, Image.new("RGB", size))
        try:
            expected.append(certificate_of(evidence, Patch(share=share), "voting"))
        except ValueError:
            expected.append(None)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    verdicts = json.loads(run(tmp_path, CERTIFICATE))
    assert {verdict and verdict["certified"] for verdict in verdicts} == {None, True, False}
    for verdict, proof in zip(verdicts, expected, strict=True):
        if proof is None:
            assert verdict is None
            continue
        assert (verdict["certified"], "abcd"[verdict["label"]]) == (proof.certified, proof.name)
        assert verdict["margin"] == pytest.approx(proof.margin, abs=1e-6)
        worst = Box(*(verdict["worst"][edge] for edge in ("left", "top", "right", "bottom")))
        assert (worst, "abcd"[verdict["rival"]]) == (proof.worst, proof.rival)
