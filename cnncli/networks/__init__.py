"""From a name in a config to one flat Keras graph, and the cut through it."""
