"""Training of forecasters: WMLM and what it is compared with, on one process or many (FSDP2 under `torchrun`)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from tqdm import tqdm

from uniair.data.drives.windows import Passages, Steps, Windows
from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.universal import UniversalModel
from uniair.tasks.beam_forecast import Forecasting, SensorAlignment, Terms, forecasts
from uniair.training.checkpoint import CONFIG, WEIGHTS, digest, read_tensors
from uniair.training.distributed import World
from uniair.training.log import Log
from uniair.training.trainer import Optimisation

STATE = "state.safetensors"
PACKAGED = Path(__file__).parents[1] / "weights" / "forecast"  # learned from the digital twin alone
SAMPLE = PACKAGED / "sample"  # drives of the twin that it did not learn from
FULL = StateDictOptions(full_state_dict=True, cpu_offload=True)


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
    optimisation: Optimisation = field(
        default_factory=lambda: Optimisation(
            steps=1200, learning_rate=3e-3, matrix_rate=0.0, warmup=0.1, save_every=150, log_every=50
        )
    )


def train(
    model: nn.Module,
    passages: Passages,
    config: ForecastTraining,
    world: World,
    out: Path | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    alignment: SensorAlignment | None = None,
) -> nn.Module:
    """Trains and returns the model, in eval mode, with the weights of its best validation where there is one.

    Batch and what is hidden of a step are drawn from (seed, step) alone and split among the processes, so any number
    of them trains the same model, and a run that was killed goes on where it stopped. Stage 1 compares the steps of
    one process with each other.

    Args:
        passages: of `config.length` + F steps.
        out: folder for the log and the state; None keeps nothing.
        validate: a loss of the model in eval mode, lower is better.
        alignment: stage 1 instead of stage 2.

    Raises:
        InputError: the loss is no longer finite, `out` holds a run with other settings, or the batch does not divide
            among the processes.
    """
    if config.batch % world.size:
        raise InputError(f"batch {config.batch}: not divisible among {world.size} processes")
    model = shard(model.to(world.device).train(), world)
    plan = config.optimisation
    optimisers = plan.optimisers(model)
    peaks = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
    settings = json.loads(json.dumps(asdict(config) | {"alignment": asdict(alignment) if alignment else None}))
    progress = _restore(model, optimisers, settings, out) if out else Progress()
    log = Log(out / "metrics.jsonl", progress.step) if out and world.main else None
    part = slice(world.rank, None, world.size)
    for step in tqdm(range(progress.step, plan.steps), initial=progress.step, total=plan.steps, unit="step",
                     disable=None if out and world.main else True):  # fmt: skip
        steps = tensors(passages.draw(config.batch, np.random.default_rng([plan.seed, step])))
        draw = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        torch.manual_seed(plan.seed * 1_000_003 + step + world.rank)  # of dropout
        used = {"power", "beam", *getattr(model, "encoders", ())}  # of a modality that no one hears nothing is hidden
        heard = config.task.hide({k: values[:, : config.length] for k, values in steps.items() if k in used}, draw)
        mine, full = ({k: v[part].to(world.device) for k, v in one.items()} for one in (heard, steps))
        with torch.autocast(world.device.type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
            if alignment:
                assert isinstance(model, WMLM)
                loss = alignment.loss(model, mine)
                share = loss["total"] = loss["alignment"]
            else:
                share, loss = _over_all(config.task.terms(model, mine, full), world)
        if not torch.isfinite(loss["total"]):
            raise InputError(f"step {step}: the loss is not finite; lower --learning_rate or check the data")
        groups = [group for optimiser in optimisers for group in optimiser.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * plan.share(step)
        model.zero_grad()
        share.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        for optimiser in optimisers:
            optimiser.step()
        done = step + 1
        if log and (done % plan.log_every == 0 or done == plan.steps):
            log.write(done, lr=groups[0]["lr"], **{k: float(v.detach()) for k, v in loss.items()})
        if done % plan.save_every == 0 or done == plan.steps:
            value = validate(model.eval()) if validate else -float(done)
            model.train()
            if log and validate:
                log.write(done, validation=value)
            progress = progress.after(done, value, model)
            if out:
                _save(model, optimisers, settings, progress, out, world)
    set_model_state_dict(model, dict(progress.weights), options=StateDictOptions(full_state_dict=True))
    return model.eval()


def shard(model: nn.Module, world: World) -> nn.Module:
    """The model itself for one process; else its weights split among all, block by block (FSDP2)."""
    if world.size > 1:
        for block in getattr(model, "blocks", ()):
            fully_shard(block)
        fully_shard(model)
        if isinstance(model, WMLM):
            register_fsdp_forward_method(model, "tokens")
    return model


def _over_all(terms: Terms, world: World) -> tuple[Tensor, dict[str, Tensor]]:
    """What this process steps on, whose mean over the processes is the loss of the whole batch; and that loss."""
    if world.size == 1:
        loss = terms.means()
        return loss["total"], loss
    counts = {name: count.clone() for name, count in terms.counts.items()}
    sums = {name: value.detach().clone() for name, value in terms.sums.items()}
    for value in (*counts.values(), *sums.values()):
        dist.all_reduce(value)
    whole = Terms(sums, counts, terms.weights)
    return world.size * terms.means(counts)["total"], whole.means()


@dataclass(frozen=True)
class Progress:
    """How far a run is, and its best weights."""

    step: int = 0
    best: float = math.inf
    weights: Mapping[str, Tensor] = field(default_factory=dict)

    def after(self, step: int, value: float, model: nn.Module) -> Progress:
        """The progress with a validated step added."""
        if value < self.best:
            weights: dict[str, Any] = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
            return Progress(step, value, {name: weight.clone() for name, weight in weights.items()})
        return Progress(step, self.best, self.weights)


def tensors(steps: Steps) -> dict[str, Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in steps.items()}


def validation(windows: Windows, steps: Mapping[str, Tensor]) -> Callable[[nn.Module], float]:
    """Cross-entropy of the future beams of windows, mean over windows and horizons.

    Args:
        steps: of all the windows.
    """

    def loss(model: nn.Module) -> float:
        said = forecasts(model, steps, windows.past)
        truth = steps["beam"][:, windows.past :]
        return float(nn.functional.cross_entropy(said.logits[:, 1:].flatten(0, 1), truth.flatten()))

    return loss


def save_forecaster(model: WMLM, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors`; what `load_forecaster` reads."""
    config = asdict(model.preset) | ({"tower": digest(model.tower)} if model.tower else {})
    write_text(folder / CONFIG, json.dumps(config, indent=1) + "\n")
    weights: dict[str, Any] = get_model_state_dict(model, options=FULL)
    if weights:  # on the first process alone
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file({k: v.contiguous() for k, v in weights.items()}, temporary)


def load_forecaster(folder: Path, tower: Callable[[], UniversalModel] | None = None) -> WMLM:
    """The model in a folder, in eval mode.

    Args:
        tower: gives the universal model that a forecaster with `csi` reads it through; called for such a one alone.

    Raises:
        InputError: no forecaster there, a broken one, or one that was trained with another tower.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; give the folder of uniair forecast train")
    try:
        entries = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        trained_with = entries.pop("tower", None)
        if odd := set(entries) - {f.name for f in fields(ForecastPreset)}:
            raise InputError(f"{folder / CONFIG}: unknown entries {sorted(odd)}; it is no forecaster's")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        preset = ForecastPreset(**values)
        model = WMLM(preset, tower() if tower and "csi" in preset.modalities else None)
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / CONFIG}: not a forecaster's config ({error})") from error
    if model.tower and digest(model.tower) != trained_with:
        raise InputError(f"{folder}: reads CSI through other towers ({trained_with}); give those as --tower")
    weights = read_tensors(folder / WEIGHTS)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(f"{folder / WEIGHTS}: does not fit its {CONFIG}; copy or train it again") from error
    if odd := {name for name, value in weights.items() if not torch.isfinite(value).all()}:
        raise InputError(f"{folder / WEIGHTS}: {min(odd)} holds NaN or infinite values; the file is damaged")
    return model.eval()


def _save(
    model: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    settings: dict[str, Any],
    progress: Progress,
    out: Path,
    world: World,
) -> None:
    """Weights, moments and best weights as one file; all processes gather, the first one writes."""
    kept: dict[str, Any] = {f"model/{k}": v for k, v in get_model_state_dict(model, options=FULL).items()}
    for number, optimiser in enumerate(optimisers):
        found: dict[str, Any] = get_optimizer_state_dict(model, optimiser, options=FULL)
        state = found.get("state", {})  # empty but on the first process
        kept |= {f"moments/{number}/{name}/{key}": v for name, values in state.items() for key, v in values.items()}
    kept |= {f"best/{k}": v.cpu() for k, v in progress.weights.items()}
    if world.main:
        header = {"step": progress.step, "best": progress.best, "settings": settings}
        out.mkdir(parents=True, exist_ok=True)
        with atomic_path(out / STATE) as temporary:
            save_file({k: v.contiguous() for k, v in kept.items()}, temporary, {"uniair": json.dumps(header)})


def _restore(
    model: nn.Module, optimisers: list[torch.optim.Optimizer], settings: dict[str, Any], out: Path
) -> Progress:
    """The state in `out`, put into model and optimisers.

    Raises:
        InputError: it is broken, or from a run with other settings.
    """
    path = out / STATE
    if not path.exists():
        return Progress()
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["uniair"])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: truncated or not a training state ({error}); remove it to start again") from error
    if header["settings"] != settings:
        changed = [k for k in settings if header["settings"].get(k) != settings[k]]
        raise InputError(f"{out}: holds a run with other settings ({', '.join(changed)}); give another --out")
    parts: dict[str, dict[str, Any]] = {"model": {}, "best": {}, "moments": {}}
    for name, value in found.items():
        kind, rest = name.split("/", 1)
        parts[kind][rest] = value
    try:
        set_model_state_dict(model, parts["model"], options=StateDictOptions(full_state_dict=True))
    except RuntimeError as error:
        raise InputError(f"{out}: holds a run of another model; give another --out") from error
    for number, optimiser in enumerate(optimisers):
        state: dict[str, Any] = get_optimizer_state_dict(
            model, optimiser, options=StateDictOptions(full_state_dict=True)
        )
        for name, values in state["state"].items():
            for key in values:
                values[key] = parts["moments"][f"{number}/{name}/{key}"]
        set_optimizer_state_dict(model, optimiser, state, options=StateDictOptions(full_state_dict=True))
    return Progress(header["step"], header["best"], parts["best"])
