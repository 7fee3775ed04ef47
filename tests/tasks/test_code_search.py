from __future__ import annotations

import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair import metrics
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot
from uniair.tasks.code_search import CHUNK, search_code


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return uniair.load("small")


@pytest.fixture(scope="module")
def csi() -> torch.Tensor:
    return batch_of(geometric_links(seed=3, areas=2, per_area=12)).csi


def test_the_longer_the_search_the_nearer_the_channel(model: UniversalModel, csi: torch.Tensor) -> None:
    errors = [metrics.nmse_db(*zero_shot.feedback(model, csi, steps)) for steps in (0, 5, 20)]
    assert errors[0] - 0.5 > errors[1] > errors[2] + 0.2
    torch.testing.assert_close(search_code(model, csi, 0), model.encode_channel(csi))


def test_what_is_sent_is_a_code_and_the_model_stays_as_it_was(model: UniversalModel, csi: torch.Tensor) -> None:
    z = search_code(model, csi, 3)
    assert z.shape == (len(csi), model.preset.embedding)
    assert not z.requires_grad
    torch.testing.assert_close(z.norm(dim=1), torch.ones(len(csi)))
    assert all(p.grad is None for p in model.parameters())


def test_channels_are_searched_for_alone(model: UniversalModel, csi: torch.Tensor) -> None:
    many = csi.repeat(CHUNK // len(csi) + 1, 1, 1)
    torch.testing.assert_close(search_code(model, many, 2)[: len(csi)], search_code(model, csi, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(search_code(model, csi * 3j, 2), search_code(model, csi, 2), atol=1e-4, rtol=0)
    assert len(search_code(model, csi[:0], 2)) == 0


def test_fewer_steps_than_none_are_refused(model: UniversalModel, csi: torch.Tensor) -> None:
    with pytest.raises(InputError, match="-1 steps"):
        search_code(model, csi, -1)
