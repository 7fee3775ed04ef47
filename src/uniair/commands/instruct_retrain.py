"""Continue a language-model backbone's pretraining on a folder of telecom text.

FOLDER holds .txt and .md files, in folders below it too; standards, papers and documentation serve. Whole documents are
held out, and their perplexity is measured before and after. --out becomes a checkpoint that --backbone takes anywhere,
with the report (retraining.json) and the log beside the weights. It appears when all of it is there; killed and started
again, a run goes on bit for bit. Under torchrun it trains on all processes.

Example:
  uniair instruct retrain corpus --config recipes/retrain-telecom.yaml --out runs/telecom
  uniair instruct train --backbone runs/telecom
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.models.backbone import DEFAULT
from uniair.training.distributed import world
from uniair.training.language import Retraining, retrain
from uniair.training.loop import Optimisation


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("folder", type=str, help="folder of text")
    parser.add_argument("--out", type=str, required=True, help="checkpoint folder to make")
    parser.add_argument("--backbone", type=str, default=DEFAULT,
                        help=f"{DEFAULT}, tiny, a checkpoint folder of transformers, or a .gguf file")  # fmt: skip
    parser.add_class_arguments(Retraining, skip={"optimisation"})
    parser.add_class_arguments(Optimisation, default=asdict(Retraining.optimisation))


def run(options: Any) -> dict[str, Any]:
    """Retrains and prints held-out perplexity before and after."""
    optimisation = Optimisation(**{name: options[name] for name in Optimisation.__dataclass_fields__})
    own = {name: options[name] for name in Retraining.__dataclass_fields__ if name != "optimisation"}
    config = Retraining(**own, optimisation=optimisation)
    with world() as here:
        report = retrain(Path(options.folder), Path(options.out), options.backbone, config, here)
        if not here.main:
            return {}
    print(f"{report['backbone']}, {config.mode}: {report['trained_parameters']:,} parameters trained on "
          f"{len(report['train'])} documents, {report['blocks']:,} blocks of {config.block} tokens, "
          f"{report['epochs']:.1f} passes, seed {optimisation.seed}")  # fmt: skip
    print(f"{'held out':32} {'tokens':>9} {'perplexity':>10} {'after':>8} {'bits a byte':>11} {'after':>8}")
    for name, before in report["before"].items():
        after = report["after"][name]
        print(f"{name:32} {before['tokens']:9,} {before['perplexity']:10.2f} {after['perplexity']:8.2f} "
              f"{before['bits_per_byte']:11.4f} {after['bits_per_byte']:8.4f}")  # fmt: skip
    print(f"→ {options.out}")
    return report
