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
    """

    def __init__(self, images: Images, preprocessing: Preprocessing, rows: Sequence[int] | None = None) -> None:
        self.images, self.preprocessing = images, preprocessing
        self.rows = range(len(images.names)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        row = self.rows[index]
        try:
            return row, self.preprocessing.of_pixels(self.images.pixels(row, len(self.preprocessing.mean)))
        except (OSError, ValueError) as error:
            return row, " ".join(str(error).split())
