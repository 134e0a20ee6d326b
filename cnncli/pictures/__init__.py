"""From a folder of pictures to a manifest and to uint8 arrays."""
