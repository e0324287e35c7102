"""Run the commands of a page as they stand there, in a folder of their own.

    python docs/run.py docs/tutorials/retina.md --into tutorials/retina --data idrid=~/data/idrid
    python docs/run.py docs/tutorials/solar_cells.md --into tutorials/solar_cells

Blocks of `sh` and of `python` in their order, each timed; the first that fails ends it. What runs is this clone:
to install bagnet is left out, and `benchmarks/` lies in the folder. As `bagnet` goes on where it was cut short, so does the page.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FETCHES = "needs the network"  # a comment before a block
_BLOCK = re.compile(r"^```(?P<language>sh|python)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_INSTALL = re.compile(r"^pip install 'bagnet\b.*\n", re.MULTILINE)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("page", type=Path)
    options.add_argument("--into", type=Path, required=True, metavar="FOLDER", help="where it runs")
    options.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER", help="what the page takes for granted")
    options.add_argument("--offline", action="store_true", help="without the blocks that fetch something")
    arguments = options.parse_args()
    follow(arguments.page, arguments.into, dict(pair.split("=", 1) for pair in arguments.data), offline=arguments.offline)


def follow(page: Path, folder: Path, data: Mapping[str, str], *, offline: bool = False) -> None:
    """Run a page's blocks. SystemExit: data are missing, or a block failed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in {
        **{name: Path(path).expanduser() for name, path in data.items()},
        "benchmarks": ROOT / "benchmarks",
    }.items():
        if not source.is_dir():
            sys.exit(f"{source}: there is no such folder; how to get {name}/ stands in {page}, under Data")
        if not (folder / name).exists():
            (folder / name).symlink_to(source.resolve())
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    every = list(commands(page, offline=offline))
    for number, command in enumerate(every, 1):
        print(f"--- {page.name}, {number} of {len(every)}", flush=True)
        start = time.monotonic()
        code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        print(f"--- {time.monotonic() - start:.0f} s", flush=True)
        if code:
            sys.exit(f"{page}: block {number} of {len(every)} failed with exit status {code}")


def commands(page: Path, *, offline: bool = False) -> Iterator[list[str]]:
    """Each block as a command of its own."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        if offline and FETCHES in text[: match.start()].rstrip().splitlines()[-1]:
            continue
        if match["language"] == "python":
            yield [sys.executable, "-c", match["text"]]
        elif script := _INSTALL.sub("", match["text"]):
            yield ["bash", "-euxo", "pipefail", "-c", script]


if __name__ == "__main__":
    main()
