from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.data.drives.moving import BEAMS, drive, drives

from uniair.data.drives.passages import Augmentation, Passages
from uniair.data.drives.windows import cut
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.tasks.beam_forecast import figures, forecasts
from uniair.training.forecast_adaptation import HEADS, OnlineLearning, OnSite, adapt_on_site, adapt_online, blocks
from uniair.training.forecasting import tensors, validation

PLAIN = Augmentation(0.0, 0.0, 0.0)
QUICK = OnSite(batch=16, length=4, augmentation=PLAIN, replay=0.0)


def plan(config: OnSite, **changes: Any) -> OnSite:
    return replace(config, optimisation=replace(config.optimisation, **changes))


QUICK = plan(QUICK, steps=40)


@pytest.fixture
def model() -> WMLM:
    torch.manual_seed(0)
    return WMLM(ForecastPreset(width=32, beams=BEAMS, past=3, future=2, context=6)).eval()


@pytest.fixture
def site() -> Passages:
    return Passages(tuple(drives(5)), QUICK.length + 2, PLAIN)


@pytest.fixture
def begun(model: WMLM, site: Passages) -> WMLM:
    """Blocks learn nothing while the heads are still zero."""
    return adapt_on_site(model, site, plan(replace(QUICK, part="head"), steps=10))[0]


def loss(model: WMLM) -> float:
    windows = cut([drive("scenario1/00009", 24, 9)], 3, 2)
    return validation(windows, tensors(windows.steps()))(model)


@pytest.mark.parametrize("part", ["head", "lora", "all"])
def test_it_learns_and_the_model_given_stays(begun: WMLM, site: Passages, part: str) -> None:
    before = {name: value.clone() for name, value in begun.state_dict().items()}
    adapted, tuned = adapt_on_site(begun, site, replace(QUICK, part=part))
    assert loss(adapted) < loss(begun) - 0.05
    assert all(torch.equal(value, before[name]) for name, value in begun.state_dict().items())
    assert type(adapted) is WMLM
    assert adapted.state_dict().keys() == before.keys()
    assert all(p.requires_grad for p in adapted.parameters())
    total = begun.parameter_counts()["total"]
    assert tuned == total if part == "all" else 0 < tuned < total


@pytest.mark.parametrize(("part", "may_change"), [("head", HEADS), ("lora", ("blocks.0.qkv", "blocks.0.out"))])
def test_the_base_stays_frozen(begun: WMLM, site: Passages, part: str, may_change: tuple[str, ...]) -> None:
    adapted, _ = adapt_on_site(begun, site, plan(replace(QUICK, part=part), steps=5))
    changed = {n for n, v in adapted.state_dict().items() if not torch.equal(v, begun.state_dict()[n])}
    assert changed
    assert all(name.startswith(may_change) for name in changed)


def test_the_same_seed_gives_the_same_weights(begun: WMLM, site: Passages) -> None:
    config = plan(QUICK, steps=4)
    one, two, other = (adapt_on_site(begun, site, plan(config, seed=seed))[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_replay_draws_from_earlier_sites(model: WMLM, site: Passages) -> None:
    earlier = Passages(tuple(drives(3, scenario="old")), QUICK.length + 2, PLAIN)
    config = plan(replace(QUICK, part="head"), steps=4)
    plain = adapt_on_site(model, site, config)[0].state_dict()
    mixed = adapt_on_site(model, site, replace(config, replay=0.5), earlier)[0].state_dict()
    assert any(not torch.equal(plain[name], mixed[name]) for name in plain)


@pytest.mark.parametrize(("wrong", "line"), [({"part": "tail"}, "no part 'tail'"), ({"replay": 1.0}, "a share below 1"),
                                            ({"rank": 0}, "rank 0")])  # fmt: skip
def test_wrong_settings(wrong: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        OnSite(**wrong)  # type: ignore[arg-type]


def untrained() -> WMLM:
    torch.manual_seed(0)
    return WMLM(ForecastPreset(width=32, beams=BEAMS, context=5, dropout=0.0))


def test_nothing_is_learned_before_it_was_measured() -> None:
    windows = cut([drive(f"s/{n}", 20, n) for n in range(3)])
    seen = 0
    for index, known in blocks(windows, every=6, memory=2):
        chosen = windows.select(np.arange(index.start, index.stop))
        assert index.start == seen
        assert len(set(chosen.drive.tolist())) == 1
        running = windows.drives[chosen.drive[0]]
        for one in known:
            limit = chosen.start[0] + windows.past if one.name == running.name else len(one)
            assert len(one) <= limit
        assert len(known) <= 3
        seen = index.stop
    assert seen == len(windows)


def test_adapting_online_helps_where_training_never_was() -> None:
    windows = cut([drive(f"s/{n}", 24, n, back=bool(n % 2)) for n in range(6)])
    steps = tensors(windows.steps())
    before = figures(forecasts(untrained().eval(), steps, 5), steps, 5)
    config = OnlineLearning(every=10, batch=8, length=4)
    config = replace(config, optimisation=replace(config.optimisation, steps=6, learning_rate=3e-3))
    model = untrained()
    after = figures(adapt_online(model, windows, config, Passages(tuple(drives(2)), 7)), steps, 5)
    assert after["1"]["top1"] > before["1"]["top1"] + 0.1
    frozen = untrained()
    once = replace(config, optimisation=replace(config.optimisation, steps=1))
    adapt_online(frozen, windows, once, tuned=lambda name: name.startswith("by_beam"))
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, untrained().state_dict()[name]) != name.startswith("by_beam"), name
