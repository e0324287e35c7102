"""How right a classifier is on labelled images, how far its confidence can be trusted, and how clean its maps are."""
