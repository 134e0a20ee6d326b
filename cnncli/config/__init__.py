"""From a YAML file to typed settings, and from a mode to stages."""
