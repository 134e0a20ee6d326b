"""What can be named in a config: plain data, no TensorFlow."""
