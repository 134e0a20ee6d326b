"""Transfer learning for image classification, from the command line and from Python."""
