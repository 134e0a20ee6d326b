"""All imports of a sandbox, done once so that forks of this process start immediately.

Nothing is computed here. TensorFlow and OpenVINO start their threads with the first computation, and threads do not
survive a fork.
"""

from __future__ import annotations

import cv2  # noqa: F401 - imported for the forks
import h5py  # noqa: F401 - imported for the forks

import cnncli.config.reader
import cnncli.recipes.data_prepare
import cnncli.recipes.evaluate
import cnncli.recipes.finetune
import cnncli.recipes.predict
import cnncli.recipes.resume
import cnncli.runs.listing  # noqa: F401 - imported for the forks
from cnncli.engines.openvino import import_openvino
from cnncli.networks.backend import import_keras

import_openvino()
import_keras()
