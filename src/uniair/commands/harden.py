"""Fine-tune a model's channel tower against attacks, so that its answers bear perturbations made to mislead them.

TRAIN is one or several links folders of training places that `uniair trace` made; neither labels nor maps are needed.
Every channel is attacked by somebody who knows the model (--plan.weakest to --plan.strongest dB over the channel's own
power) and drawn to where the weights had it before. The environment's tower and the decoder stay as they are. OUT holds
the log, the state that a killed run goes on from, and in the end weights as any other: --model OUT, uniair.load. What
they bear and what they cost, uniair bench attack --hardened OUT measures; a calibration and heads of the weights before
are not theirs, so make them anew.

Example:
  uniair harden runs/train --out runs/small-hardened
  uniair bench attack --links runs/test --train runs/train --hardened runs/small-hardened
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.data.links.store import Store, Stores
from uniair.training.checkpoint import digest
from uniair.training.distributed import world
from uniair.training.hardening import Hardening, harden
from uniair.training.pretraining import write_card


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("train", type=str, nargs="+", help="links folders of training places")
    parser.add_argument("--out", type=str, required=True, help="folder for log, state and model")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder to begin from")
    parser.add_class_arguments(Hardening, "plan")


def run(options: Any) -> dict[str, Any]:
    """Trains and says how far attacked and clean channels were moved in the end."""
    model, data, out = (
        uniair.load(options.model),
        Stores([Store(folder) for folder in options.train]),
        Path(options.out),
    )
    began = time.perf_counter()
    with world() as here:
        hardened = harden(model, data, options.plan, out, here)
        if not here.main:
            return {}
    write_card(out, data, [], {"hardening": asdict(options.plan), "start": digest(model)})
    seconds = time.perf_counter() - began
    last = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()][-1]
    print(f"{out}: weights {digest(hardened)}, from {digest(model)}, in {seconds:.0f} s; off from those, 1 − cosine: "
          f"attacked channels {last['attacked']:.3f}, clean ones {last['clean']:.3f}")  # fmt: skip
    return {"out": str(out), "weights": digest(hardened), "start": digest(model), "seconds": seconds,
            **{name: last[name] for name in ("attacked", "clean")}}  # fmt: skip
