"""Failure analysis: what a BagNet's predictions depend on, and what its mistakes are made of."""
