"""How fast this machine runs BagNets, beside what else one could run: measured in turn, outputs compared, ceilings known."""

from .cases import Case, map_cases, standard_cases
from .result import Bench, Timing
from .turns import bench

__all__ = ["Bench", "Case", "Timing", "bench", "map_cases", "standard_cases"]
