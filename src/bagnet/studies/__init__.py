"""What is asked of models as a whole: the paper's experiments, and why a model fails."""
