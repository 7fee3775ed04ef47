"""How fast AI²MMUM answers and learns: all tokens of every sample, as plain PEFT does, beside cached instructions."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair import load
from uniair.models.instruct import Design, InstructModel
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.training.instruction import build

TASK = "los"  # of the longest instruction: three learned tokens and three words
BATCHES = (1, 32, 256)
FORMS = {
    "all tokens": "radio token first, six tokens per sample (plain PEFT)",
    "cached": "instruction's keys and values computed once, one token per sample",
    "merged": "the same, LoRA merged into the backbone",
    "bfloat16": "the same, backbone in bfloat16",
    "int8": "the same, LoRA merged and weights in int8",
}
LEARNED = ("all tokens", "cached", "bfloat16")


def question_speed(towers: UniversalModel, backbone: str, repeats: int = 5, seed: int = 0) -> dict[str, Any]:
    """Answers per second and ms of a batch for each form and batch size, training questions per second, and stages.

    The forms take turns within each repetition, so that what else the machine does falls on all of them.
    """
    csi = torch.randn(max(BATCHES), 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
    z = towers.encode_channel(csi)
    models = {name: _model(name, backbone, towers) for name in FORMS}
    took: dict[tuple[str, int], list[float]] = {}
    with torch.no_grad():
        reference = models["cached"](TASK, z)
        hidden = models["cached"].feature(TASK, z)
        for _, batch in track(list(product(range(repeats + 1), BATCHES)), "turn"):
            for name, model in models.items():
                took.setdefault((name, batch), []).append(_seconds(model, TASK, z[:batch]))
            took.setdefault(("tower", batch), []).append(_seconds(towers.encode_channel, csi[:batch]))
            took.setdefault(("head", batch), []).append(_seconds(models["cached"].head(TASK), hidden[:batch]))
        answered = {key: float(np.median(values[1:])) for key, values in took.items()}
        # all tokens stand in another order, so they may differ by more than rounding
        differs = {
            name: float((model(TASK, z) - reference).abs().max() / reference.abs().max())
            for name, model in models.items() if name != "all tokens"
        }  # fmt: skip
    learned = {name: [_seconds(_learn, models[name], z) for _ in range(repeats)] for name in LEARNED}
    return {
        "backbone": backbone, "threads": torch.get_num_threads(),
        "answer_ms": {name: {str(n): 1e3 * answered[name, n] for n in BATCHES} for name in (*FORMS, "tower", "head")},
        "answers_per_s": {name: {str(n): n / answered[name, n] for n in BATCHES} for name in FORMS},
        "differs": differs,
        "training_per_s": {name: len(z) / float(np.median(values)) for name, values in learned.items()},
    }  # fmt: skip


def _model(form: str, backbone: str, towers: UniversalModel) -> InstructModel:
    order = "radio_first" if form == "all tokens" else "instruction_first"
    dtype = "bfloat16" if form == "bfloat16" else "float32"
    model = build(Design(backbone, order=order, dtype=dtype, embedding=towers.preset.embedding)).eval()
    if form == "merged":
        model.llm.merge_adapter([model.instructions[TASK].modality])
    if form == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to move its quantisation into a package of its own
            quantise: Any = torch.ao.quantization.quantize_dynamic
            model.llm = quantise(model.llm.merge_and_unload(), {torch.nn.Linear}, dtype=torch.qint8)
    return model


def _learn(model: InstructModel, z: Tensor) -> None:
    """A training step without the optimiser's part."""
    model.train()
    with torch.enable_grad():
        model(TASK, z).square().mean().backward()
    model.zero_grad()
    model.eval()


def _seconds(work: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def run(model: str = "small", backbone: str = "smollm2-135m", seed: int = 0) -> dict[str, Any]:
    """Measures and prints.

    Args:
        model: packaged model or checkpoint folder.
        backbone: language model, name or folder.
        seed: of the channels.
    """
    found = question_speed(load(model), backbone, seed=seed)
    batches = list(found["answer_ms"]["tower"])
    print(f"{found['backbone']}, {found['threads']} threads; ms of a batch of {', '.join(batches)}, and answers/s")
    for name, took in found["answer_ms"].items():
        cells = "".join(f"{ms:10.1f}" for ms in took.values())
        rate = "".join(f"{value:9,.0f}" for value in found["answers_per_s"].get(name, {}).values())
        print(f"{name:11}{cells}  {rate:27}  {FORMS.get(name, 'stage: before or after the backbone')}")
    for name, value in found["differs"].items():
        print(f"largest difference of an output from cached, {name}: {value:.2g} of the largest")
    for name, value in found["training_per_s"].items():
        print(f"training, {name}: {value:,.0f} questions/s")
    return found
