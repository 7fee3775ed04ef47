"""Continued pretraining of a backbone on a folder of text, such as the telecom corpus of paper 2, IV-A."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.backbone import Backbone, load_backbone, require
from uniair.training.corpus import Document, encode, pack, read_corpus, split
from uniair.training.distributed import World
from uniair.training.log import Log
from uniair.training.trainer import Optimisation

REPORT = "retraining.json"
PART = ".part"  # beside the finished folder: state and log of a run that is not finished


@dataclass(frozen=True)
class Retraining:
    """How a backbone is retrained: AdamW under one cosine with warm-up.

    Attributes:
        mode: `lora` trains low-rank updates of every linear layer and merges them at the end; `full` trains all.
        rank: of the updates.
        held_out: pattern of the documents to hold out, by path below the folder; else a tenth drawn by the seed.
        block: tokens a sequence.
        batch: sequences a forward pass.
        accumulate: forward passes a step.
        steps: training steps in all.
        learning_rate: peak.
        warmup: share of the steps.
        weight_decay: on matrices only.
        clip: largest gradient norm.
        precision: `float32`, or `bfloat16` for products and frozen weights where the hardware is faster at it.
        save_every: steps between saved states.
        log_every: steps between lines of the log.
        seed: of updates, held-out documents and batches.
    """

    mode: str = "lora"
    rank: int = 16
    held_out: str | None = None
    block: int = 512
    batch: int = 4
    accumulate: int = 1
    steps: int = 300
    learning_rate: float = 5e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    precision: str = "float32"
    save_every: int = 50
    log_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in ("lora", "full"):
            raise InputError(f"mode {self.mode!r}: choose lora or full")
        if self.precision not in ("float32", "bfloat16"):
            raise InputError(f"precision {self.precision!r}: choose float32 or bfloat16")
        for name in ("rank", "block", "batch", "accumulate", "steps", "save_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} {getattr(self, name)}: give at least 1")

    @property
    def optimisation(self) -> Optimisation:
        """Optimiser and schedule, which pretraining shares."""
        return Optimisation(
            steps=self.steps, learning_rate=self.learning_rate, matrix_rate=0.0, warmup=self.warmup,
            weight_decay=self.weight_decay, clip=self.clip,
        )  # fmt: skip


@torch.inference_mode()
def perplexity(backbone: Backbone, documents: list[Document], block: int, batch: int) -> dict[str, dict[str, float]]:
    """How well a backbone foresees each document's text after an end-of-text token, and all of them together.

    A token is foreseen from half a block before it or more, or from the document's beginning.

    Args:
        block: tokens that the backbone sees at once.
        batch: windows a forward pass.

    Returns:
        Of each document and of `all`: tokens, bytes, perplexity (of a token), and bits_per_byte, which does not depend
        on the tokenizer.
    """
    device = backbone.model.device
    sums: dict[str, tuple[float, ...]] = {}
    for document in tqdm(documents, unit="document", leave=False, disable=None):
        tokens = encode(backbone, document)
        size = min(block + 1, len(tokens))
        starts = [*range(0, len(tokens) - size, max(1, block // 2)), len(tokens) - size]
        windows, done, nats = tokens.unfold(0, size, 1)[starts], 0, 0.0
        losses = torch.cat([_losses(backbone.model, part.to(device)).cpu() for part in torch.split(windows, batch)])
        for start, loss in zip(starts, losses, strict=True):
            nats += float(loss[done - start :].double().sum())
            done = start + size - 1
        sums[document.name] = (nats, len(tokens) - 1, len(document.text.encode()))
    sums["all"] = tuple(map(sum, zip(*sums.values(), strict=True)))
    return {
        name: {
            "tokens": tokens, "bytes": size, "perplexity": math.exp(nats / tokens),
            "bits_per_byte": nats / math.log(2) / size,
        }
        for name, (nats, tokens, size) in sums.items()
    }  # fmt: skip


def retrain(folder: Path, out: Path, backbone: str, config: Retraining) -> dict[str, Any]:
    """Continues a backbone's pretraining on a folder of text; a run that was killed goes on bit for bit.

    `out` appears when all of it is there: the checkpoint, as `load_backbone` reads it, the log and the report.
    Until then state and log are kept beside it. Blocks hold several documents, and attention reaches across them.

    Args:
        backbone: a name or folder of `load_backbone`.

    Returns:
        The report: documents, trained parameters, and held-out perplexity before and after (of the merged weights).

    Raises:
        InputError: bad text or backbone, `out` exists, a loss that is not finite, a run of other settings in `out`.
    """
    if out.exists():
        raise InputError(f"{out}: is there already; give another --out")
    documents = read_corpus(folder)
    train, held_out = split(documents, config.held_out, config.seed)
    frozen = config.precision if config.mode == "lora" else "float32"  # small updates vanish in bfloat16
    base = load_backbone(backbone, dtype=frozen)
    longest = getattr(base.model.config, "max_position_embeddings", config.block)
    if config.block > longest:
        raise InputError(f"block {config.block}: longer than the {longest} tokens that {backbone} takes")
    blocks = pack(base, train, config.block)
    base.model.to(World.alone().device)
    model = trainable(base.model, config)
    digest = hashlib.sha256(json.dumps([asdict(document) for document in documents]).encode()).hexdigest()
    settings = {"backbone": backbone, "corpus": digest, "retraining": asdict(config)}
    work = out.with_name(out.name + PART)
    before = _optimise(model, base, blocks, held_out, config, settings, work)
    report = {
        "backbone": backbone, "retraining": asdict(config), "train": [d.name for d in train],
        "held_out": [d.name for d in held_out], "blocks": len(blocks), "epochs": config.steps * config.batch *
        config.accumulate / len(blocks), "trained_parameters": sum(p.numel() for p in _trained(model).values()),
    }  # fmt: skip
    merged = Backbone(str(out), model.merge_and_unload() if config.mode == "lora" else model, base.tokenizer)
    after = perplexity(merged, held_out, config.block, config.batch)
    report |= {"before": before, "after": after}
    _publish(merged, report, work, out)
    return report


def trainable(model: Any, config: Retraining) -> Any:
    """The model with all its weights trained, or frozen with low-rank updates of its linear layers, zero at first."""
    if config.mode == "full":
        return model.requires_grad_(True)
    require("peft")
    from peft import LoraConfig, LoraModel
    from transformers.pytorch_utils import Conv1D

    transposed = any(isinstance(module, Conv1D) for module in model.modules())  # as GPT-2 keeps its matrices
    updates = LoraConfig(r=config.rank, lora_alpha=2 * config.rank, target_modules="all-linear",
                         fan_in_fan_out=transposed)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return LoraModel(model, updates, "telecom").eval()


def _optimise(
    model: Any, base: Backbone, blocks: Tensor, held_out: list[Document], config: Retraining,
    settings: dict[str, Any], work: Path,
) -> dict[str, Any]:  # fmt: skip
    """Trains the model in place and returns the held-out perplexity that it had before.

    The model stays in eval mode: without dropout nothing but weights and moments is state.
    """
    plan, trained, each = config.optimisation, _trained(model), config.batch * config.accumulate
    (optimiser,) = plan.optimisers(model)
    start, before = _load_state(trained, optimiser, settings, work)
    if before is None:
        before = perplexity(base, held_out, config.block, config.batch)
    log = Log(work / "metrics.jsonl", start)
    order = islice(_shuffled(len(blocks), config.seed), start * each, None)
    device = base.model.device
    clock, since = time.perf_counter(), start
    for step in tqdm(range(start, config.steps), initial=start, total=config.steps, unit="step", disable=None):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * plan.share(step)
        total = 0.0
        for _ in range(config.accumulate):
            batch = blocks[list(islice(order, config.batch))].to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
                loss = _losses(model, batch).mean() / config.accumulate
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        if not math.isfinite(total):
            raise InputError(f"step {step}: the loss is not finite; lower --learning_rate")
        nn.utils.clip_grad_norm_(list(trained.values()), config.clip)
        optimiser.step()
        optimiser.zero_grad()
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            rate = (done - since) * each * config.block / (time.perf_counter() - clock)
            log.write(done, loss=total, lr=config.learning_rate * plan.share(step), tokens_per_s=rate)
            clock, since = time.perf_counter(), done
        if done % config.save_every == 0 or done == config.steps:
            _save_state(trained, optimiser, done, before, settings, work)
    return before


def _save_state(
    trained: dict[str, Tensor], optimiser: torch.optim.Optimizer, step: int, before: Any, settings: Any, work: Path
) -> None:
    tensors = {f"{name}/weight": p.detach().cpu() for name, p in trained.items()}
    for name, p in trained.items():
        tensors |= {f"{name}/{key}": value.cpu() for key, value in optimiser.state[p].items()}
    about = {"step": str(step), "before": json.dumps(before), "settings": json.dumps(settings)}
    with atomic_path(work / "state.safetensors") as path:
        save_file(tensors, path, about)


def _load_state(
    trained: dict[str, Tensor], optimiser: torch.optim.Optimizer, settings: Any, work: Path
) -> tuple[int, dict[str, Any] | None]:
    """Restores weights and moments; returns the step and the perplexity before training, or 0 and nothing."""
    path = work / "state.safetensors"
    if not path.exists():
        return 0, None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata()
            if json.loads(about["settings"]) != settings:
                raise InputError(f"{work}: holds a run of other text or settings; remove it or give another --out")
            for key in file.keys():  # noqa: SIM118
                name, part = key.rsplit("/", 1)
                parameter, value = trained[name], file.get_tensor(key)
                if part == "weight":
                    parameter.data.copy_(value)
                else:
                    optimiser.state[parameter][part] = value if part == "step" else value.to(parameter.device)
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error}); remove {work} to start anew") from error
    return int(about["step"]), json.loads(about["before"])


def _publish(merged: Backbone, report: dict[str, Any], work: Path, out: Path) -> None:
    """Moves checkpoint, log and report to `out` in one step."""
    part = work / "checkpoint"
    shutil.rmtree(part, ignore_errors=True)
    try:
        merged.model.save_pretrained(part)
        merged.tokenizer.save_pretrained(part)
    except SafetensorError as error:
        raise InputError(f"{part}: {error}; free some space, then run the same command again") from error
    write_text(part / REPORT, json.dumps(report, indent=1) + "\n")
    shutil.copy(work / "metrics.jsonl", part)
    part.rename(out)
    shutil.rmtree(work)


def _losses(model: Any, tokens: Tensor) -> Tensor:
    """Nats of every token but the first: [N, T] → [N, T − 1]."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
    return cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none").view(len(tokens), -1)


def _shuffled(blocks: int, seed: int) -> Iterator[int]:
    for epoch in count():
        yield from np.random.default_rng([seed, epoch]).permutation(blocks).tolist()


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
