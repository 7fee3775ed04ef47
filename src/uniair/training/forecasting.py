"""Training of forecasters: WMLM and what it is compared with, on one process or many (FSDP2 under `torchrun`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from uniair.data.digest import data_digest
from uniair.data.drives.passages import Passages
from uniair.data.drives.sensing import Steps
from uniair.data.drives.windows import Windows
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.universal import UniversalModel
from uniair.releases.node import located
from uniair.tasks import blockage_forecast, position_forecast
from uniair.tasks.beam_forecast import Forecasting, SensorAlignment, Terms, forecasts
from uniair.training.checkpoint import WEIGHTS, digest, fill, read_preset, read_tensors
from uniair.training.distributed import World
from uniair.training.loop import Optimisation, run

PACKAGED = Path(__file__).parents[1] / "weights" / "forecast"  # learned from the digital twin alone
SAMPLE = PACKAGED / "sample"  # drives of the twin that it did not learn from


@dataclass(frozen=True)
class ForecastTraining:
    """How a forecaster is trained.

    Attributes:
        batch: passages a step, over all processes.
        length: steps of a passage that are heard; each forecasts the steps after it.
        task: stage 2.
        optimisation: AdamW alone by default (`matrix_rate` 0); `save_every` is also how often it is validated.
    """

    batch: int = 64
    length: int = 8
    task: Forecasting = field(default_factory=Forecasting)
    optimisation: Optimisation = Optimisation(
        steps=1200, learning_rate=3e-3, matrix_rate=0.0, warmup=0.1, save_every=150
    )


def train(
    model: nn.Module,
    passages: Passages,
    config: ForecastTraining,
    world: World,
    out: Path | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    alignment: SensorAlignment | None = None,
    settings: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Trains and returns the model, in eval mode, with the weights of its best validation where there is one.

    Batch and what is hidden of a step are drawn from (seed, step) alone and split among the processes, so any number
    of them trains the same model, and a run that was killed goes on where it stopped. Stage 1 compares the steps of
    one process with each other.

    Args:
        passages: of `config.length` + F steps.
        out: folder for the log and the state; None keeps nothing.
        validate: a loss of the model in eval mode, lower is better.
        alignment: stage 1 instead of stage 2, of so many steps as it says.
        settings: that a run which goes on must share too, such as what the model began as.

    Raises:
        InputError: the loss is no longer finite, `out` holds a run with other settings or of other drives, or the batch
            does not divide among the processes.
    """
    if config.batch % world.size:
        raise InputError(f"batch {config.batch}: not divisible among {world.size} processes")
    model = shard(model.to(world.device), world)
    plan, part = config.optimisation, slice(world.rank, None, world.size)
    if alignment is not None and alignment.steps:
        plan = replace(plan, steps=alignment.steps)

    def loss(number: int) -> dict[str, Tensor]:
        steps = tensors(passages.draw(config.batch, np.random.default_rng([plan.seed, number])))
        draw = torch.Generator().manual_seed(plan.seed * 1_000_003 + number)
        torch.manual_seed(plan.seed * 1_000_003 + number + world.rank)  # of dropout
        used = {"power", "beam", *getattr(model, "encoders", ())}  # of a modality that no one hears nothing is hidden
        heard = config.task.hide({k: values[:, : config.length] for k, values in steps.items() if k in used}, draw)
        mine, full = ({k: v[part].to(world.device) for k, v in one.items()} for one in (heard, steps))
        if alignment is None:
            return over_all(config.task.terms(model, mine, full), world)
        assert isinstance(model, WMLM)
        terms = alignment.loss(model, mine)
        return terms | {"total": terms["alignment"]}

    own = asdict(config) | {
        "alignment": asdict(alignment) if alignment else None, "drives": data_digest(passages.drives),
        "augmentation": asdict(passages.augmentation), **(settings or {}),
    }  # fmt: skip
    run(model, loss, plan, about="forecaster", world=world, out=out, settings=own, best="validation",
        validate=(lambda: {"validation": validate(model)}) if validate else None)  # fmt: skip
    if world.size > 1:
        from torch.distributed.fsdp import FSDPModule

        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # what a validation gathered isn't what was chosen
    return model


def shard(model: nn.Module, world: World) -> nn.Module:
    """The model itself for one process; else its weights split among all, block by block (FSDP2)."""
    if world.size > 1:
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # half a second to import

        for block in getattr(model, "blocks", ()):
            fully_shard(block)
        fully_shard(model)
        if isinstance(model, WMLM):
            register_fsdp_forward_method(model, "tokens")
    return model


def over_all(terms: Terms, world: World) -> dict[str, Tensor]:
    """The loss of the whole batch, of which each process has a part; their mean gradient is the whole's."""
    if world.size == 1:
        return terms.means()
    counts = {name: count.clone() for name, count in terms.counts.items()}
    sums = {name: value.detach().clone() for name, value in terms.sums.items()}
    for value in (*counts.values(), *sums.values()):
        dist.all_reduce(value)
    found, mine = Terms(sums, counts, terms.weights).means(), world.size * terms.means(counts)["total"]
    return found | {"total": mine + (found["total"] - mine).detach()}


def tensors(steps: Steps) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in steps.items()}


def validation(windows: Windows, steps: Mapping[str, Tensor], only: str = "") -> Callable[[nn.Module], float]:
    """Cross-entropy of the future beams of windows, mean over windows and horizons; of a model that forecasts them too,
    with the mean error of the positions, m, and the negative log-likelihood of what came of the line of sight added.

    Args:
        steps: of all the windows.
        only: one of `TASKS`, whose loss alone counts.
    """
    past = windows.past

    def loss(model: nn.Module) -> float:
        said = forecasts(model, steps, past)
        truth = steps["beam"][:, past : past + said.logits.shape[1] - 1]
        found = {"beam": float(nn.functional.cross_entropy(said.logits[:, 1:].flatten(0, 1), truth.flatten()))}
        if said.position is not None:
            total, count = position_forecast.term(said.position[:, None], steps["place"][:, past - 1 :])
            found["position"] = float(total / count.clamp_min(1))
        if said.hazard is not None:
            total, count = blockage_forecast.term(said.hazard[:, None], steps["sight"][:, past - 1 :])
            found["blockage"] = float(total / count.clamp_min(1))
        return found[only] if only else sum(found.values())

    return loss


def load_forecaster(folder: Path, tower: Callable[[], UniversalModel] | None = None) -> WMLM:
    """The model in a folder, in eval mode.

    Args:
        folder: or `registry:NAME@VERSION`.
        tower: gives the universal model that a forecaster with `csi` reads it through; called for such a one alone.

    Raises:
        InputError: no forecaster there, a broken one, one that was trained with another tower, or as `located`.
    """
    folder, _ = located(folder)
    preset, note = read_preset(folder, ForecastPreset, "give the folder of uniair forecast train")
    model = WMLM(preset, tower() if tower and "csi" in preset.modalities else None)
    if model.tower and digest(model.tower) != note.get("tower"):
        raise InputError(f"{folder}: reads CSI through other towers ({note.get('tower')}); give those as --tower")
    fill(dict(model.named_parameters()), read_tensors(folder / WEIGHTS), folder / WEIGHTS, "another forecaster")
    return model.eval()
