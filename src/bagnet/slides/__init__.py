"""Images larger than memory: read a region at a time, computed tile by tile, without seams."""
