"""Quality of a classifier: metrics, errors, calibration, and the expected gain of more images."""
