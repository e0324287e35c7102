"""Other attribution methods on any classifier, to compare evidence maps with: each says how complete its map is."""

from .methods import METHODS, Attribution, Method, NotComplete, attribute
from .rewrite import NotRewritable

__all__ = ["METHODS", "Attribution", "Method", "NotComplete", "NotRewritable", "attribute"]
