"""Images as the preprocessing of a network makes them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.utils.data import Dataset

from .sources import Images
from .transforms import Preprocessing


class NetworkInputs(Dataset[tuple[int, Tensor | str]]):
    """Images as their preprocessing makes them, or the reason why not, under their row.

    Args:
        images: to read.
        preprocessing: of the network.
        rows: which ones; all where None.
        keep: most bytes of inputs to keep in memory, for those who ask again; the rest are read each time.
    """

    def __init__(self, images: Images, preprocessing: Preprocessing, rows: Sequence[int] | None = None, *, keep: int = 0) -> None:
        self.images, self.preprocessing = images, preprocessing
        self.rows = range(len(images.names)) if rows is None else rows
        self.room, self.kept = keep, dict[int, Tensor | str]()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        row = self.rows[index]
        if row in self.kept:
            return row, self.kept[row]
        prepared = self._prepared(row)
        size = prepared.nbytes if isinstance(prepared, Tensor) else 0
        if size <= self.room:
            self.room -= size
            self.kept[row] = prepared
        return row, prepared

    def _prepared(self, row: int) -> Tensor | str:
        try:
            return self.preprocessing.of_pixels(self.images.pixels(row, len(self.preprocessing.mean), self.preprocessing.grey))
        except (OSError, ValueError) as error:
            return " ".join(str(error).split())
