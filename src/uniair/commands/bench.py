"""Measure. WHAT is one of the paper's figures, each a JSON, a table and a picture in OUT/WHAT:

{benchmarks}
  all           every one of them
  results       the results page made from what was run so far (--page)

or how fast a part is:

  synthesis     CSI from paths, links a second
  training      pretraining, samples a second and share of the machine's matrix rate (--train)
  loading       how a million links open and read, and how long a training step waits for its batch (--train)
  questions     answers and training questions a second of AI²MMUM, by batch and stage (--backbone)
  tracing       links a second, and what is lost against 50 times the rays (--places, --root, --areas)
  edge          accuracy and speed of the models in torch, ONNX and int8 (--dense, --areas)
  service       requests a second that a site's server bears, and mutated bodies (--site, --rate, --seconds, --bodies)

A run that was stopped goes on where it was. --budget quick shows the shape in minutes; full is what is reported.

Example:
  uniair bench fig6 --links runs/test
  uniair bench table3 fig10 fig13 --dense runs/dense --budget full
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

import uniair
from uniair.benchmark.benchmark import DATA, Benchmark, Setup, perform
from uniair.benchmark.catalogue import BENCHMARKS
from uniair.benchmark.results import write_results
from uniair.benchmark.speed.edge_cost import edge_cost, faster
from uniair.benchmark.speed.edge_cost import tables as edge_tables
from uniair.benchmark.speed.loading import loading_speed
from uniair.benchmark.speed.questions import FORMS, question_speed
from uniair.benchmark.speed.service_load import service_load
from uniair.benchmark.speed.synthesis import synthesis_speed
from uniair.benchmark.speed.tracing import HEARD, tracing_speed
from uniair.benchmark.speed.training_speed import training_speed
from uniair.data.links.campaign import Campaign
from uniair.data.links.store import SAMPLE, Store
from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.presets import PRESETS
from uniair.propagation.ray_tracing import require_sionna

__doc__ = (__doc__ or "").format(benchmarks="\n".join(f"  {name:13} {b.title}" for name, b in BENCHMARKS.items()))


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("what", nargs="+", choices=[*BENCHMARKS, "all", "results", *SPEED], help="what to measure")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
    parser.add_argument("--out", type=str, default="runs/bench", help="folder for the runs")
    parser.add_argument("--budget", type=str, default="quick", help="quick or full")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions of what is drawn at random")
    for name, made in DATA.items():
        parser.add_argument(f"--{name}", type=str | None, default=None, help=f"folder: {made}")
    parser.add_argument("--embeddings", type=str, nargs="*", default=[],
                        help="fewshot: .npy files, other models' embeddings of the --deepmimo links")  # fmt: skip
    parser.add_argument("--backbone", type=str, default="smollm2-135m", help="instruct: language model, name or folder")
    parser.add_argument("--dtype", type=str, default="float32", help="instruct: of its weights; bfloat16 where quicker")
    parser.add_argument("--page", type=str, default="docs/results.md", help="results: the page to write")
    parser.add_argument("--preset", type=str, default="small", help=f"training, loading: one of {', '.join(PRESETS)}")
    parser.add_argument("--places", type=str, nargs="+", default=["sionna:munich", "sionna:etoile", "procedural:7"],
                        help="tracing: where")  # fmt: skip
    parser.add_argument("--root", type=str, default=".", help="tracing: folder that file names in places start from")
    parser.add_argument("--areas", type=int, default=6, help="tracing, edge: how many")
    parser.add_argument("--site", type=str | None, default=None, help="service: folder that uniair site made")
    parser.add_argument("--rate", type=float, default=200.0, help="service: requests a second, then twice that")
    parser.add_argument("--seconds", type=float, default=30.0, help="service: at that rate, up to 60 at twice it")
    parser.add_argument("--bodies", type=int, default=0, help="service: mutated bodies to send afterwards")
    parser.add_argument("--seed", type=int, default=0, help="speed: of weights, batches, areas and test signals")


def run(options: Any) -> dict[str, Any]:
    """Measures and prints the tables."""
    asked = [one for name in options.what for one in (BENCHMARKS if name == "all" else [name])]
    chosen = {name: BENCHMARKS[name] for name in asked if name in BENCHMARKS}
    folders = {name: Path(options[name]) for name in DATA if options[name] is not None}
    if lacking := {need: name for name, b in chosen.items() for need in b.needs if need not in folders}:
        need, name = next(iter(lacking.items()))
        raise InputError(f"{name} needs --{need}, a folder; make it: {DATA[need]}")
    found: dict[str, Any] = {}
    model = uniair.load(options.model) if chosen else None
    others = {"embeddings": {Path(file).stem: Path(file) for file in options.embeddings},
              "backbone": options.backbone, "dtype": options.dtype}  # fmt: skip
    for name in asked:
        if name in SPEED:
            found[name] = SPEED[name](options)
        elif name == "results":
            pages = write_results(BENCHMARKS, Path(options.out), Path(options.page))
            print(f"{options.page}: {', '.join(pages)}")
            found[name] = pages
        else:
            assert model is not None
            setup = Setup(model, Path(options.out) / name, folders, options.budget, options.seeds, **others)
            found[name] = show(name, chosen[name], setup)
    return found


def show(name: str, benchmark: Benchmark, setup: Setup) -> dict[str, Any]:
    """Performs a benchmark and prints its tables."""
    began = time.perf_counter()
    result = perform(name, benchmark, setup)
    print(f"\n{benchmark.title}" + (f"\nThe paper: {benchmark.paper}" if benchmark.paper else ""))
    for heading, table in benchmark.tables(result):
        print(f"\n{heading}\n{table.text()}")
    print(f"\n{setup.out}/figure.svg, figure.png and result.json, {time.perf_counter() - began:.0f} s")
    return result


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


def training(options: Any) -> dict[str, Any]:
    """Whole training steps in both precisions."""
    found = training_speed(Path(options.train) if options.train else SAMPLE, options.preset, seed=options.seed)
    for precision, speed in found["precisions"].items():
        rate = f"{speed['share']:.0%} of the {speed['matrix_rate'] / 1e9:,.0f} GFLOP/s of one large product"
        print(f"{found['preset']} in {precision} ({found['device']}): {speed['samples_per_s']:,.0f} samples/s, {rate}")
    return found


def tracing(options: Any) -> dict[str, Any]:
    """Links a second and the loss against many more rays."""
    require_sionna()
    found = tracing_speed(Campaign(tuple(options.places), options.root, options.areas, seed=options.seed))
    heard = f"{found['nlos']:,} NLOS with less than {-HEARD:.0f} dB of path loss"
    print(f"{found['links']:,} links in {found['areas']} areas of 5 BS × 30 UE, {heard}")
    print(
        f"{'':42}{'links/s':>8}{'paths':>9}{'lost':>8}   {'of those NLOS: lost':>20}{'power lost':>12}{'over 3 dB':>11}"
    )
    for what, row in found["settings"].items():
        print(f"{what:42}{row['links_per_s']:8,.0f}{row['paths']:9,}{row['lost_links']:8.1%}   "
              f"{row['nlos_lost_links']:20.1%}{row['nlos_loss_db']:9.2f} dB{row['nlos_over_3_db']:11.1%}")  # fmt: skip
    return found


def questions(options: Any) -> dict[str, Any]:
    """Answers a second, and what each stage of an answer takes."""
    found = question_speed(uniair.load(options.model), options.backbone, seed=options.seed)
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


def edge(options: Any) -> dict[str, Any]:
    """Accuracy and speed of the models in torch, ONNX and int8."""
    store = Store(Path(options.dense) if options.dense else SAMPLE)
    found = edge_cost(uniair.load(options.model), store, options.areas)
    for heading, table in edge_tables(found):
        print(f"\n{heading}\n{table.text()}")
    print("\n" + "\n".join(faster(found)))
    write_text(Path(options.out) / "edge" / "result.json", json.dumps(found, indent=1) + "\n")
    return found


def service(options: Any) -> dict[str, Any]:
    """Load on a site's server, and what broken requests do to it."""
    if options.site is None:
        raise InputError("service needs --site, a folder that uniair site made")
    found = service_load(Path(options.site), options.rate, options.seconds, options.bodies, options.seed)
    for r in found["rates"]:
        print(f"{r['rate']:.0f}/s: {r['answered']:.1%} answered, {r['shed']:.1%} shed, {r['errors']} errors, "
              f"p50 {r['p50_ms']:.0f} ms, p99 {r['p99_ms']:.0f} ms, {r['memory_start'] / 2**20:.0f} → "
              f"{r['memory_end'] / 2**20:.0f} MB")  # fmt: skip
    sent = found["bodies"]
    print(f"{sent['sent']:,} mutated bodies, {sent['fault_count']} faults; alive: {found['alive']}")
    return found


SPEED = {
    "edge": edge,
    "service": service,
    "questions": questions,
    "synthesis": synthesis,
    "training": training,
    "loading": loading,
    "tracing": tracing,
}
