"""Failure analysis: what a BagNet's predictions hang on, and what its mistakes are made of."""
