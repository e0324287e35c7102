"""Work over many images: read them, sweep a model over them, keep what is known so that nothing is done twice."""
