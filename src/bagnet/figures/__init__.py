"""How anything looks: colours, words, the frame of charts, pictures of evidence, sheets of small pictures, pages."""
