"""The prediction bundle of a run: load, predict, evaluate rows."""
