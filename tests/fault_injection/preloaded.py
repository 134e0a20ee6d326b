"""Everything that a cage needs, imported once: forks of the process that has it begin at once.

Nothing is computed here: TensorFlow and OpenVINO start their threads with their first work, and threads do not survive
a fork.
"""

from __future__ import annotations

import cv2  # noqa: F401
import h5py  # noqa: F401

import cnncli.config.reader
import cnncli.recipes.evaluate
import cnncli.recipes.finetune
import cnncli.recipes.predict
import cnncli.recipes.prepare_data
import cnncli.recipes.resume
import cnncli.runs.listing  # noqa: F401
from cnncli.engines.openvino import import_openvino
from cnncli.networks.backend import import_keras

import_openvino()
import_keras()
