"""The feature cache: compute features at the cut once, store them, and read them."""
