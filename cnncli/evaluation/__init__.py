"""How good a classifier is, where it is wrong, how far to trust it, and whether more images would help."""
