"""Proofs that no sticker of a size changes an answer, wherever it lies and whatever it shows."""

from .bounded import AGGREGATIONS, Aggregation
from .certificate import Certificate
from .certify import METHODS, certify
from .checker import Rejected, check
from .patch import Patch

__all__ = ["AGGREGATIONS", "METHODS", "Aggregation", "Certificate", "Patch", "Rejected", "certify", "check"]
