"""Label sources, which find images and their labels. Each module returns `LabeledImages`."""
