"""Training of the tail: stages, steps, callbacks, state."""
