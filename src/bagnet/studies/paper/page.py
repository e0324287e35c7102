"""All experiments, and one page that tells what the paper found, what was measured here, and what differs."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...files import replacing
from ...runs.store import OtherRun
from .experiment import Experiment, Result
from .subjects import Material

PAGE = "paper.html"
_STYLE = """
:root { --ink: #1d2433; --soft: #6b7385; --line: #e8eaef; --blue: #2f74b5 }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); max-width: 1060px; margin: 3em auto 5em; padding: 0 1.2em }
h1 { font-size: 1.8em; line-height: 1.2; margin: 0 0 .3em } h2 { font-size: 1.3em; margin: 0 0 .4em }
section { border-top: 1px solid var(--line); margin-top: 2.6em; padding-top: 1.8em }
p { margin: .5em 0 } .lead, .small, nav, th { color: var(--soft) } .small { font-size: .85em }
nav { columns: 3 16em; margin: 1.4em 0 } nav a { display: block; color: var(--blue); text-decoration: none; break-inside: avoid }
.three { display: grid; grid-template-columns: 3fr 4fr 3fr; gap: 1.8em; font-size: .95em }
.three h3 { font-size: .8em; text-transform: uppercase;
letter-spacing: .06em; color: var(--soft); margin: .8em 0 .2em }
@media (max-width: 700px) { .three { grid-template-columns: 1fr } }
img { max-width: 100%; display: block; margin: 1.2em 0 } table { border-collapse: collapse; font-size: .9em; margin: 1em 0 }
td, th { text-align: left; padding: .25em 1.4em .25em 0; border-bottom: 1px solid var(--line) }
code { font-size: .88em; background: #f5f6f8; padding: .1em .35em; border-radius: 3px; overflow-wrap: anywhere }
"""


def run_all(
    experiments: Sequence[Experiment], material: Material, out: Path, counts: Mapping[str, int], overwrite: bool = False
) -> tuple[list[Result], dict[str, str], Path]:
    """Run experiments, those that suit the material, and make the page of all.

    Args:
        experiments: in the order of the page.
        material: all images, and the models.
        out: a folder of its own in it for each.
        counts: how many images for those that are not to take their own number.
        overwrite: replace what is there of other settings, models or images.

    Returns:
        What came out, the reason of each experiment that was left out, and where the page is.

    Raises:
        ValueError: none suits the material; the message is the last one's reason.
        OtherRun: a folder holds a run of other settings, models or images; seen before anything is measured.
        Busy: another run is at work on one.
        OSError: something cannot be written.
    """
    suited: list[tuple[Experiment, Material]] = []
    left_out: list[tuple[Experiment, str]] = []
    for experiment in experiments:
        sample = material.sample(counts.get(experiment.name, experiment.sample))
        try:
            experiment.check(sample)
            suited.append((experiment, sample))
        except ValueError as error:
            left_out.append((experiment, str(error)))
    if not overwrite:
        for experiment, sample in suited:
            experiment.check_folder(sample, out)
    results: list[Result] = []
    for experiment, sample in suited:
        try:
            results.append(experiment.run(sample, out, overwrite))
        except OtherRun:  # no matter of the material
            raise
        except (ValueError, ImportError) as error:
            left_out.append((experiment, str(error)))
        except RuntimeError as error:  # memory that does not suffice, a network with no gradient: not the end of the others
            left_out.append((experiment, f"it failed: {error}".splitlines()[0]))
    if not results:
        raise ValueError(f"no experiment suits {material.data} and these models: {left_out[-1][1]}")
    path = out / PAGE
    with replacing(path) as part:
        part.write_text(_page(results, left_out, material), encoding="utf-8")
    return results, {experiment.name: reason for experiment, reason in left_out}, path


def _page(results: Sequence[Result], left_out: Sequence[tuple[Experiment, str]], material: Material) -> str:
    models = "".join(
        f"<tr><td>{escape(one.name)}<td>{'the whole image' if one.window is None else f'windows of {one.window} px'}"
        f"<td>{_size(one.transform.crop)}<td>{_parameters(one.module)}"
        for one in material.ordered
    )
    links = "".join(f"<a href='#{one.name}'>{escape(str(one.record['title']))}</a>" for one in results)
    missing = "".join(f"<p><b>{escape(one.title)}</b> ({one.name}): {escape(reason)}" for one, reason in left_out)
    computer = results[-1].record["machine"]
    parts = [
        "<h1>Bags of local features, experiment by experiment</h1>",
        "<p class=lead>The experiments of Brendel &amp; Bethge, &ldquo;Approximating CNNs with Bag-of-local-Features models "
        f"works surprisingly well on ImageNet&rdquo; (ICLR 2019), done again with the models below on {escape(material.data)} "
        f"({len(material.classes)} classes); how many images each experiment takes stands under it. Brackets are 95 % intervals, "
        "over images where nothing else is said.",
        f"<table><tr><th>model<th>sees<th>input<th>parameters{models}</table><nav>{links}</nav>",
        *(_section(one) for one in results),
        f"<section><h2>Left out</h2>{missing}</section>" if missing else "",
        f"<section><p class=small>Measured on {escape(_machine(computer))}.</section>",
    ]
    title = "The BagNet paper, experiment by experiment"
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}{''.join(parts)}\n"


def _section(result: Result) -> str:
    record = result.record
    found = "".join(f"<p>{escape(sentence)}" for sentence in result.sentences)
    figures = "".join(_image(path, str(record["title"])) for path in result.figures)
    count = record["settings"].get("images")
    images = "" if count is None else f"{count:,} images{_unusable(result.unusable)}, "
    return (
        f"<section id={result.name}><h2>{escape(str(record['title']))}</h2><p class=lead>{escape(str(record['question']))}"
        f"<div class=three><div><h3>The paper</h3><p>{escape(str(record['paper']))}</div><div><h3>Here</h3>{found}</div>"
        f"<div><h3>What differs</h3><p>{escape(str(record['differs']))}</div></div>"
        f"{figures}<p class=small>{images}{record['seconds']:,.0f} s. Data: <code>{result.name}/{record['table']}</code>; "
        f"all figures: <code>{result.name}/result.json</code>; again: <code>{escape(record['command'])}</code></section>"
    )


def _unusable(reasons: Mapping[str, str]) -> str:
    if not reasons:
        return ""
    return f" ({len(reasons):,} of which could not be used, such as {escape(next(iter(reasons.values())))})"


def _size(pixels: int | None) -> str:
    return "as it is" if pixels is None else f"{pixels} px"


def _parameters(model: Any) -> str:
    return f"{sum(one.numel() for one in model.parameters()) / 1e6:.2f} M"


def _machine(known: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in known.items() if not isinstance(value, dict))


def _image(path: Path, title: str) -> str:
    """The picture, and a click away the same as lines, to be enlarged as one likes."""
    drawn = f"<img alt='{escape(title)}' src='data:image/png;base64,{b64encode(path.read_bytes()).decode()}'>"
    return f"<a href='{escape(path.parent.name)}/{escape(path.stem)}.svg'>{drawn}</a>"
