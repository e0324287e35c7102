"""Where windows lie: on the network's input (Geometry) and in the person's image (Placement).

Integers only, no images and no tensors. Tiling, pictures, edits and proofs are all questions to these two classes.
"""

from .boxes import Box, Span, ceil_div
from .placement import Axis, Placement
from .pyramid import Pyramid
from .tiling import (
    BATCH_PIXELS,
    BATCH_SIZES,
    Tile,
    all_over,
    batches_of,
    cell_tiles,
    cells_within,
    covering_tiles,
    squares,
    tile_of,
    tile_touching,
    tiles_of,
    touched_cells,
)
from .windows import Geometry

__all__ = [
    "BATCH_PIXELS",
    "BATCH_SIZES",
    "Axis",
    "Box",
    "Geometry",
    "Placement",
    "Pyramid",
    "Span",
    "Tile",
    "all_over",
    "batches_of",
    "ceil_div",
    "cell_tiles",
    "cells_within",
    "covering_tiles",
    "squares",
    "tile_of",
    "tile_touching",
    "tiles_of",
    "touched_cells",
]
