"""Networks from scratch: they learn, scale their targets, repeat with their seed, and have the published build."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, repeat

import pytest
import torch
from tests.conftest import geometric_links

from uniair import metrics
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.models.baselines import ChannelAutoencoder, ChannelViT, channel_side
from uniair.models.presets import PRESETS, Preset
from uniair.models.universal import UniversalModel
from uniair.tasks.registry import TASKS
from uniair.training.supervised import minibatches, steps, train_autoencoder, train_vit

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of(geometric_links(seed=5, areas=1, per_area=128))


def test_minibatches_pass_over_every_sample_in_another_order_each_epoch() -> None:
    first, second = (torch.cat(list(islice(minibatches(128, seed), 4))) for seed in (0, 0))
    assert torch.equal(first, second)
    for epoch in first.split(128):
        assert sorted(epoch.tolist()) == list(range(128))
    assert not torch.equal(first[:128], first[128:])
    assert sorted(next(minibatches(10, 0)).tolist()) == list(range(10))
    assert steps(epochs=3, count=128) == 6
    assert steps(epochs=3, count=10) == 3


def test_a_task_general_vit_learns_all_its_tasks(batch: Batch) -> None:
    tasks = [TASKS[name] for name in ("position", "los", "beam")]
    network = train_vit(tasks, batch.csi, [task.target(batch) for task in tasks], TINY, epochs=120, seed=0)
    position, los, beam = (
        task.measure(out, batch) for task, out in zip(tasks, network.predict(batch.csi), strict=True)
    )
    plan = batch.environment.ue[:, :2]
    assert position["median_m"] < 0.7 * float((plan - plan.mean(0)).norm(dim=1).median())
    assert los["accuracy"] > los["majority"] + 0.05
    assert beam["top1"] > 0.5


def test_the_same_seed_gives_the_same_network(batch: Batch) -> None:
    target = [TASKS["beam"].target(batch)]
    one, same, other = (
        train_vit([TASKS["beam"]], batch.csi, target, TINY, 2, seed).outputs.weight for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_regression_is_scaled_by_its_labels(batch: Batch) -> None:
    target = TASKS["position"].target(batch)
    network = train_vit([TASKS["position"]], batch.csi, [target], TINY, epochs=0, seed=0)
    with torch.no_grad():
        network.outputs.weight.zero_()
        network.outputs.bias.fill_(1.0)
    torch.testing.assert_close(network.predict(batch.csi)[0][0], target.mean(0) + target.std(0, correction=0))


def test_an_autoencoder_learns_to_restore_channels(batch: Batch) -> None:
    csi = batch.csi[:16]

    def nmse(count: int) -> float:
        network = train_autoencoder(TINY, repeat(csi), count, seed=0)
        with torch.inference_mode():
            return metrics.nmse_db(network.restore(csi), network.normalise(csi))

    assert nmse(120) < min(nmse(0), 0.0) - 1


def test_an_autoencoder_is_the_universal_models_side_of_the_channel() -> None:
    whole = UniversalModel(replace(TINY, radios="one"))
    counts = whole.parameter_counts()
    parameters = sum(p.numel() for p in ChannelAutoencoder(TINY).parameters())
    assert parameters == counts["cfenn"] + counts["crnn"] + whole.project_channel.weight.numel()


def test_what_the_channels_side_of_a_preset_leaves_out_changes_no_network() -> None:
    def shapes(shape: Preset) -> list[torch.Size]:
        return [
            p.shape for network in (ChannelViT(shape, (2,)), ChannelAutoencoder(shape)) for p in network.parameters()
        ]

    other = replace(PRESETS["small"], **channel_side(TINY))
    assert other != TINY
    assert shapes(other) == shapes(TINY)


def test_bad_labels(batch: Batch) -> None:
    task, target = TASKS["position"], TASKS["position"].target(batch)
    with pytest.raises(InputError, match="one label a CSI"):
        train_vit([task], batch.csi, [target[:-1]], TINY, 1, 0)
    with pytest.raises(InputError, match="NaN"):
        train_vit([task], batch.csi, [target.where(target > target.min(), torch.nan)], TINY, 1, 0)
