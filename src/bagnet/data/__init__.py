"""Images and labels: decode any image file, prepare it for a network, read labelled sets, name the classes."""
