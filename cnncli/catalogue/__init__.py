"""Networks, optimizers and activations that a config can name, and explanations of messages. No TensorFlow."""
