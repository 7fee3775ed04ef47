"""LOS heads that begin at zero-shot: what they are without labels, with few and with many, and as files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import geometric_links
from torch import Tensor

import uniair
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks import zero_shot
from uniair.training.heads import Adaptation, HeadTraining, adapt, embed, load_head, save_head
from uniair.training.zero_shot_start import FACTOR, OFFSET, SPREADS, _likeliest, direction, fit_from_zero_shot

CALIBRATED = Radio(calibrated=True)


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny").eval()


@pytest.fixture(scope="module")
def area() -> Links:
    return geometric_links(seed=3, areas=1, per_area=120)


def drawn(count: int, width: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings of unit norm, zero-shot log-odds that are wrong in one direction of them, and labels."""
    draw = torch.Generator().manual_seed(1)
    z = torch.nn.functional.normalize(torch.randn(count, width, generator=draw, dtype=torch.float64), dim=1)
    odds, wrong = 12 * z[:, 0] + 6 * z[:, 1], 24 * z[:, 1]
    return odds, z, (torch.sigmoid(odds - wrong) > torch.rand(count, generator=draw)).double()


def accuracy(odds: Tensor, los: Tensor) -> float:
    return float(((odds > 0) == (los > 0)).double().mean())


def test_without_labels_it_is_zero_shot(model: UniversalModel, area: Links) -> None:
    batch = batch_of(area, CALIBRATED)
    z = embed(model, batch, "channel")
    side = float(batch.environment.size[0])
    asked = direction(model, side, CALIBRATED)
    none = fit_from_zero_shot(torch.zeros(0), z[:0], torch.zeros(0))
    assert (none.factor, none.offset, none.spread) == (1.0, 0.0, SPREADS[0])
    alone = replace(batch.environment, size=torch.full((len(batch),), side)).without("map", "bs", "ue")
    wanted = zero_shot.los_odds(model, batch.csi, alone, CALIBRATED)
    assert wanted.std() > 0.01
    with torch.inference_mode():
        said = none.head(asked)(z)
    torch.testing.assert_close(said[:, 1] - said[:, 0], wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(none.odds(wanted, z), wanted.double())


def test_few_labels_mend_little_and_many_all() -> None:
    odds, z, los = drawn(6000)
    held = slice(4000, None)
    said = []
    for count in (0, 16, 4000):
        line = fit_from_zero_shot(odds[:count], z[:count], los[:count])
        said.append(accuracy(line.odds(odds[held], z[held]), los[held]))
    best = accuracy(12 * z[held, 0] - 18 * z[held, 1], los[held])
    assert said[0] < best - 0.2  # zero-shot is wrong here
    assert said[1] > said[0] - 0.05
    assert said[2] > best - 0.01
    assert line.spread >= 3


def test_labels_that_agree_with_zero_shot_leave_it_alone() -> None:
    _, z, _ = drawn(300)
    odds = 20 * z[:, 0]
    los = (torch.sigmoid(odds) > torch.rand(300, generator=torch.Generator().manual_seed(2))).double()
    line = fit_from_zero_shot(odds, z, los)
    assert line.spread <= 1
    assert line.factor == pytest.approx(1, abs=0.4)
    one = fit_from_zero_shot(odds[:5], z[:5], torch.ones(5))  # labels of one class
    assert all(math.isfinite(v) for v in (one.factor, one.offset))


def test_it_is_the_posteriors_mode_and_the_evidence_is_laplaces() -> None:
    odds, z, los = drawn(40, width=2)
    columns = torch.cat([odds[:, None], torch.ones(40, 1), z], 1)
    found, evidence = _likeliest(columns, los, 3.0)
    deviation, mean = torch.tensor([FACTOR, OFFSET, 3.0, 3.0]), torch.tensor([1.0, 0, 0, 0])

    def log_joint(at: Tensor) -> Tensor:
        chosen = torch.distributions.Bernoulli(logits=columns @ at).log_prob(los).sum()
        return chosen + torch.distributions.Normal(mean, deviation).log_prob(at).sum()

    at = found.clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_joint(at), at)
    assert slope.abs().max() < 1e-5
    hessian = torch.autograd.functional.hessian(log_joint, found)
    laplace = log_joint(found) + 2 * math.log(2 * math.pi) - 0.5 * torch.linalg.slogdet(-hessian).logabsdet
    assert evidence == pytest.approx(float(laplace), abs=1e-4)


def test_an_area_s_head_knows_the_power_and_its_file_is_as_every_head_s(
    model: UniversalModel, area: Links, tmp_path: Path
) -> None:
    wanted = Adaptation(task="los", labels=16)
    calibrated, plain = (adapt(model, area, wanted, radio=radio) for radio in (CALIBRATED, Radio()))
    assert not torch.equal(calibrated.head.layers[0].weight, plain.head.layers[0].weight)
    assert calibrated.head.widths == (model.preset.embedding, 2)
    save_head(tmp_path / "los.safetensors", calibrated.head, wanted, model, CALIBRATED, {})
    read = load_head(tmp_path / "los.safetensors", model, "los")
    assert read.radio == CALIBRATED
    z = embed(model, batch_of(area, CALIBRATED), read.inputs)
    with torch.inference_mode():
        assert torch.equal(read.head(z), calibrated.head(z))
    trained = adapt(model, area, wanted, HeadTraining(epochs=1, steps=20), CALIBRATED, zero_shot=False)
    assert not torch.equal(trained.head.layers[0].weight, calibrated.head.layers[0].weight)


def test_bad_input_is_one_line(model: UniversalModel, area: Links) -> None:
    odds, z, los = drawn(8)
    with pytest.raises(InputError, match=r"labels \(7,\): give \[N\]"):
        fit_from_zero_shot(odds, z, los[:7])
    with pytest.raises(InputError, match="other than 0 and 1"):
        fit_from_zero_shot(odds, z, 2 * los + 1)
    with pytest.raises(InputError, match="NaN"):
        fit_from_zero_shot(odds * np.nan, z, los)
    with pytest.raises(InputError, match="los from environment has no zero-shot answer"):
        adapt(model, area, Adaptation(task="los", inputs="environment"), zero_shot=True)
