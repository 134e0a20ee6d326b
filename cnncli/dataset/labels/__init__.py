"""Label sources: where images and their labels come from. Each module returns `LabeledImages`."""
