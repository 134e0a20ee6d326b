"""Networks, optimizers and activations for configs, and explanations of messages. Does not import TensorFlow."""
