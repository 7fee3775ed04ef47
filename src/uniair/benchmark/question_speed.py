"""How fast AI²MMUM answers and learns: all tokens of every sample, as plain PEFT does, beside cached instructions."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from uniair.models.instruct import Design, InstructModel
from uniair.models.universal import UniversalModel
from uniair.training.instruction import build

TASK = "los"  # of the longest instruction: three learned tokens and three words
BATCHES = (1, 32, 256)
FORMS = {
    "all tokens": "radio token first, six tokens a sample (plain PEFT)",
    "cached": "instruction's keys and values computed once, one token a sample",
    "merged": "the same, LoRA merged into the backbone",
    "bfloat16": "the same, matrix products in bfloat16",
    "int8": "the same, LoRA merged and weights in int8",
}


def question_speed(towers: UniversalModel, backbone: str, repeats: int = 5, seed: int = 0) -> dict[str, Any]:
    """Answers a second and ms of a batch for each form and batch size, training questions a second, and stages.

    The forms take turns within each repetition, so that what else the machine does falls on all of them.
    """
    csi = torch.randn(max(BATCHES), 32, 64, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))
    z = towers.encode_channel(csi)
    forms: dict[str, Callable[[Tensor], Tensor]] = {}
    models = {name: _model(name, backbone, towers) for name in FORMS}
    for name, model in models.items():
        forms[name] = _answer(model, name)
    took: dict[tuple[str, int], list[float]] = {}
    with torch.no_grad():
        reference = models["cached"](TASK, z)
        for _ in tqdm(range(repeats + 1), unit="turn", disable=None):
            for name, answer in forms.items():
                for batch in BATCHES:
                    took.setdefault((name, batch), []).append(_seconds(lambda n=batch, f=answer: f(z[:n])))
            for batch in BATCHES:
                took.setdefault(("tower", batch), []).append(_seconds(lambda n=batch: towers.encode_channel(csi[:n])))
                hidden = torch.zeros(batch, models["cached"].head(TASK).widths[0])
                took.setdefault(("head", batch), []).append(
                    _seconds(lambda h=hidden: models["cached"].head(TASK)(h))  # type: ignore[misc]
                )
        answered = {key: float(np.median(values[1:])) for key, values in took.items()}
        differs = {
            name: float((answer(z) - reference).abs().max()) for name, answer in forms.items() if name != "all tokens"
        }  # which stands in another order
    learned = {name: [_seconds(lambda m=models[name]: _learn(m, z)) for _ in range(repeats)]
               for name in ("all tokens", "cached")}  # fmt: skip
    return {
        "backbone": backbone, "threads": torch.get_num_threads(),
        "answer_ms": {name: {str(n): 1e3 * answered[name, n] for n in BATCHES} for name in (*FORMS, "tower", "head")},
        "answers_per_s": {name: {str(n): n / answered[name, n] for n in BATCHES} for name in FORMS},
        "differs": differs,
        "training_per_s": {name: len(z) / float(np.median(values)) for name, values in learned.items()},
    }  # fmt: skip


def _model(form: str, backbone: str, towers: UniversalModel) -> InstructModel:
    order = "radio_first" if form == "all tokens" else "instruction_first"
    model = build(Design(backbone, order=order, embedding=towers.preset.embedding)).eval()
    if form == "merged":
        model.llm.merge_adapter([model.instructions[TASK].modality])
    if form == "int8":
        model.llm = model.llm.merge_and_unload()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to move its quantisation into a package of its own
            torch.ao.quantization.quantize_dynamic(model.llm, {torch.nn.Linear}, dtype=torch.qint8, inplace=True)
    return model


def _answer(model: InstructModel, form: str) -> Callable[[Tensor], Tensor]:
    def answer(z: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if form == "bfloat16" else nullcontext():
            return model(TASK, z)

    return answer


def _learn(model: InstructModel, z: Tensor) -> None:
    """A training step without the optimiser's part."""
    model.train()
    with torch.enable_grad():
        model(TASK, z).square().mean().backward()  # type: ignore[no-untyped-call]
    model.zero_grad()
    model.eval()


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
