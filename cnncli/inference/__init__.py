"""Load a run's predictor, predict, and evaluate."""
