from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uniair.models.backbone import Backbone, load_backbone
from uniair.models.sequence_baselines import GRU, NearestPositions, Persistence, ReprogrammedLM

BEAMS, FUTURE = 16, 3


def measured(n: int = 2, t: int = 5) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    power = torch.rand(n, t, BEAMS, generator=draw) + 0.01
    return {"power": power, "beam": power.argmax(2), "position": torch.randn(n, t, 4, generator=draw)}


def test_persistence_keeps_the_last_beam_through_a_loss() -> None:
    steps = measured()
    steps["power"][0, 4] = torch.nan
    said = Persistence(BEAMS, FUTURE)(steps)
    assert said.logits.shape == (2, 5, FUTURE + 1, BEAMS)
    assert (said.logits[0, 4].argmax(1) == steps["beam"][0, 3]).all()
    torch.testing.assert_close(said.power[1, 4, 2], 10 * torch.log10(steps["power"][1, 4]))


def test_nearest_positions_say_what_followed_there() -> None:
    place = torch.arange(20.0)[:, None] * torch.tensor([1.0, 0.0, 0.0, 0.0]) + torch.tensor([0.0, 5.0, 1.0, 0.0])
    later = torch.stack([torch.arange(20) // 2 + h for h in range(FUTURE)], dim=1)
    model = NearestPositions(place, later, BEAMS, k=2)
    steps = measured(1, 1) | {"position": torch.tensor([[[10.4, 5.0, 1.0, 0.0]]])}
    assert model(steps).logits[0, 0, 1:].argmax(1).tolist() == [5, 6, 7]
    nowhere = steps | {"position": torch.full((1, 1, 4), torch.nan)}
    assert torch.isfinite(model(nowhere).logits).all()


def test_gru_is_causal_and_takes_the_unit_out() -> None:
    torch.manual_seed(0)
    steps = measured()
    model = GRU(steps["power"].flatten(0, 1), FUTURE)
    said = model(steps).logits
    later = steps | {"power": torch.cat([steps["power"][:, :4], steps["power"][:, 4:].flip(2)], dim=1)}
    torch.testing.assert_close(said[:, :4], model(later).logits[:, :4])
    louder = GRU(10 * steps["power"].flatten(0, 1), FUTURE)
    louder.load_state_dict(model.state_dict() | {"shift": louder.shift})
    torch.testing.assert_close(louder(steps | {"power": 10 * steps["power"]}).logits, said, atol=1e-4, rtol=1e-4)


@pytest.fixture
def backbone() -> Backbone:
    pytest.importorskip("transformers")
    return load_backbone("tiny")


def test_only_the_reprogramming_of_a_language_model_learns(backbone: Backbone) -> None:
    torch.manual_seed(0)
    steps, language = measured(), backbone.model
    model = ReprogrammedLM(backbone, steps["power"].flatten(0, 1), FUTURE, words=100)
    said = model(steps)
    assert said.logits.shape == (2, 5, FUTURE + 1, BEAMS)
    said.logits[..., 1:, :].square().sum().backward()
    assert all(p.grad is None for p in language.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert not any(name.startswith("_language") for name in model.state_dict())


def test_what_a_language_model_reads_begins_as_a_text_does_and_lies_where_its_words_lie(backbone: Backbone) -> None:
    table = backbone.model.get_input_embeddings().weight
    torch.nn.init.normal_(table)
    table.data += 10.0  # words all lie in one direction
    torch.manual_seed(0)
    steps = measured()
    model = ReprogrammedLM(backbone, steps["power"].flatten(0, 1), FUTURE, words=100)
    read: list[torch.Tensor] = []
    backbone.model.register_forward_pre_hook(
        lambda module, args, options: read.append(options["inputs_embeds"]), with_kwargs=True
    )
    model(steps)
    assert torch.equal(read[0][0, 0], table[backbone.beginning])
    far = (read[0][:, 1 + model.PROMPT :] - table.mean(0)).norm(dim=-1)
    assert far.max() < (table - table.mean(0)).norm(dim=-1).min() < table.mean(0).norm()
    assert far.min() > 0
