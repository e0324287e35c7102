"""Who executes a network's features, and in which precision: a file for each runtime."""
