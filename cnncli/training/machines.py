"""The machines that compute features: this one, or those of a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from cnncli.features.extract import Compute, compute_here


@dataclass(frozen=True)
class Machines:
    """How work is done on other machines.

    Attributes:
        compute: Computes missing features.
    """

    compute: Compute = compute_here


HERE = Machines()
