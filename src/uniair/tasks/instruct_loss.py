"""What AI²MMUM is trained by: its tasks' losses in comparable units, its fixed scalings, and its calibration."""

from __future__ import annotations

from collections.abc import Container, Mapping

import torch
from torch import Tensor

from uniair.models.instruct import InstructModel
from uniair.tasks.task import Task

FIRST = 512  # samples whose features the heads' inputs are standardised by


def loss(model: InstructModel, task: Task, z: Tensor, truth: Tensor) -> Tensor:
    """A task's loss, in units of its targets' variance where it is a regression: scalar."""
    out = task.loss(model(task.name, z), truth)
    return out / model.head(task.name).unit.square().mean() if task.regression else out


@torch.no_grad()
def standardise(
    model: InstructModel,
    embeddings: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    tasks: Mapping[str, Task],
    adapters: Container[str],
) -> None:
    """Sets the fixed scalings of adapters and heads from training data.

    Adapters' come first: where the design says so, heads are set from what the untrained model makes of them.

    Args:
        embeddings: modality → [N, E].
        targets: task → labels.
        tasks: by name, those of the targets at least.
        adapters: modalities whose adapters' scalings are set; others are trained already.
    """
    for modality, z in embeddings.items():
        if modality in adapters:
            model.adapter(modality).standardise(z)
    for task, truth in targets.items():
        head = model.head(task)
        if "heads" in model.design.start:
            z = embeddings[model.instructions[task].modality][:FIRST].to(head.shift.device)
            head.standardise(torch.cat([model.feature(task, part) for part in torch.split(z, 64)]))
        if tasks[task].regression:
            head.offset.copy_(truth.mean(0))
            head.unit.copy_(truth.std(0, correction=0).clamp_min(1e-6))


@torch.no_grad()
def temperature(logits: Tensor, truth: Tensor) -> float:
    """The temperature by which logits [N, classes] are best calibrated on labels that they were not trained on."""
    with torch.enable_grad():
        log_t = torch.zeros((), requires_grad=True)
        optimiser = torch.optim.LBFGS([log_t], lr=0.5, max_iter=50, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            value = torch.nn.functional.cross_entropy(logits / log_t.exp(), truth)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return float(log_t.detach().exp())
