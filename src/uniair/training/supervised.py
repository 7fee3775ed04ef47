"""Paper 1's supervised baselines, trained from scratch (paper 1, IV-C)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from uniair import losses
from uniair.errors import InputError
from uniair.models.baselines import ChannelAutoencoder, ChannelViT, SmallAutoencoder, TapGRU
from uniair.models.presets import Preset
from uniair.tasks.alignment import Alignment
from uniair.tasks.task import Task
from uniair.training.distributed import ALONE, World
from uniair.training.loop import Optimisation, run

BATCH = 64  # paper 1, IV-B
RECIPE = Optimisation(learning_rate=1e-3, warmup=0.05)


def minibatches(count: int, seed: int) -> Iterator[Tensor]:
    """Indices of `BATCH` of `count` samples (all where there are fewer), shuffled anew each epoch, without end."""
    size, order = min(BATCH, count), torch.Generator().manual_seed(seed)
    while True:
        yield from torch.split(torch.randperm(count, generator=order)[: count - count % size], size)


def steps(epochs: int, count: int) -> int:
    """Steps that so many passes over `count` samples take."""
    return epochs * max(1, count // BATCH)


def train_vit(
    tasks: Sequence[Task], csi: Tensor, targets: Sequence[Tensor], shape: Preset, epochs: int, seed: int,
    world: World = ALONE,
) -> ChannelViT:  # fmt: skip
    """One network for all the tasks: of one a Task-Specific ViT, of several a Task-General ViT (sum of their losses).

    Args:
        csi: complex64 [N, antennas, subcarriers], on the device to train on.
        targets: [N] or [N, outputs] labels of each task.

    Raises:
        InputError: CSI and labels of different lengths, NaN, or none.
    """
    if not len(csi) or any(len(target) != len(csi) for target in targets):
        lengths = ", ".join(str(len(target)) for target in targets)
        raise InputError(f"{len(csi)} CSI and {lengths} labels: give one label a CSI, at least one")
    if not all(torch.isfinite(values).all() for values in (torch.view_as_real(csi), *targets)):
        raise InputError("CSI or labels hold NaN or infinite values; leave those samples out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ChannelViT(shape, tuple(task.widths[-1] for task in tasks)).to(csi.device)
    targets = [target.to(csi.device) for target in targets]
    scales = []  # in the targets' own units a regression's loss would be of any size
    offsets, units = (torch.split(fixed, list(network.sizes)) for fixed in (network.offset, network.unit))
    for task, target, offset, unit in zip(tasks, targets, offsets, units, strict=True):
        if task.regression:
            offset.copy_(target.mean(0))
            unit.copy_(target.std(0, correction=0).clamp_min(1e-6))
        scales.append(float(unit.square().mean()))

    batches, config = minibatches(len(csi), seed), replace(RECIPE, steps=steps(epochs, len(csi)), seed=seed)

    def loss(_: int) -> dict[str, Tensor]:
        index = world.share(next(batches))
        found = network(csi[index])
        parts = [
            task.loss(out, target[index]) / scale
            for task, out, target, scale in zip(tasks, found, targets, scales, strict=True)
        ]
        return {"total": torch.stack(parts).sum()}

    return run(network, loss, config, about="network from scratch", world=world)


def train_autoencoder(
    shape: Preset,
    batches: Iterator[Tensor],
    count: int,
    seed: int,
    device: torch.device | str = "cpu",
    task: Alignment = Alignment(),
    world: World = ALONE,
) -> ChannelAutoencoder:
    """An autoencoder trained by pretraining's reconstruction terms alone.

    Args:
        batches: CSI complex64 [N, antennas, subcarriers], without end.
        count: steps.
        device: to train on.
        task: weights of the terms.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ChannelAutoencoder(shape).to(device)

    def loss(_: int) -> dict[str, Tensor]:
        out = network(world.share(next(batches)).to(device))
        total = task.reconstruction_weight * losses.reconstruction(out["reconstruction"], out["csi"])
        if "where" in out:
            total = total + task.profile_weight * losses.power_profile(out["where"], out["power"])
        return {"total": total}

    return run(network, loss, replace(RECIPE, steps=count, seed=seed), about="autoencoder", world=world)


def train_tap_gru(
    draw: Callable[[int], tuple[Tensor, Tensor, Tensor]], future: int, count: int, seed: int, world: World = ALONE
) -> TapGRU:
    """A predictor of taps, by the error's power over the channels' own.

    Args:
        draw: number of a step → past taps complex64 [S, T], the power of noise on each [S], and those to come
            [S, future], of channels of unit power.
        future: times to come.
        count: steps.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TapGRU(future)

    def loss(number: int) -> dict[str, Tensor]:
        past, noise, wanted = draw(number)
        error = (network(past, noise) - wanted).abs().square().sum()
        return {"total": error / wanted.abs().square().sum()}

    return run(network, loss, replace(RECIPE, steps=count, seed=seed, learning_rate=3e-3), about="taps", world=world)


def train_small_autoencoder(csi: Tensor, count: int, seed: int) -> SmallAutoencoder:
    """A small autoencoder of a radio, trained by the squared error of its channels.

    Args:
        csi: complex64 [N, ports, subcarriers].
        count: steps.

    Raises:
        InputError: no CSI, or NaN.
    """
    if not len(csi) or not torch.isfinite(torch.view_as_real(csi)).all():
        raise InputError("CSI to train an autoencoder on: none, or NaN or infinite values; leave those samples out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SmallAutoencoder(csi.shape[1], csi.shape[2])
    batches = minibatches(len(csi), seed)

    def loss(_: int) -> dict[str, Tensor]:
        truth = network.normalise(csi[next(batches)])
        return {"total": losses.reconstruction(network.decode(network.encode(truth)), truth)}

    return run(network, loss, replace(RECIPE, steps=count, seed=seed), about="autoencoder")
