"""The results of `bagnet paper` as a page of Markdown with its figures, as docs/paper/ has them.

python benchmarks/paper_results.py paper/ docs/paper/tiny-imagenet.md --title "The paper on Tiny-ImageNet"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image

from bagnet.studies.paper.catalogue import NAMES
from bagnet.studies.paper.experiment import RESULT
from bagnet.studies.paper.page import markdown

WIDEST = 1500  # pixels of a figure
COLOURS = 128  # of a figure: drawings need few, photographs are seen small


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", type=Path, help="the folder that `bagnet paper` wrote")
    options.add_argument("page", type=Path, help="the page to write; figures go into a folder of its name beside it")
    options.add_argument("--title", required=True)
    options.add_argument("--note", default="", help="what else is to be said at the top")
    asked = options.parse_args()
    records = [json.loads(path.read_text()) for name in NAMES if (path := asked.results / name / RESULT).is_file()]
    if not records:
        raise SystemExit(f"{asked.results}: has no results of bagnet paper")
    figures = asked.page.with_suffix("")
    figures.mkdir(parents=True, exist_ok=True)
    for record in records:
        for name in record["figures"]:
            shrink(asked.results / record["experiment"] / f"{name}.png", figures / f"{name}.png")
    asked.page.write_text(markdown(records, asked.title, asked.note, figures.name), encoding="utf-8")
    print(f"-> {asked.page}: {len(records)} experiments")


def shrink(source: Path, target: Path) -> None:
    """A figure in as many bytes as a page needs."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
