"""The page: what was found, in words, figures and contact sheets, in one file."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from ...figures.colours import BLUE, GREY, INK, LINE, PALE, RED, SOFT
from ...geometry import Box
from .findings import Audit, Cause, Confusion, Example, Flips, Shortcut, percent
from .patterns import MOST, SEEN

EXAMPLES = 12  # windows of a pattern to show
_FIRST = 10  # patterns in full, of whatever class
_CLASSES = 60  # classes whose patterns are shown, those with the highest scores
_PATTERNS, _FEWER = 3, 8  # of each class to show, and windows of each
_CAUSES = 3  # of each kind of mistake to show

Key = tuple[int, tuple[int, int]]  # number of the image, cell


@dataclass(frozen=True, slots=True)
class Tile:
    """A window to look at.

    Args:
        window: cut out of the image.
        image: all of it, small.
        box: the window in the small image.
        name: of the image.
    """

    window: Image.Image
    image: Image.Image
    box: Box
    name: str


def shown(audit: Audit) -> Iterator[Example]:
    """The windows that the page has pictures of."""
    for confusion in audit.confusions:
        for cause in confusion.causes[:_CAUSES]:
            yield from cause.examples[:_FEWER]
    for shortcut in audit.worst(_FIRST):
        yield from shortcut.examples
    for label in _labels(audit)[:_CLASSES]:
        for shortcut in audit.of_class(label)[:_PATTERNS]:
            yield from shortcut.examples[:_FEWER]


def page(audit: Audit, tiles: Mapping[Key, Tile]) -> str:
    """The whole of it as HTML.

    Args:
        audit: what was found.
        tiles: a picture for each window that `shown` names.
    """
    title = f"What {audit.model} goes by"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=lead>An audit on {escape(audit.data)}: {audit.images:,} images of {len(audit.classes):,} classes, windows of "
        f"{audit.geometry.size} x {audit.geometry.size} pixels of the network's input.",
        "<nav><a href='#patterns'>Patterns</a><a href='#mistakes'>Mistakes</a><a href='#classes'>Classes</a>"
        "<a href='#how'>How this was measured</a></nav>",
        "".join(f"<p class=said>{escape(sentence)}" for sentence in audit.sentences()),
        _patterns(audit, tiles),
        _mistakes(audit, tiles),
        _classes(audit, tiles),
        _how(audit),
        _unreadable(audit),
    ]
    head = (
        f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
        f"<style>{_STYLE}</style>"
    )
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _patterns(audit: Audit, tiles: Mapping[Key, Tile]) -> str:
    worst = audit.worst(_FIRST)
    if not worst:
        return f"<section id=patterns><h2>Patterns that predictions hang on</h2><p>{escape(audit.sentences()[-1])}</section>"
    cards = "".join(_card(audit, one, tiles) for one in worst)
    return (
        "<section id=patterns><h2>Patterns that predictions hang on</h2><p class=lead>The patterns with the highest scores, of "
        "whatever class. A pattern is a group of decisive windows that look alike to the network. It scores high where the class "
        "loses much of its lead without it, and its windows look the same or lie in the same place: as a watermark does, but "
        "also an object that always looks the same. Which it is, only a person can say. A red frame marks an image of another "
        f"class.</p>{cards}</section>"
    )


def _card(audit: Audit, one: Shortcut, tiles: Mapping[Key, Tile]) -> str:
    return (
        f"<article><h3>{escape(str(audit.classes[one.label]))} <span class=chip>pattern {one.rank}</span>"
        f"<span class=chip>score {one.score:.2f}</span></h3>{_about(audit, one)}"
        f"{_sheet(audit, one.examples, tiles, one.label, whole=True)}</article>"
    )


def _about(audit: Audit, one: Shortcut) -> str:
    """Where it lies, and its figures."""
    name = escape(str(audit.classes[one.label]))
    rows = [
        ("Coverage", one.coverage, f"{one.images:,} of {one.predictions:,} predictions have it"),
        (
            "Lead lost when masked",
            one.lost,
            f"over the next class; {percent(one.control_lost)} with as much masked by lot; the difference lies between "
            f"{percent(one.beyond.low)} and {percent(one.beyond.high)}",
        ),
        (
            "Falls when masked",
            one.share_falling,
            f"{one.falls:,} of {one.predictions:,} predictions; {one.control_falls:,} with as much masked by lot",
        ),
        ("Carries", one.carried, "of the positive evidence for the class, where it is"),
        ("Area", one.area, "of the input masked, where it is"),
    ]
    alike = [("Same look", one.look, ""), ("Same place", one.place, one.where)]
    lines = "".join(_line(title, percent(value), value, words) for title, value, words in rows)
    lines += "".join(_line(title, f"{value:.2f}", value, words) for title, value, words in alike)
    if one.others_having:
        taken = f"{one.taken_having:,} of these are taken for {name} ({percent(one.taken_having / one.others_having)})"
        without = one.others - one.others_having
        rest = f", of those without it {percent(one.taken_without / without)}" if without else ""
        elsewhere = f"In {one.others_having:,} of {one.others:,} images of other classes: {taken}{rest}."
    else:
        elsewhere = f"In none of {one.others:,} images of other classes."
    own = f"In {one.own_having:,} of {one.own:,} images of {name}. " if one.own else ""
    return (
        f"<div class=about><figure class=map>{_map(one)}<figcaption>where they lie</figcaption></figure>"
        f"<div><table class=figures>{lines}</table><p class=small>{own}{elsewhere}</div></div>"
    )


def _line(title: str, value: str, share: float, words: str) -> str:
    bar = f"<div class=bar><i style='width:{100 * min(max(share, 0.0), 1.0):.1f}%'></i></div>"
    return f"<tr><th>{title}<td class=number>{value}<td>{bar}<td class=small>{escape(words)}"


def _map(one: Shortcut) -> str:
    """How many windows lie where, as a picture; the lines part the image into nine."""
    down, across = one.places.shape
    largest = int(one.places.max())
    cells = "".join(
        f"<rect x='{column}' y='{row}' width='1' height='1' fill='{BLUE}' fill-opacity='{count / largest:.2f}'/>"
        for row, line in enumerate(one.places.tolist())
        for column, count in enumerate(line)
        if count
    )
    lines = "".join(
        f"<path d='M{across * third / 3:.2f} 0V{down}M0 {down * third / 3:.2f}H{across}' class='thirds'/>" for third in (1, 2)
    )
    return f"<svg viewBox='0 0 {across} {down}' role='img' aria-label='{escape(one.where)}'>{cells}{lines}</svg>"


def _sheet(audit: Audit, examples: Sequence[Example], tiles: Mapping[Key, Tile], label: int | None, whole: bool = False) -> str:
    """A contact sheet: each window, and the image it is from where `whole`; images of other classes than `label` are marked."""
    found = []
    for one in examples:
        tile = tiles[one.image, one.cell]
        true, predicted = str(audit.classes[one.true]), str(audit.classes[one.predicted])
        words = escape(f"{tile.name}: shows {true}, taken for {predicted}; logit {one.logit:+.2f}")
        kind = "other" if label is not None and one.true != label else "own"
        picture = f"<img class=window alt='{words}' src='{_data(tile.window)}'>"
        found.append(f"<figure class={kind} title='{words}'>{picture}{_whole(tile) if whole else ''}</figure>")
    return f"<div class=sheet>{''.join(found)}</div>"


def _whole(tile: Tile) -> str:
    """The image, with the window outlined."""
    width, height = tile.image.size
    left, top, right, bottom = tile.box
    return (
        f"<svg viewBox='0 0 {width} {height}' class='whole'><image href='{_data(tile.image)}' width='{width}' height='{height}'/>"
        f"<rect x='{left}' y='{top}' width='{right - left}' height='{bottom - top}'/></svg>"
    )


def _mistakes(audit: Audit, tiles: Mapping[Key, Tile]) -> str:
    if not audit.confusions:
        return "<section id=mistakes><h2>Most common mistakes</h2><p>There is none.</section>"
    found = "".join(_mistake(audit, one, tiles) for one in audit.confusions)
    return (
        "<section id=mistakes><h2>Most common mistakes</h2><p class=lead>For each, the windows that speak most for the answer "
        "given against the true one, in groups that look alike, and what becomes of the answers when they are masked. Where "
        f"few flip, the mistake has no single cause.</p>{found}</section>"
    )


def _mistake(audit: Audit, one: Confusion, tiles: Mapping[Key, Tile]) -> str:
    true, predicted = (escape(str(audit.classes[label])) for label in (one.true, one.predicted))
    bars = _flips("These windows masked", one.flips) + _flips("As many masked by lot", one.control)
    causes = "".join(_cause(audit, number, cause, tiles) for number, cause in enumerate(one.causes[:_CAUSES], 1))
    return (
        f"<article><h3>{true} <span class=to>taken for</span> {predicted} "
        f"<span class=chip>{one.images:,} of {one.shown:,}</span></h3><table class=figures>{bars}</table>"
        f"<p class=key><i class=right></i>{true} <i class=third></i>another class <i class=same></i>still {predicted}{causes}"
        "</article>"
    )


def _flips(title: str, found: Flips) -> str:
    shares = "".join(
        f"<i class={kind} style='width:{100 * count / found.images:.1f}%'></i>"
        for kind, count in (("right", found.to_true), ("third", found.to_other))
    )
    return f"<tr><th>{title}<td><div class='bar wide'>{shares}</div><td class=small>{_counts(found)}"


def _counts(found: Flips) -> str:
    return (
        f"{found.to_true:,} right, {found.to_other:,} another class; true class ahead of the answer in {found.ahead:,} of "
        f"{found.images:,}"
    )


def _cause(audit: Audit, number: int, cause: Cause, tiles: Mapping[Key, Tile]) -> str:
    return (
        f"<div class=cause><p class=small>Group {number}: {cause.windows:,} windows in {cause.flips.images:,} images; with only "
        f"these masked, {_counts(cause.flips)}."
        f"{_sheet(audit, cause.examples[:_FEWER], tiles, None, whole=True)}</div>"
    )


def _classes(audit: Audit, tiles: Mapping[Key, Tile]) -> str:
    labels = _labels(audit)
    parts = []
    for place, label in enumerate(labels):
        patterns = audit.of_class(label)
        first = patterns[0]
        words = (
            f"<b>{escape(str(audit.classes[label]))}</b><span>{audit.predictions[label]:,} predictions</span>"
            f"<span>{percent(first.lost)} of its lead hangs on the first pattern</span><span>score {first.score:.2f}</span>"
        )
        if place < _CLASSES:
            inside = "".join(
                f"<h4>Pattern {one.rank} <span class=chip>score {one.score:.2f}</span></h4>{_about(audit, one)}"
                f"{_sheet(audit, one.examples[:_FEWER], tiles, label)}"
                for one in patterns[:_PATTERNS]
            )
        else:
            inside = "<p class=small>Its figures are in <code>audit.json</code>, its windows in <code>windows.csv</code>."
        parts.append(f"<details><summary>{words}</summary>{inside}</details>")
    few = len(audit.classes) - len(labels)
    rest = f"<p class=small>{few:,} classes have no pattern in {SEEN} of their predictions or more." if few else ""
    return (
        "<section id=classes><h2>Class by class</h2><p class=lead>The classes by the score of their first pattern; open one to "
        f"see up to {_PATTERNS} of its patterns.</p>{''.join(parts)}{rest}</section>"
    )


def _labels(audit: Audit) -> list[int]:
    """The classes that have patterns, those with the highest scores first."""
    return [one.label for one in sorted(audit.shortcuts, key=lambda one: -one.score) if one.rank == 1]


def _how(audit: Audit) -> str:
    entries = {
        "Decisive windows": f"of each image the {audit.windows} windows with the largest logits for the predicted class, half a "
        "window apart at least; of wrong images also those with the largest difference between the logits of the predicted and "
        "the true class. The mean of all windows is the network's logit, so nothing is estimated here.",
        "Pattern": f"decisive windows of all images that are taken for a class, rightly or not, clustered by the network's "
        f"features of them (their direction; Ward's method, {MOST} clusters at most), where they are in {SEEN} images or more.",
        "Masked": "the pixels of a pattern's windows become the mean colour, and the logits are recomputed exactly. A prediction "
        "falls when another class has the largest logit then. The lead is how far the class's logit is above the next one's; its "
        "loss is a mean over all predictions of the class: 0 for those without the pattern, 1 for those that fall. A window is "
        "larger than what it contains: what falls with it need not be due to one thing in it.",
        "By lot": "the same number of windows of the same images, drawn by lot: how much is lost with any loss of "
        "pixels. The interval of the difference is the bootstrap's at 95 %, over the predictions of the class; a pattern where "
        "it reaches down to 0 may be a chance find, and is named below its class only.",
        "Same look, same place": "1 - the variance of the windows' features, or places, within the pattern / that of all "
        "decisive windows: 1 is always the same, 0 as varied as any.",
        "Score": "(lead lost - lead lost by lot) x (same look + same place) / 2. It ranks and no more: a legitimate part of an "
        "object that looks the same everywhere scores high too.",
        "In other images": "a pattern is in an image where the features of any of its windows are as near to the pattern's "
        "centre as nine in ten of its own.",
    }
    listed = "".join(f"<dt>{title}<dd>{escape(text)}" for title, text in entries.items())
    return (
        f"<section id=how><h2>How this was measured</h2><dl>{listed}</dl><p class=small>{escape(audit.runtime)}, "
        f"{escape(audit.precision)}, {audit.seconds:,.0f} s. All figures: <code>audit.json</code>; every decisive window: "
        "<code>windows.csv</code>.</section>"
    )


def _unreadable(audit: Audit) -> str:
    if not audit.bad:
        return ""
    lines = "".join(f"<li>{escape(name)}: {escape(reason)}" for name, reason in audit.bad[:100])
    more = f"<p class=small>and {len(audit.bad) - 100:,} more, in <code>audit.json</code>." if len(audit.bad) > 100 else ""
    return f"<section><h2>Left out</h2><p>{len(audit.bad):,} images could not be read:<ul>{lines}</ul>{more}</section>"


def _data(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"


_STYLE = f"""
body {{ font: 16px/1.55 system-ui, sans-serif; color: {INK}; max-width: 1060px; margin: 3em auto 5em; padding: 0 1.2em }}
h1 {{ font-size: 1.8em; line-height: 1.2; margin: 0 0 .3em }} h2 {{ font-size: 1.35em; margin: 0 0 .3em }}
h3 {{ font-size: 1.1em; margin: 0 0 .6em }} h4 {{ margin: 1.4em 0 .4em }}
section {{ border-top: 1px solid {LINE}; margin-top: 2.6em; padding-top: 1.8em }} p {{ margin: .5em 0 }}
.lead, .small, nav, th, figcaption, dd, .key, .to {{ color: {SOFT} }} .small, .key, figcaption {{ font-size: .85em }}
.said {{ max-width: 50em }} nav {{ margin: 1em 0 }} nav a {{ color: {BLUE}; text-decoration: none; margin-right: 1.6em }}
article {{ border: 1px solid {LINE}; border-radius: 8px; padding: 1.1em 1.3em; margin: 1.4em 0 }}
.chip {{ font-size: .75em; font-weight: 600; color: {SOFT}; background: {LINE}; border-radius: 9px; padding: .15em .7em;
margin-left: .5em; white-space: nowrap }} .to {{ font-weight: 400 }}
.about {{ display: flex; gap: 1.6em; align-items: flex-start; flex-wrap: wrap }} .about > div {{ flex: 1; min-width: 20em }}
figure {{ margin: 0 }} .map svg {{ width: 132px; display: block; background: #fafbfc; border: 1px solid {GREY} }}
.map figcaption {{ width: 132px; text-align: center; margin-top: .3em }}
.thirds {{ stroke: {LINE}; stroke-width: 1; vector-effect: non-scaling-stroke; fill: none }}
table {{ border-collapse: collapse }}
.figures th {{ text-align: left; font-weight: 400; font-size: .9em; padding: .1em 1em .1em 0; white-space: nowrap }}
.figures td {{ padding: .1em .8em .1em 0 }} .figures .number {{ text-align: right; white-space: nowrap;
font-variant-numeric: tabular-nums }}
.bar {{ width: 120px; height: 9px; background: {LINE}; border-radius: 4px; overflow: hidden; display: flex }}
.bar i {{ background: {BLUE}; height: 100% }} .wide {{ width: 260px }}
.bar .right, .key .right {{ background: {BLUE} }} .bar .third, .key .third {{ background: {PALE} }}
.key i {{ display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .4em 0 1em; vertical-align: -.05em }}
.key i:first-child {{ margin-left: 0 }} .key .same {{ background: {LINE} }}
.sheet {{ display: flex; flex-wrap: wrap; gap: 7px; margin: .8em 0 .2em }} .sheet figure {{ width: 72px }}
.window {{ width: 72px; height: 72px; object-fit: contain; image-rendering: pixelated; display: block; background: {LINE} }}
.other .window {{ outline: 2px solid {RED}; outline-offset: -2px }}
.whole {{ width: 72px; display: block; margin-top: 3px }}
.whole rect {{ fill: none; stroke: white; stroke-width: 1.5; vector-effect: non-scaling-stroke;
filter: drop-shadow(0 0 1px black) }}
details {{ border-bottom: 1px solid {LINE} }} summary {{ display: grid; grid-template-columns: 2fr 1fr 2fr 1fr; gap: 1em;
padding: .45em 0; cursor: pointer; align-items: baseline }} summary span {{ color: {SOFT}; font-size: .88em }}
summary b::before {{ content: "+ "; color: {SOFT} }} details[open] summary b::before {{ content: "\\2212 " }}
summary:hover {{ background: #fafbfc }} details[open] {{ padding-bottom: 1.4em }}
dt {{ font-weight: 600; margin-top: .7em }} dd {{ margin: 0; max-width: 54em }}
code {{ font-size: .88em; background: #f5f6f8; padding: .1em .35em; border-radius: 3px }}
@media (max-width: 640px) {{ summary {{ grid-template-columns: 1fr 1fr }} .about > div {{ min-width: 100% }}
.figures, .figures tbody {{ display: block }}
.figures tr {{ display: flex; flex-wrap: wrap; align-items: center; margin-bottom: .4em }}
.figures td.small {{ flex-basis: 100% }} .bar {{ width: 90px }} .wide {{ width: 130px }} }}
"""
