"""What the documentation says can be done can be done: its Python runs, its commands parse, its links lead somewhere."""

from __future__ import annotations

import ast
import csv
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import torch
import typer
from PIL import Image
from torch import nn

import bagnet
from bagnet.cli import app
from bagnet.data.transforms import Preprocessing
from bagnet.slides.outputs import write_outputs

from . import scene

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "generated")]
QUICK = {"README.md"}  # the pages whose Python takes a few seconds
ELSEWHERE = "needs the network"  # a comment before a block whose weights are fetched
_BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:)(?P<path>[^)#]+)(?:#[^)]*)?\)")
_ERROR = re.compile(r"# (?P<error>\w+Error): (?P<message>.*)")
_NUMBER = re.compile(r"\d[\d.e-]*")  # of rounding, which differs from processor to processor


def blocks(page: Path, language: str) -> Iterator[str]:
    """Those of a page that can be tried here."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        if match["language"] == language and ELSEWHERE not in text[: match.start()].rstrip().splitlines()[-1]:
            yield match["text"]


def named(pages: list[Path], quick: set[str] | None = None) -> list[Any]:
    """Parameters of a test; those of pages that are not quick are slow."""
    slow = [] if quick is None else [page for page in pages if page.name not in quick]
    marked = {page: [pytest.mark.slow] for page in slow}
    return [pytest.param(page, id=str(page.relative_to(ROOT)), marks=marked.get(page, [])) for page in pages]


@pytest.fixture
def desk(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pages take for granted: photographs, a folder of labelled ones, models, and some names."""
    photos = Path(skimage.__file__).parent / "data"
    monkeypatch.chdir(tmp_path)
    for name in ("dog.jpg", "a.jpg", "b.jpg"):
        Image.open(photos / "chelsea.png").save(name)
    shutil.copy(photos / "coffee.png", "coffee.png")
    for label, name in (("cat", "chelsea.png"), ("cup", "coffee.png")):
        for split, count in (("train", 4), ("val", 1)):
            for number in range(count):
                folder = Path("photos", split, label)
                folder.mkdir(parents=True, exist_ok=True)
                Image.open(photos / name).resize((300 + number, 200)).save(folder / f"{number}.jpg")
    for number in (1, 3):
        photograph = Path(f"retina/val/referable/test-IDRiD_{number:03}.jpg")
        photograph.parent.mkdir(parents=True, exist_ok=True)
        Image.open(photos / "chelsea.png").save(photograph)
    Path("pictures").mkdir()
    head = {"num_classes": 2, "classes": ["not referable", "referable"]}
    retina = Path("runs/retina/windowed96s48.mine.safetensors")
    retina.parent.mkdir(parents=True)
    bagnet.windowed(bagnet.load("default", **head), 96, 48).save(retina)  # type: ignore[arg-type]
    if page == scene.PAGE:
        mapped_earth()
    coffee = np.asarray(Image.open("coffee.png").convert("RGB"))
    return {"bagnet": bagnet, "torch": torch, "images": bagnet.load().transform("coffee.png")[None], "bgr": coffee[..., ::-1]}


def mapped_earth() -> None:
    """The folder `map`, as the tutorial of scenes has it, by the mean colour of each window; and what lies beside it."""
    rasterio = pytest.importorskip("rasterio")
    pixels = scene.made_earth(Path("relief"))
    with Path("areas.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(scene.areas()[0]))
        writer.writeheader()
        writer.writerows(scene.areas())
    height, width, _ = pixels.shape
    where = {"crs": "EPSG:4326", "transform": rasterio.transform.from_bounds(-180, -90, 180, 90, width, height)}
    with rasterio.open("earth.tif", "w", width=width, height=height, count=3, dtype="uint8", **where) as file:
        file.write(np.moveaxis(pixels, 2, 0))
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, len(scene.CLASSES)))
    model = bagnet.windowed(network.eval(), 9, 4, scale="native", classes=scene.CLASSES, preprocessing=Preprocessing(None, None))
    write_outputs(bagnet.slide(model, "earth.tif", scene.CLASSES, "map"), ["cog", "geojson"])


@pytest.mark.parametrize("page", named([page for page in PAGES if any(blocks(page, "python"))], QUICK))
def test_python_runs(page: Path, desk: dict[str, Any]) -> None:
    for block in blocks(page, "python"):
        if "openvino" in block:
            pytest.importorskip("openvino")
        lines = block.splitlines()
        for statement in ast.parse(block).body:
            code = compile(ast.Module([statement], []), str(page), "exec")
            end = statement.end_lineno or 0
            expected = _ERROR.match(lines[end]) if end < len(lines) else None
            if expected is None:
                exec(code, desk)
            else:
                with pytest.raises(getattr(__builtins__, expected["error"], Exception)) as raised:
                    exec(code, desk)
                assert type(raised.value).__name__ == expected["error"]
                said, promised = (_NUMBER.sub("0", text) for text in (str(raised.value), expected["message"]))
                assert said[:30] == promised[:30]


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of each `bagnet` command on a page, and of those inside `torchrun`."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\||;", line.split("  #")[0]):
                words = shlex.split(part, comments=True)
                if "bagnet" in words and not {"pip", "import"} & set(words):
                    yield words[words.index("bagnet") + 1 :]


@pytest.mark.parametrize("page", named([page for page in PAGES if any(command_lines(page))]))
def test_commands_parse(page: Path) -> None:
    for words in command_lines(page):
        command, *arguments = words
        group: Any = typer.main.get_command(app)
        context = group.make_context("bagnet", words, resilient_parsing=True)
        while hasattr(group, "commands"):
            assert command in group.commands, f"{page.name}: there is no bagnet {command}"
            group = group.commands[command]
            if hasattr(group, "commands"):
                command, *arguments = arguments
        if arguments != ["--help"]:
            group.make_context(command, list(arguments), parent=context)  # raises where an option is unknown, or a value none


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = page.parent / match["path"]
        assert target.exists(), f"{page.name}: {match['path']}"
        if page.is_relative_to(ROOT / "docs"):
            assert target.resolve().is_relative_to(ROOT / "docs"), f"{match['path']} is not part of the site"


def test_every_page_is_in_the_contents_and_every_name_in_the_reference() -> None:
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES[1:]:
        assert str(page.relative_to(ROOT / "docs")) in contents
    listed = re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.MULTILINE)
    objects = [getattr(bagnet, name) for name in bagnet.__all__]
    assert sorted(listed) == sorted(f"{thing.__module__}.{thing.__qualname__}" for thing in objects)


def test_generated_pages_have_every_command_and_every_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "generate", generate)
    spec.loader.exec_module(generate)
    monkeypatch.setattr(generate, "OUT", tmp_path)
    generate.main()
    commands = (tmp_path / "commands.md").read_text(encoding="utf-8")
    assert "## bagnet models verify" in commands
    assert "| `--patch SIZE` | `2%` | Size of the patch" in commands
    results = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert results.count("\n## ") == len(generate.TABLES)
    assert re.search(r"\| lite0 \| 128 \| 448 \| 64.0 \| 36 \| [\d.]+ \| 250 \| 81.6 \| 95.6 \|", results)
