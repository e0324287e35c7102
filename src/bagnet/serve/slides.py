"""The HTTP application that shows slides: tiles of their images and maps, their strongest windows, and the viewer page."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import lru_cache
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from fastapi import FastAPI, Query, Response
from fastapi import Path as InPath
from PIL import Image
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ..figures.colours import ANCHORS
from ..figures.page import render
from ..slides.strongest import strongest_windows
from ..slides.view import AROUND, SIDE, View
from .access import BUSY, Access, completed
from .answers import Health
from .limits import Limits
from .metrics import Metrics
from .npm import Package
from .web import CONFIGURATION, PAGE, STYLE

SLIDE_PAGE = Path(__file__).parent / "slide_page"
OPENSEADRAGON = Package(
    "openseadragon",
    "6.1.1",
    "--openseadragon",
    ("build/openseadragon/openseadragon.min.js", "LICENSE.txt"),
)
_SHARED = ("colours.js", "evidence.js", "geometry.js", "theme.js", "token.js", "style.css")  # of the other page
_TILES = 512  # that are kept, drawn: none is larger than 256 x 256 values of 4 bytes, all together 128 MiB
_JPEG = 87  # quality of tiles that show the image smaller than it is
_NOT_KEPT = {"Cache-Control": "no-store"}  # by browsers: another slide may be served at this address tomorrow

_Drawn = TypeVar("_Drawn")
Number = Annotated[int, InPath(ge=0)]


class Windows(BaseModel):
    """Where the windows lie on the level with the evidence, in its pixels."""

    size: int
    stride: int
    origin: int


class ClassOfSlide(BaseModel):
    """A class whose map there is."""

    name: str
    logit: float = Field(description="Of the whole image: the mean over all windows that were computed.")


class SlideAbout(BaseModel):
    """A slide: its image, its windows and its maps."""

    name: str = Field(description="Of the image's file.")
    model: str
    width: int = Field(description="Of the largest level, in pixels.")
    height: int
    levels: int = Field(description="Sizes in which tiles of the image are to be had, each half the one before.")
    tile: int = Field(description="Side of the tiles of images and maps, in pixels and cells.")
    microns_per_pixel: float | None = Field(description="Of the largest level, where the file says it.")
    level: int = Field(description="Of the image, at which the evidence was computed.")
    level_width: int
    level_height: int
    windows: Windows
    rows: int = Field(description="Of cells.")
    columns: int
    map_levels: int = Field(description="Sizes in which tiles of the maps are to be had.")
    skipped: int = Field(description="Windows that were skipped, as their tile is white.")
    missing: int = Field(description="Windows that could not be computed, as their pixels cannot be read.")
    typical: float = Field(description="A logit that few windows exceed, for or against whatever class.")
    classes: list[ClassOfSlide]


class StrongWindow(BaseModel):
    """A window that speaks for a class."""

    row: int
    column: int
    logit: float


def slides_application(
    views: Sequence[View], limits: Limits | None = None, *, token: str = "", page: Path | None = None, hosts: Sequence[str] = ()
) -> FastAPI:
    """A service that shows slides.

    Args:
        views: of the slides; closed when the service ends.
        limits: of what clients may ask for; the usual ones where None.
        token: that clients must show; none where "".
        page: a folder that is served at `/`.
        hosts: names by which the service may be asked for; any where there are none.
    """
    service = _Slides(views, limits or Limits(), token)
    app = FastAPI(title="bagnet", summary="Slides, and the evidence of every window.", lifespan=service.lifespan)
    route, tile = service.access.route, service.access.route(404, 422, 429)
    of_image, of_map = "/v1/slides/{slide}/image", "/v1/slides/{slide}/maps/{number}"
    app.get("/v1/slides", summary="What is served", **route())(service.slides)
    app.get(of_image + "/{halvings}/{row}/{column}", summary="A tile of an image", response_class=Response, **tile)(service.image)
    app.get(of_map + "/strongest", summary="The windows that speak most", **tile)(service.strongest)
    app.get(of_map + "/{halvings}/{row}/{column}", summary="A tile of a map", response_class=Response, **tile)(service.map)
    app.get("/v1/slides/{slide}/windows/{row}/{column}", summary="What a window sees", response_class=Response, **tile)(
        service.window
    )
    app.get("/metrics", summary="Counts, for Prometheus", response_class=Response, **route())(service.metrics.answer)
    app.get("/healthz", summary="Whether the service runs")(service.health)
    return completed(app, service.metrics, page, hosts)


def write_slides_page(folder: Path, *, asks_token: bool = False, openseadragon: str | PathLike[str] | None = None) -> None:
    """The viewer page of slides, as a folder.

    Args:
        folder: a new one.
        asks_token: whether the service wants to see a token.
        openseadragon: the npm package, as `Package.copy` takes it.

    Raises:
        NoPackage: there is no such package.
    """
    shutil.copytree(SLIDE_PAGE, folder)
    for name in _SHARED:
        shutil.copyfile(PAGE / name, folder / name)
    OPENSEADRAGON.copy(folder / "openseadragon", openseadragon)
    (folder / STYLE).write_text(render("bagnet.figures", STYLE), encoding="utf-8")
    about = {"asks_token": asks_token, "colours": list(ANCHORS)}
    (folder / CONFIGURATION).write_text(json.dumps(about), encoding="utf-8")


class _Slides:
    """What the routes share.

    Args:
        views: of the slides.
        limits: of what clients may ask for.
        token: that clients must show; none where "".
    """

    def __init__(self, views: Sequence[View], limits: Limits, token: str) -> None:
        self._views, self._limits = views, limits
        self._about = [_about(view) for view in views]
        self.metrics = Metrics()
        self.access = Access(token, limits.waiting, self.metrics)
        self._rendering = asyncio.Semaphore(limits.renders)
        self._tile = lru_cache(_TILES)(self._drawn)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """At the end, the images are closed."""
        yield
        for view in self._views:
            view.close()

    async def slides(self) -> list[SlideAbout]:
        """All slides: the first is number 0."""
        return self._about

    async def image(self, slide: Number, halvings: Number, row: Number, column: Number) -> Response:
        """A part of the image, halved so many times: PNG where it was not, JPEG else. What cannot be read is grey."""
        return await self._answered(self._tile, slide, None, halvings, row, column)

    async def map(self, slide: Number, number: Number, halvings: Number, row: Number, column: Number) -> Response:
        """The logits of windows for a class, row by row, as little-endian float32; halved, means of those that were computed.

        NaN is a window that could not be computed, infinity one that was skipped.
        """
        return await self._answered(self._tile, slide, number, halvings, row, column)

    async def strongest(
        self, slide: Number, number: Number, count: Annotated[int, Query(ge=1, le=100)] = 8
    ) -> list[StrongWindow]:
        """The windows that speak most for a class, no two of which overlap, the strongest first."""
        view = self._view(slide)
        if number >= len(view.slide.classes):
            raise HTTPException(404, f"the slide has maps of {len(view.slide.classes)} classes")
        return await self._rendered(self._strongest, slide, number, count)

    async def window(
        self,
        slide: Number,
        row: Number,
        column: Number,
        around: Annotated[int, Query(ge=0, le=AROUND, description="Pixels about it.")] = 0,
    ) -> Response:
        """What a window sees, as PNG, pixel by pixel as the network gets it; what cannot be read is grey."""
        return await self._answered(self._window, slide, row, column, around)

    async def health(self) -> Health:
        """Always the same, while the service runs."""
        return Health(status=f"serving {', '.join(view.name for view in self._views)}")

    async def _answered(self, draw: Callable[..., tuple[bytes, str] | None], slide: int, *what: int | None) -> Response:
        """What is drawn, or that there is no such thing."""
        self._view(slide)
        drawn = await self._rendered(draw, slide, *what)
        if drawn is None:
            raise HTTPException(404, "there is no such tile or window")
        content, kind = drawn
        return Response(content, media_type=kind, headers=_NOT_KEPT)

    async def _rendered(self, draw: Callable[..., _Drawn], *what: int | None) -> _Drawn:
        """What a thread draws, of which a limited number are at work. HTTPException: too many wait, or for too long."""
        with self.access.admitted():
            try:
                async with asyncio.timeout(self._limits.seconds), self._rendering:
                    return await run_in_threadpool(draw, *what)
            except TimeoutError:
                raise HTTPException(429, f"not drawn within {self._limits.seconds:g} seconds: too busy", BUSY) from None

    def _view(self, slide: int) -> View:
        if slide >= len(self._views):
            raise HTTPException(404, f"there is no slide {slide}: there are 0 to {len(self._views) - 1}")
        return self._views[slide]

    def _drawn(self, slide: int, number: int | None, halvings: int, row: int, column: int) -> tuple[bytes, str] | None:
        """A tile of an image, or of the map of a class, and its kind."""
        view = self._view(slide)
        if number is None:
            pixels = view.pixels(halvings, row, column)
            return None if pixels is None else _picture(pixels, exact=halvings == 0)
        values = view.values(number, halvings, row, column)
        return None if values is None else (np.ascontiguousarray(values, "<f4").tobytes(), "application/octet-stream")

    def _window(self, slide: int, row: int, column: int, around: int) -> tuple[bytes, str] | None:
        pixels = self._view(slide).window(row, column, around)
        return None if pixels is None else _picture(pixels, exact=True)

    def _strongest(self, slide: int, number: int, count: int) -> list[StrongWindow]:
        evidence = self._view(slide).slide
        chosen = strongest_windows(evidence, str(evidence.classes[number]), count, evidence.geometry.size)
        return [StrongWindow(row=window.row, column=window.column, logit=window.logit) for window in chosen]


def _picture(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], exact: bool) -> tuple[bytes, str]:
    """A file of pixels, and its kind."""
    file = BytesIO()
    if exact:
        Image.fromarray(pixels).save(file, "PNG", compress_level=1)
        return file.getvalue(), "image/png"
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG)
    return file.getvalue(), "image/jpeg"


def _about(view: View) -> SlideAbout:
    slide = view.slide
    return SlideAbout(
        name=view.name,
        model=slide.model,
        width=view.image.width,
        height=view.image.height,
        levels=view.image.levels,
        tile=SIDE,
        microns_per_pixel=view.microns_per_pixel,
        level=slide.level,
        level_width=slide.size[1],
        level_height=slide.size[0],
        windows=Windows(**asdict(slide.geometry)),
        rows=view.map.height,
        columns=view.map.width,
        map_levels=view.map.levels,
        skipped=view.skipped_cells,
        missing=view.missing_cells,
        typical=view.typical(),
        classes=[
            ClassOfSlide(name=str(name), logit=float(slide.logits[slide.all_classes.find(str(name))])) for name in slide.classes
        ],
    )
