"""bagnet bench"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .completion import among, sizes
from .options import AsJson, BatchSizes
from .options import size as size_option
from .output import print_table
from .progress import progress_bar

if TYPE_CHECKING:
    from ..bench import Bench
    from ..bench.result import Timing


def bench(
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="A published size, whatever its weights: bagnet9 | bagnet17 | bagnet33, or one of these with _padded; or a "
            "bundled windowed network.",
            autocompletion=sizes,
        ),
    ] = "bagnet33",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the figures to this .csv or .json.", show_default=False)
    ] = None,
    batch_size: BatchSizes = None,
    size: Annotated[int, size_option(True)] = 224,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, help="How often each; figures are medians.")] = 5,
    no_logits: Annotated[bool, typer.Option("--no-logits", help="Leave out the logits of whole images.")] = False,
    no_maps: Annotated[bool, typer.Option("--no-maps", help="Leave out the full-resolution maps of one class.")] = False,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu | cuda.", autocompletion=among("cpu", "cuda"))] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure how fast this machine runs a BagNet: every runtime and precision, beside the published code and ResNet-50.

    Example: `bagnet bench --batch-size 8 --out bench.csv`
    """
    from ..bench import bench as measure
    from ..bench import map_cases, standard_cases
    from ..files import replacing

    if out is not None and out.suffix not in (".csv", ".json"):
        raise ValueError(f"{out}: figures go to .csv or .json")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"there is no device {device!r}: there are cpu and cuda")
    if no_logits and no_maps:
        raise ValueError("there is nothing to time: leave --no-logits or --no-maps out")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("this machine has no CUDA device: leave --device out")
    cases = [] if no_logits else standard_cases(model, batch_size or (1, 8), size, device)
    cases += [] if no_maps else map_cases(model, size, device)
    with replacing(out) if out is not None else nullcontext() as part:  # that it can be written is known before it is measured
        if part is not None:
            part.touch()
        with progress_bar() as progress:
            result = measure(cases, rounds, progress)
        record = {"machine": result.machine, "ceiling": result.ceiling, "rounds": rounds, "figures": result.rows()}
        if part is not None and out is not None:
            _write(part, record, as_json=out.suffix == ".json")
    if as_json:
        typer.echo(json.dumps(record))
        return
    typer.echo("\n".join(f"{title}: {text}" for title, text in result.machine.items()))
    for title, speed in result.ceiling.items():
        typer.echo(f"best matrix product, {title}: {speed / 1e9:.1f} giga multiply-adds/s")
    _show(result)


def _show(result: Bench) -> None:
    """The tables, for people."""
    for task, unit in (("logits", "images/s"), ("map", "maps/s")):
        chosen = [(timing, row) for timing, row in zip(result.timings, result.rows(), strict=True) if timing.case.task == task]
        if not chosen:
            continue
        titles = ["", "batch", unit, "ms", "x plain", "ceiling", "MB", "error"]
        print_table(titles, [_cells(timing, row) for timing, row in chosen], texts=[""], title=task)
        for timing, _ in chosen:
            if timing.note:
                typer.echo(f"{timing.case.title}: {timing.note}")


def _cells(timing: Timing, row: Mapping[str, Any]) -> list[str]:
    """One line of a table."""
    if not timing.executed:
        return [timing.case.title, str(timing.case.batch), "not measured"]
    ratio, ceiling, error = row["times_published"], row["ceiling_share"], row["error"]
    return [
        timing.case.title,
        str(timing.case.batch),
        f"{row['per_second']:.3g}",
        f"{row['milliseconds']:,.0f}",
        f"{ratio:.2f}" if ratio else "",
        f"{ceiling:.0%}" if ceiling else "",
        f"{row['peak_megabytes']:,.0f}",
        f"{error:.0e}" if error is not None else "",
    ]


def _write(path: Path, record: dict[str, Any], as_json: bool) -> None:
    """The figures as CSV, with the machine in each row, or all as JSON."""
    if as_json:
        path.write_text(json.dumps(record, indent=1))
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        machine = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in record["machine"].items()}
        ceiling = {f"ceiling {key}": value for key, value in record["ceiling"].items()}
        rows = [{**row, **machine, **ceiling, "rounds": record["rounds"]} for row in record["figures"]]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
