"""The published sizes (paper 1, Tables II and III)."""

from __future__ import annotations

import pytest

import uniair
from uniair.models.baselines import ChannelViT
from uniair.models.presets import PRESETS


def test_base_has_the_published_towers() -> None:
    counts = uniair.build("base").parameter_counts()
    assert counts["epnn"] == 7_518_720
    assert counts["cfenn"] == 7_117_312


def test_base_is_about_19_million_in_all() -> None:
    counts = uniair.build("base").parameter_counts()
    shared_once = counts["epnn"] + counts["cfenn"] - counts["msnn"]
    assert counts["total"] == shared_once + counts["crnn"] + counts["projection"] + counts["unknown"] + 1
    assert counts["total"] == pytest.approx(19.1e6, rel=0.01)
    assert counts["total"] - counts["projection"] == pytest.approx(19.1e6, abs=0.05e6)


def test_the_whole_does_not_depend_on_how_many_blocks_are_shared() -> None:
    from dataclasses import replace

    from uniair.models.universal import UniversalModel

    base = PRESETS["base"]
    totals = {UniversalModel(replace(base, shared=m, crnn_blocks=m + 3)).parameter_counts()["total"] for m in (0, 2, 5)}
    assert len(totals) == 1


def test_baseline_vision_transformers() -> None:
    assert sum(p.numel() for p in ChannelViT(PRESETS["base"], (32,)).parameters()) == 7_125_024
    assert sum(p.numel() for p in ChannelViT(PRESETS["base"], (2, 2, 32)).parameters()) == 7_126_052
