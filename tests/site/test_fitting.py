from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from uniair.site.fitting import fit_on_streets
from uniair.tasks.registry import TASKS
from uniair.training.heads import HeadTraining, fit

SHORT = HeadTraining(epochs=0, steps=300)


def streets(count: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Embeddings of one direction a street and noise in the others, and where the links are."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 200, (count, 2)).astype(np.float32)
    z = rng.normal(size=(count, 128))
    z[:, :2] += places / 20
    return functional.normalize(torch.from_numpy(z).float(), dim=1), places


def test_a_noisy_regression_is_better_on_other_streets() -> None:
    z, places = streets(900)
    truth = torch.from_numpy(places[:, :1])
    noisy = truth + 60 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    test = torch.from_numpy(places[:, 1] > 150)
    task = TASKS["path_loss"]
    plain = fit(task, z[~test], noisy[~test], SHORT)
    ours = fit_on_streets(task, z[~test], noisy[~test], places[~test.numpy()], SHORT)
    error = [float((head(z[test]).detach() - truth[test]).square().mean()) for head in (plain, ours)]
    assert error[1] < 0.9 * error[0]


def test_a_classification_says_how_sure_it_may_be() -> None:
    z, places = streets(900)
    label = torch.from_numpy((places[:, 0] + np.random.default_rng(1).normal(0, 60, len(places)) > 100).astype(int))
    test = torch.from_numpy(places[:, 1] > 150)
    task = TASKS["los"]
    gap = []
    for head in (
        fit(task, z[~test], label[~test], SHORT),
        fit_on_streets(task, z[~test], label[~test], places[~test.numpy()], SHORT),
    ):
        said = head(z[test]).detach().softmax(1).max(1)
        gap.append(float(said.values.mean() - (said.indices == label[test]).float().mean()))
    assert abs(gap[1]) < 0.08 < gap[0]


def test_a_few_labels_are_enough_and_the_same_seed_gives_the_same_head() -> None:
    z, places = streets(16)
    label = torch.arange(16) % 2
    one, two = (fit_on_streets(TASKS["los"], z, label, places, SHORT) for _ in range(2))
    assert torch.equal(one(z), two(z))
    assert one(z).shape == (16, 2)
    assert float(one.unit[0]) == pytest.approx(1.0)
