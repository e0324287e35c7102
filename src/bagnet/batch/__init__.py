"""Many images: a journal that survives interruption, and predictions for a folder."""
