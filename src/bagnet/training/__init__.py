"""Training: recipes, the Lightning module, and the run that ends in a checkpoint with a card."""
