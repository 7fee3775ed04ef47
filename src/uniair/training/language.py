"""Continued pretraining of a backbone on a folder of text, such as the telecom corpus of paper 2, IV-A."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.functional import cross_entropy

from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.backbone import Backbone, load_backbone, require
from uniair.progress import track
from uniair.training.checkpoint import check_state
from uniair.training.corpus import Document, encode, pack, read_corpus, split
from uniair.training.distributed import World
from uniair.training.loop import Optimisation, parameters, run

REPORT, BEFORE = "retraining.json", "before.json"
PART = ".part"  # beside the finished folder: state and log of a run that is not finished


@dataclass(frozen=True)
class Retraining:
    """How a backbone is retrained.

    Attributes:
        mode: `lora` trains low-rank updates of every linear layer and merges them at the end; `full` trains all.
        rank: of the updates.
        held_out: pattern of the documents to hold out, by path below the folder; else a tenth drawn by the seed.
        block: tokens a sequence.
        batch: sequences a forward pass, over all processes.
        optimisation: of AdamW alone by default; its `precision` is of frozen weights too.
    """

    mode: str = "lora"
    rank: int = 16
    held_out: str | None = None
    block: int = 512
    batch: int = 4
    optimisation: Optimisation = Optimisation(
        steps=300, matrix_rate=0.0, warmup=0.05, weight_decay=0.01, save_every=50, log_every=10
    )

    def __post_init__(self) -> None:
        if self.mode not in ("lora", "full"):
            raise InputError(f"mode {self.mode!r}: choose lora or full")
        given = vars(self) | {"steps": self.optimisation.steps}
        if wrong := [name for name in ("rank", "block", "batch", "steps") if given[name] < 1]:
            raise InputError(f"{wrong[0]} {given[wrong[0]]}: give at least 1")


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
    for document in track(documents, "document", "perplexity"):
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


def retrain(folder: Path, out: Path, backbone: str, config: Retraining, world: World) -> dict[str, Any]:
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
    documents, plan = read_corpus(folder), config.optimisation
    train, held_out = split(documents, config.held_out, plan.seed)
    frozen = plan.precision if config.mode == "lora" else "float32"  # small updates vanish in bfloat16
    base = load_backbone(backbone, dtype=frozen)
    longest = getattr(base.model.config, "max_position_embeddings", config.block)
    if config.block > longest:
        raise InputError(f"block {config.block}: longer than the {longest} tokens that {backbone} takes")
    blocks = pack(base, train, config.block)
    base.model.to(world.device)
    model = trainable(base.model, config)
    digest = hashlib.sha256(json.dumps([asdict(document) for document in documents]).encode()).hexdigest()
    settings = {"backbone": backbone, "corpus": digest, "processes": world.size, **asdict(config)}
    work = out.with_name(out.name + PART)
    before = _before(base, held_out, config, settings, work)

    def loss(number: int) -> dict[str, Tensor | float]:
        batch = blocks[world.share(shuffled(len(blocks), plan.seed, number * config.batch, config.batch))]
        value = _losses(model, batch.to(world.device)).mean()
        return {"total": value, "tokens_per_s": config.batch * config.block}

    # without dropout nothing but weights and moments is state
    run(model, loss, plan, about="retraining", world=world, out=work, settings=settings, dropout=False)
    report = {
        "backbone": backbone, "retraining": asdict(config), "train": [d.name for d in train],
        "held_out": [d.name for d in held_out], "blocks": len(blocks), "epochs": plan.steps * config.batch *
        plan.accumulate / len(blocks), "trained_parameters": sum(p.numel() for p in parameters(model).values()),
    }  # fmt: skip
    merged = Backbone(str(out), model.merge_and_unload() if config.mode == "lora" else model, base.tokenizer)
    after = perplexity(merged, held_out, config.block, config.batch)
    report |= {"before": before, "after": after}
    if world.main:
        _publish(merged, report, work, out)
    return report


def _before(
    base: Backbone, held_out: list[Document], config: Retraining, settings: dict[str, Any], work: Path
) -> dict[str, Any]:
    """Held-out perplexity before training, measured once for a run that is killed and goes on."""
    check_state(work, settings)
    path = work / BEFORE
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept.get("settings") != settings:
        kept = {"settings": settings, "held_out": perplexity(base, held_out, config.block, config.batch)}
        write_text(path, json.dumps(kept))
    return dict(kept["held_out"])


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
        torch.manual_seed(config.optimisation.seed)
        return LoraModel(model, updates, "telecom").eval()


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


def shuffled(blocks: int, seed: int, first: int, count: int) -> Tensor:
    """`count` indices of blocks from the `first` on, of passes without end that are each in another order."""
    passes = range(first // blocks, (first + count - 1) // blocks + 1)
    order = np.concatenate([np.random.default_rng([seed, number]).permutation(blocks) for number in passes])
    return torch.from_numpy(order[first % blocks :][:count])
