"""Train the tail: stages, steps, state."""
