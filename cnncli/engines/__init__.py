"""Engines that run a frozen trunk: OpenVINO and Keras."""
