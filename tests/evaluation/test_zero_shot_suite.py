from __future__ import annotations

import numpy as np
import pytest
import torch

import uniair
from uniair import metrics
from uniair.data.links.links import Links
from uniair.evaluation.zero_shot_suite import sample, untrained, zero_shot_suite


def test_metrics_against_hand_worked_values() -> None:
    csi = torch.tensor([[[1 + 0j, 1j]], [[2 + 0j, 0j]]])
    assert metrics.nmse_db(torch.zeros_like(csi), csi) == pytest.approx(0.0)
    assert metrics.nmse_db(0.9 * csi, csi) == pytest.approx(-20.0, abs=1e-4)
    beam = torch.randn(3, 32, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    assert metrics.sgcs(beam * (2 - 1j), beam) == pytest.approx(1.0, abs=1e-5)
    similarity = torch.tensor([[0.9, 0.2, 0.1], [0.8, 0.5, 0.1], [0.3, 0.3, 0.3]])
    assert metrics.true_ranks(similarity).tolist() == [0, 1, 2]  # a tie is no hit
    truth = np.array([True, True, True, False])
    assert metrics.majority(truth) == 0.75
    assert metrics.macro_f1(np.array([True, True, False, False]), truth) == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics.calibration_error(np.array([1.0, 1.0, 1.0, 0.0]), truth) == pytest.approx(0.0)
    assert metrics.calibration_error(np.array([0.9, 0.9, 0.9, 0.9]), truth) == pytest.approx(0.15)


def test_a_network_that_has_learned_nothing_scores_about_chance(links: Links) -> None:
    result = zero_shot_suite(untrained(uniair.build("tiny")), links)
    top1 = result.figures["top1"]
    assert top1.reference == pytest.approx(4 / 48)
    assert top1.value < 0.35
    assert result.links == 48
    assert len(result.area_accuracy) == 4
    assert set(result.values()) >= {"los", "los_map", "scale", "top1", "top5", "nmse_db"}


def test_a_sample_holds_whole_areas(links: Links) -> None:
    part = sample(links, 20, seed=0)
    assert 20 <= len(part) < 48
    assert all((np.bincount(part.area)) == 12)
