"""The results of `bagnet paper` as a page of Markdown with its figures, as docs/paper/ has them.

python benchmarks/paper_results.py paper/ docs/paper/tiny-imagenet.md --title "The paper on Tiny-ImageNet"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image

from bagnet.studies.paper.catalogue import NAMES
from bagnet.studies.paper.experiment import RESULT

WIDEST = 1500  # pixels of a figure
COLOURS = 128  # of a figure: drawings need few, photographs are seen small


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("results", type=Path, help="the folder that `bagnet paper` wrote")
    options.add_argument("page", type=Path, help="the page to write; figures go into a folder of its name beside it")
    options.add_argument("--title", required=True)
    options.add_argument("--note", default="", help="what else is to be said at the top")
    given = options.parse_args()
    records = [json.loads(path.read_text()) for name in NAMES if (path := given.results / name / RESULT).is_file()]
    if not records:
        raise SystemExit(f"{given.results}: has no results of bagnet paper")
    figures = given.page.with_suffix("")
    figures.mkdir(parents=True, exist_ok=True)
    sections = [section(record, given.results, figures) for record in records]
    head = "\n\n".join(one for one in (f"# {given.title}", given.note, machine(records)) if one)
    given.page.write_text(f"{head}\n\n" + "\n".join(sections), encoding="utf-8")
    print(f"-> {given.page}: {len(records)} experiments")


def machine(records: list[dict[str, Any]]) -> str:
    """Where all of it was measured, once if it was one machine."""
    known = {json.dumps(record["machine"], sort_keys=True): record["machine"] for record in records}
    lines = [
        ", ".join(f"{name} {value}" for name, value in one.items() if not isinstance(value, dict))
        + ", "
        + ", ".join(f"{name} {value}" for name, value in one.get("versions", {}).items())
        for one in known.values()
    ]
    return (
        "Brackets are 95 % intervals, over images where nothing else is said. Under each section is the command that repeats it, "
        "but for the folder to write (`--out`). Measured on " + "; ".join(lines) + "."
    )


def section(record: dict[str, Any], results: Path, figures: Path) -> str:
    """One experiment: what the paper found, what was found here, the figures, the command."""
    name = record["experiment"]
    pictures = []
    for figure in record["figures"]:
        small(results / name / f"{figure}.png", figures / f"{figure}.png")
        pictures.append(f"![{record['title']}]({figures.name}/{figure}.png)")
    command = record["command"].partition(" --out ")[0]
    found = "\n".join(f"- {sentence}" for sentence in record["sentences"])
    images = record["settings"].get("images")
    effort = f"{record['seconds']:,.0f} s" if images is None else f"{images:,} images, {record['seconds']:,.0f} s"
    return (
        f"## {record['title']}\n\n{record['question']}\n\n**The paper.** {record['paper']}\n\n**Here.**\n\n{found}\n\n"
        f"**What differs.** {record['differs']}\n\n" + "\n\n".join(pictures) + f"\n\n{effort}:\n\n```sh\n{command}\n```\n"
    )


def small(source: Path, target: Path) -> None:
    """A figure in as many bytes as a page needs."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
