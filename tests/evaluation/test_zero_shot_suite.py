from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import uniair
from uniair import metrics
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.evaluation.zero_shot_suite import answer, sample, untrained, zero_shot_suite
from uniair.models.presets import PRESETS
from uniair.models.sight_line import sight_line
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot


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


def test_the_line_of_sight_on_the_map_stands_beside_the_model(links: Links) -> None:
    model = untrained(uniair.build("tiny"))
    in_sight = ~sight_line(batch_of(links).environment).blocked.numpy()
    figures = zero_shot_suite(model, links).figures
    assert figures["los_geometry"].value == pytest.approx((in_sight == links.los).mean())
    assert figures["los_geometry"].reference == pytest.approx(metrics.majority(links.los))
    assert figures["los"].reference == figures["los_geometry"].value
    assert figures["los_map"].reference == figures["los_geometry"].reference
    nowhere = zero_shot_suite(model, replace(links, mapped=np.zeros_like(links.mapped))).figures
    assert "los_geometry" not in nowhere
    assert nowhere["los"].reference == pytest.approx(metrics.majority(links.los))


def test_weights_of_one_radio_count_the_power_by_the_rule(links: Links) -> None:
    model = UniversalModel(replace(PRESETS["tiny"], radios="one")).eval()
    part = links.select(links.area == 0)
    batch = batch_of(part)
    want = zero_shot.los(model, batch.csi, batch.environment.without("bs", "ue"), replace(batch.radio, calibrated=True))
    np.testing.assert_allclose(answer(model, part).los_calibrated, want, atol=1e-5)


def test_a_sample_holds_whole_areas(links: Links) -> None:
    part = sample(links, 20, seed=0)
    assert 20 <= len(part) < 48
    assert all((np.bincount(part.area)) == 12)
