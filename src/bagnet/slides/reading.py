"""The pixels of the tiles of an image, read ahead of whoever computes with them: the only loop over tiles."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from ..data.decode import BadImage
from ..engine.cost import peak_memory
from ..geometry import Box
from ..progress import Listener, Progress, duration, unheard
from .plan import Part, Plan
from .readers import WHITE, Pixels, Reader

Answer = Pixels | BadImage | None  # None: nothing but background, which was to be skipped
_AHEAD = 2  # boxes that each reader holds beside the one at work
_WORTH_SAYING = 10.0  # seconds, from which on people like to know how long it takes

_log = logging.getLogger(__name__)


def read_boxes(
    reader: Reader,
    level: int,
    boxes: Iterable[Box],
    *,
    skip_white: bool = False,
    usable: int | None = None,
    readers: int = 2,
) -> Iterator[tuple[Box, Answer]]:
    """Boxes of a level with their pixels, or why they cannot be read, or None where all are white and these are skipped.

    Args:
        reader: of the image.
        level: of it.
        boxes: in the order in which they are wanted; none is asked for before there is room to read it.
        skip_white: of boxes whose every pixel is nearly white nothing is wanted.
        usable: stop after so many that have pixels; where None, after all boxes.
        readers: threads that read ahead.
    """
    coming, readers = iter(boxes), max(1, readers)
    left = usable
    waiting: deque[tuple[Box, Future[Answer]]] = deque()

    def answer(box: Box) -> Answer:
        try:
            pixels = reader.read(level, box)
        except BadImage as error:
            return error
        return None if skip_white and bool((pixels >= WHITE).all()) else pixels

    with ThreadPoolExecutor(readers) as pool:
        try:
            while left is None or left > 0:
                most = _AHEAD * readers if left is None else min(left, _AHEAD * readers)
                waiting.extend((box, pool.submit(answer, box)) for box in islice(coming, max(0, most - len(waiting))))
                if not waiting:
                    return
                box, future = waiting.popleft()
                read = future.result()
                if left is not None and not (read is None or isinstance(read, BadImage)):
                    left -= 1
                yield box, read
        finally:
            for _, future in waiting:
                future.cancel()


class Reading:
    """Tiles of an image with their pixels, one after the other; tells how far that is, and says what it will take.

    Args:
        reader: of the image.
        level: of it.
        plan: of its tiles.
        parts: of the plan, in the order in which they are wanted.
        skip_white: as for `read_boxes`.
        usable: as for `read_boxes`.
        readers: as for `read_boxes`.
        stage: what is being done with them, for those who are told.
        done: tiles that were done before.
        progress: told after every tile that counts.
    """

    def __init__(
        self,
        reader: Reader,
        level: int,
        plan: Plan,
        parts: Sequence[Part],
        *,
        skip_white: bool = False,
        usable: int | None = None,
        readers: int = 2,
        stage: str = "",
        done: int = 0,
        progress: Listener = unheard,
    ) -> None:
        self._plan, self._parts, self._stage, self._done, self._progress = plan, parts, stage, done, progress
        self._tiles = len(parts) if usable is None else min(usable, len(parts))
        boxes = (part.tile.crop for part in parts)
        self._answers = read_boxes(reader, level, boxes, skip_white=skip_white, usable=usable, readers=readers)
        self._whole = usable is None

    def __iter__(self) -> Iterator[tuple[Part, Answer]]:
        """A tile counts as done when the next is asked for."""
        start = asked = time.perf_counter()
        waited, seen, done = 0.0, 0, 0
        for part, (_, read) in zip(self._parts, self._answers, strict=False):
            waited += time.perf_counter() - asked
            yield part, read
            asked = time.perf_counter()
            seen += 1
            if seen == 1:
                self._say_cost(asked - start)
            if self._whole or not (read is None or isinstance(read, BadImage)):
                done += 1
                self._progress(Progress(self._stage, self._done + done, self._done + self._tiles, "tiles"))
        if seen:
            share = waited / (time.perf_counter() - start)
            _log.info("%d tiles; the network waited %.0f %% of the time for pixels", seen, 100 * share)

    def _say_cost(self, seconds: float) -> None:
        """What is to be expected, as far as the first tile tells; nothing where it is soon over."""
        if self._tiles * seconds > _WORTH_SAYING and (peak := peak_memory()) is not None:
            plan = self._plan
            size = f"{plan.width:,} x {plan.height:,} pixels, {plan.grid[0] * plan.grid[1]:,} windows"
            _log.info(
                "%s: %d tiles, about %s and %.1f GB of memory", size, self._tiles, duration(self._tiles * seconds), peak / 1e9
            )
