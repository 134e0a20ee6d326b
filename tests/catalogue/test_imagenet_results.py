"""Published results, and multiply-adds computed again."""

from __future__ import annotations

from typing import Any

import pytest

from cnncli.catalogue.imagenet_results import HUMAN_ERROR, ILSVRC, MULTIPLY_ADDS, PUBLISHED_ERRORS
from cnncli.catalogue.networks import NETWORKS
from cnncli.recipes.summary import summarize

QUICK = {"ConvNet", "LeNet5", "MobileNet", "SqueezeNet", "ResNet18"}


def _tiers() -> list[Any]:
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MULTIPLY_ADDS]


@pytest.mark.parametrize("name", _tiers())
def test_multiply_adds_are_those_that_the_network_has(name: str) -> None:
    """Row 90: the multiply-adds in the catalogue are those that `summary --top` counts."""
    assert summarize(name, top=bool(NETWORKS[name].top_classes)).multiply_adds == MULTIPLY_ADDS[name]


def test_every_network_has_multiply_adds() -> None:
    """Row 196: every network of the catalogue is in the table of multiply-adds."""
    assert set(MULTIPLY_ADDS) == set(NETWORKS)


def test_multiply_adds_of_well_known_networks() -> None:
    """Rows 2, 9, 15, 90 and 100, W1, W10 and W15: multiply-adds in billions are those that are published."""
    published = {
        **{"AlexNet": 0.717, "GoogLeNet": 1.583, "VGG16": 15.470, "VGG19": 19.632, "PlainNet34": 3.644},
        **{"ResNet18": 1.814, "ResNet34": 3.664, "ResNet50": 3.858, "ResNet101": 7.570, "ResNet152": 11.282},
    }

    assert {name: MULTIPLY_ADDS[name] / 1e9 for name in published} == pytest.approx(published, abs=5.1e-4)


def test_published_errors() -> None:
    """Rows 90 and 101, W16: errors of ResNets and of the entries of ILSVRC, which are not those of Keras's weights."""
    errors = {name: one.top5_error for name, one in PUBLISHED_ERRORS.items()}
    years = {entry.name: entry.top5_error for entry in ILSVRC}

    assert [errors[f"ResNet{depth}"] for depth in (18, 34, 50, 101, 152)] == [10.92, 8.58, 7.13, 6.44, 5.94]
    assert [errors[name] for name in ("AlexNet", "ZFNet", "VGG16", "GoogLeNet")] == [15.3, 14.8, 7.3, 6.7]
    assert (years["ResNet152"], years["AlexNet"]) == (3.57, 15.3)
    assert NETWORKS["VGG16"].top5 == 90.1
    assert all(one.source for one in (*PUBLISHED_ERRORS.values(), *ILSVRC))


def test_each_year_has_one_winner() -> None:
    """Row 195: one winner per year from 2010 to 2017; the error falls each year, below that of humans from 2015."""
    winners = [entry for entry in ILSVRC if entry.is_winner]

    assert [entry.year for entry in winners] == list(range(2010, 2018))
    assert [entry.top5_error for entry in winners] == sorted((entry.top5_error for entry in winners), reverse=True)
    assert [entry.year for entry in winners if entry.top5_error < HUMAN_ERROR] == [2015, 2016, 2017]
