"""The paper's experiments: each figure and table of Brendel & Bethge (2019), one file each, for any models and images."""
