"""Continue a language-model backbone's pretraining on a folder of telecom text.

FOLDER holds .txt and .md files, in folders below it too; standards, papers and documentation serve. Whole documents are
held out, and their perplexity is measured before and after. --out becomes a checkpoint that --backbone takes anywhere,
with the report (retraining.json) and the log beside the weights. It appears when all of it is there; killed and started
again, a run goes on bit for bit.

Example:
  uniair instruct retrain corpus --config recipes/retrain-telecom.yaml --out runs/telecom
  uniair instruct train --backbone runs/telecom
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from uniair.models.backbone import DEFAULT
from uniair.training.language import Retraining, retrain


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("folder", type=str, help="folder of text")
    parser.add_argument("--out", type=str, required=True, help="checkpoint folder to make")
    parser.add_argument("--backbone", type=str, default=DEFAULT,
                        help=f"{DEFAULT}, tiny, a checkpoint folder of transformers, or a .gguf file")  # fmt: skip
    parser.add_class_arguments(Retraining)


def run(options: Any) -> dict[str, Any]:
    """Retrains and prints held-out perplexity before and after."""
    config = Retraining(**{name: options[name] for name in Retraining.__dataclass_fields__})
    report = retrain(Path(options.folder), Path(options.out), options.backbone, config)
    print(f"{report['backbone']}, {config.mode}: {report['trained_parameters']:,} parameters trained on "
          f"{len(report['train'])} documents, {report['blocks']:,} blocks of {config.block} tokens, "
          f"{report['epochs']:.1f} passes, seed {config.seed}")  # fmt: skip
    print(f"{'held out':32} {'tokens':>9} {'perplexity':>10} {'after':>8} {'bits a byte':>11} {'after':>8}")
    for name, before in report["before"].items():
        after = report["after"][name]
        print(f"{name:32} {before['tokens']:9,} {before['perplexity']:10.2f} {after['perplexity']:8.2f} "
              f"{before['bits_per_byte']:11.4f} {after['bits_per_byte']:8.4f}")  # fmt: skip
    print(f"→ {options.out}")
    return report
