"""Measure. SUITE is one of
  pretraining   what each part of the recipe is worth: variants trained on the same budget, measured on held-out places;
                needs --train, --validation and --out, and a variant that has finished is not trained again
  synthesis     CSI from paths, links a second
  loading       how a million links open and read, and how long a training step waits for its batch (--train)
  toft          light heads on dense areas beside classical methods and zero-shot answers (--links, --out, --seeds)
  tracing       links a second, and what is lost against 50 times the rays (--places, --root, --areas)

Example:
  uniair bench pretraining --train runs/train --validation runs/validation --out runs/ablation --steps 300
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.benchmark.ablation import COLUMNS, VARIANTS, ablate
from uniair.benchmark.loading import loading_speed
from uniair.benchmark.synthesis import synthesis_speed
from uniair.benchmark.toft import toft_suite
from uniair.benchmark.tracing import HEARD, tracing_speed
from uniair.data import shards
from uniair.data.campaign import Campaign
from uniair.data.store import SAMPLE, Store
from uniair.errors import InputError
from uniair.models.presets import PRESETS, preset
from uniair.propagation.ray_tracing import require_sionna
from uniair.training.distributed import world
from uniair.training.trainer import Optimisation


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("suite", choices=list(SUITES), help="what to measure")
    parser.add_argument("--train", type=str | None, default=None, help="links folder to train on (loading: or sample)")
    parser.add_argument("--validation", type=str | None, default=None, help="links folder of other places")
    parser.add_argument("--out", type=str | None, default=None, help="folder for the runs and ablation.json")
    parser.add_argument("--preset", type=str, default="small", help=f"one of {', '.join(PRESETS)}")
    parser.add_argument("--variants", type=list[str], default=list(VARIANTS), help=f"which of {', '.join(VARIANTS)}")
    parser.add_argument("--steps", type=int, default=300, help="training steps of each variant")
    parser.add_argument("--learning_rate", type=float, default=7e-4, help="peak learning rate")
    parser.add_argument("--links", type=str | None, default=None, help="toft: links folder of dense areas")
    parser.add_argument("--model", type=str, default="small", help="toft: packaged model or checkpoint folder")
    parser.add_argument("--seeds", type=int, default=3, help="toft: runs an area")
    parser.add_argument("--labels", type=int | None, default=None, help="toft: links to learn from (default 80 %%)")
    parser.add_argument("--split", type=str, default="random", help="toft: random (paper 1) or blocks of 20 m")
    parser.add_argument("--places", type=tuple[str, ...], default=("sionna:munich", "sionna:etoile", "procedural:7"),
                        help="tracing: where")  # fmt: skip
    parser.add_argument("--root", type=str, default=".", help="tracing: folder that file names in places start from")
    parser.add_argument("--areas", type=int, default=6, help="tracing: how many")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches, areas and test signals")


def run(options: Any) -> dict[str, Any]:
    """Measures and prints the table."""
    return SUITES[options.suite](options)


def synthesis(options: Any) -> dict[str, Any]:
    """CSI from paths."""
    speed = synthesis_speed(seed=options.seed)
    print(f"{speed['links_per_s']:,.0f} links/s of 32 × 64 with 10 paths")
    print(f"{speed['elementwise_links_per_s']:,.0f} links/s with one exponential an element ({speed['ratio']:.0f} ×)")
    print(f"largest difference {speed['difference']:.1e} of the largest entry")
    return dict(speed)


def loading(options: Any) -> dict[str, Any]:
    """A million links, and the share of a training step spent waiting."""
    speed = loading_speed(Path(options.train) if options.train else SAMPLE, options.preset, seed=options.seed)
    print(f"{speed['links']:,.0f} links open in {speed['open_s']:.2f} s, are read in {speed['read_s']:.1f} s with at "
          f"most {speed['peak_bytes'] / 2**20:,.0f} MB")  # fmt: skip
    print(f"training ({options.preset}) waits {speed['waiting']:.2%} of the time for its batch, at "
          f"{speed['samples_per_s']:,.0f} samples/s")  # fmt: skip
    return dict(speed)


def tracing(options: Any) -> dict[str, Any]:
    """Links a second and the loss against many more rays."""
    require_sionna()
    found = tracing_speed(Campaign(options.places, options.root, options.areas, seed=options.seed))
    heard = f"{found['nlos']:,} NLOS with less than {-HEARD:.0f} dB of path loss"
    print(f"{found['links']:,} links in {found['areas']} areas of 5 BS × 30 UE, {heard}")
    print(
        f"{'':42}{'links/s':>8}{'paths':>9}{'lost':>8}   {'of those NLOS: lost':>20}{'power lost':>12}{'over 3 dB':>11}"
    )
    for what, row in found["settings"].items():
        print(f"{what:42}{row['links_per_s']:8,.0f}{row['paths']:9,}{row['lost_links']:8.1%}   "
              f"{row['nlos_lost_links']:20.1%}{row['nlos_loss_db']:9.2f} dB{row['nlos_over_3_db']:11.1%}")  # fmt: skip
    return found


def toft(options: Any) -> dict[str, Any]:
    """Heads beside what they replace."""
    for name in ("links", "out"):
        if options[name] is None:
            raise InputError(f"toft needs --{name}; see uniair bench --help")
    found = toft_suite(uniair.load(options.model), Store(options.links), Path(options.out), options.seeds,
                       options.labels, options.split)  # fmt: skip
    print(f"{len(found['areas'])} areas, {options.seeds} seeds, {options.split} split; mean over areas (± over seeds)")
    for task, methods in found["rows"].items():
        print(f"\n{task:38}{'tuned':>9}  " + "".join(f"{key:>20}" for key in next(iter(methods.values()))["mean"]))
        for method, row in methods.items():
            figures = "".join(f"{row['mean'][k]:12.3f} ± {row['spread'][k]:.3f}" for k in row["mean"])
            print(f"  {method:36}{row['tuned_parameters']:9,}  {figures}")
    return found


def pretraining(options: Any) -> dict[str, Any]:
    """Variants of the recipe."""
    for name in ("train", "validation", "out"):
        if options[name] is None:
            raise InputError(f"pretraining needs --{name}; see uniair bench --help")
    optimisation = Optimisation(
        steps=options.steps, learning_rate=options.learning_rate, warmup=0.1, save_every=500, seed=options.seed
    )
    data, held_out = Store(options.train), shards.read(options.validation)
    with world() as here:
        figures = ablate(
            options.variants, preset(options.preset), data, held_out, optimisation, Path(options.out), here
        )
    places = ", ".join(sorted(set(held_out.places)))
    print(f"a sample of the {len(held_out):,} links of {places}; {options.steps} steps, seed {options.seed}")
    print(f"{'':42}" + "".join(f"{column:>9}" for column in COLUMNS))
    for name, values in figures.items():
        cells = [values[c] if c.endswith("_db") else 100 * values[c] for c in COLUMNS]
        print(f"{VARIANTS[name].what:42}" + "".join(f"{cell:9.1f}" for cell in cells))
    return {"steps": options.steps, "seed": options.seed, "figures": figures}


SUITES = {"pretraining": pretraining, "synthesis": synthesis, "loading": loading, "toft": toft, "tracing": tracing}
