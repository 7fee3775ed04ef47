"""Training on several processes under `torchrun`, and on how many threads each computes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

SMALL = 500_000  # parameters; of fewer than these a step is quickest on one thread


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `size`, and the device that it trains on."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls) -> World:
        """One process, on the GPU where there is one."""
        return cls(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def main(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a batch that all processes drew alike: as many for each, so the mean of their means
        is the batch's; a remainder is left out, and of fewer rows than processes each gets all.
        """
        if len(batch) < self.size:
            return batch
        return batch[self.rank : len(batch) - len(batch) % self.size : self.size]

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            dist.barrier()


ALONE = World(0, 1, torch.device("cpu"))  # of training where its inputs are, whatever the device


@contextmanager
def world() -> Iterator[World]:
    """Joins the other processes that `torchrun` started; alone without it."""
    if "RANK" not in os.environ:
        yield World.alone()
        return
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device(f"cuda:{local}" if cuda else "cpu")
    if cuda:
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def whole(value: Tensor) -> Tensor:
    """A tensor on the CPU, gathered from all processes where it is split among them (FSDP2)."""
    split = getattr(value.detach(), "full_tensor", None)
    return (split() if split else value.detach()).cpu().contiguous()


def agree(parameters: Iterable[Tensor]) -> None:
    """Gives all processes the first one's parameters."""
    for value in parameters:
        if not hasattr(value, "full_tensor"):
            dist.broadcast(value.detach(), 0)


def average(parameters: Iterable[Tensor], size: int) -> None:
    """Replaces gradients by their mean over all processes, which must have the same ones; FSDP2's are that already."""
    found = [p.grad for p in parameters if p.grad is not None and not hasattr(p, "full_tensor")]
    if found:
        together = torch.cat([gradient.flatten() for gradient in found]) / size
        dist.all_reduce(together)
        parts = torch.split(together, [gradient.numel() for gradient in found])
        for gradient, mean in zip(found, parts, strict=True):
            gradient.copy_(mean.view_as(gradient))


def is_small(model: nn.Module) -> bool:
    """Whether handing a model's work to several threads costs more than it saves."""
    return sum(p.numel() for p in model.parameters()) < SMALL


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads an operation within the block; None leaves them.

    On a machine with other work, threads that wait for one another make steps of microseconds ten times as long.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
