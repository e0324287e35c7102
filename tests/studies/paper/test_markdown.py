"""The page of some results as Markdown: what documentation shows, letter by letter."""

from __future__ import annotations

from typing import Any

from bagnet.studies.paper.page import markdown


def record(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "experiment": name,
        "title": f"The {name}",
        "question": "How & why?",
        "paper": 'Fig. 1: "as small as" <17.',
        "differs": "Nothing.",
        "sentences": ["It is 5 [4, 6].", "It is not 7."],
        "figures": [name, f"{name}_maps"],
        "table": f"{name}.csv",
        "unusable": {},
        "settings": {"images": 1200},
        "command": f"bagnet paper {name} --data photos --out 'my results'",
        "seconds": 61.4,
        "machine": {"processor": "P", "cores": 2, "versions": {"torch": "2.6"}},
        **changes,
    }


PAGE = """# The title

A note.

Brackets are 95 % intervals, over images where nothing else is said. Under each section is the command that repeats it. \
Measured on processor P, cores 2, torch 2.6.

## The first

How & why?

**The paper.** Fig. 1: "as small as" <17.

**Here.**

- It is 5 [4, 6].
- It is not 7.

**What differs.** Nothing.

![The first](here/first.png)

![The first](here/first_maps.png)

1,200 images, 61 s:

```sh
bagnet paper first --data photos --out paper
```
"""


def test_a_page() -> None:
    assert markdown([record("first")], "The title", "A note.", "here") == PAGE


def test_sections_stand_apart_and_a_machine_is_named_once() -> None:
    text = markdown([record("first"), record("second")], "The title", "A note.", "here")
    head, second = text.split("\n## The second\n")
    assert head == PAGE
    assert second.endswith("--data photos --out paper\n```\n")
    other = markdown([record("first"), record("second", machine={"processor": "Q"})], "The title", "", "here")
    assert "Measured on processor P, cores 2, torch 2.6; processor Q." in other
    assert other.startswith("# The title\n\nBrackets")


def test_images_that_could_not_be_used_or_do_not_matter() -> None:
    bad = record("first", settings={"images": 3}, unusable={"a.png": "a.png: torn", "b.png": "b.png: torn"})
    assert "\n3 images (2 of which could not be used, such as a.png: torn), 61 s:\n" in markdown([bad], "", "", "here")
    assert "\n61 s:\n" in markdown([record("first", settings={})], "", "", "here")
