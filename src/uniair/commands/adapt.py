"""Train a light head of a task (--task) on the frozen model, in seconds per area (TOFT).

LINKS is a folder of links, best a dense one (recipes/trace-dense.yaml). Each area gets a head of its own, learned from
a part of its links and measured on the rest. A head is a file of some kB, kept in --out. With --head, that head is
loaded onto the model and measured on every link instead; nothing is trained.

--task feedback learns no head but a code for CSI feedback in bits: a quantiser of the area's channels, and a decoder
tuned to it (--decoder), at any budget from 24 to 512 bits. LINKS may be a folder that uniair site made; each of its
stations then gets a code of its own, kept in the site, which uniair serve answers with. --together learns one of all
areas, as of training places, and leaves the decoder as it is; --code gives such a one to begin from.

A head for LOS from the channel begins at the model's zero-shot answer and is not trained in steps: labels say in closed
form how far to leave it. --zero_shot false trains it as the others. Where amplitudes are gains, say so by --radio
'{"calibrated": true}': the embedding then holds the power, which tells much of LOS.

The links are seen by the radio that they name, or by another one of the same carrier (--radio): a file with its JSON,
or the JSON itself, as uniair.Radio.to_json gives it.

Example:
  uniair adapt runs/dense --task beam --out runs/heads
  uniair adapt runs/other --task beam --head runs/heads/PLACE-0-beam-channel-0.safetensors
  uniair adapt runs/dense --task beam --radio '{"array": {"kind": "upa", "rows": 4, "columns": 8}}' --out runs/upa
  uniair adapt runs/site --task feedback
  uniair adapt runs/train --task feedback --together true --out runs/codes
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser

import uniair
from uniair.commands import feedback_of_areas
from uniair.commands.feedback_of_areas import FEEDBACK
from uniair.data.links.loader import batch_of
from uniair.data.links.shards import manifest_radios
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.radio import Radio, same_carrier
from uniair.site.site import NOTE, Site
from uniair.tasks.registry import TASKS
from uniair.training.distributed import world
from uniair.training.feedback_adaptation import DecoderTraining
from uniair.training.heads import Adaptation, HeadTraining, adapt, embed, from_zero_shot, load_head, measure, save_head

LEAST_LINKS = 20


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("links", type=str, help="links folder")
    parser.add_argument("--out", type=str | None, default=None, help="folder for heads and figures-TASK-INPUTS.json")
    parser.add_argument("--head", type=str | None, default=None, help="measure this head, or code, and train none")
    parser.add_argument("--model", type=str, default="small", help="packaged model or checkpoint folder")
    parser.add_argument("--radio", type=str | None, default=None, help="that sees the links: file or JSON")
    parser.add_argument("--areas", type=int | None, default=None, help="only the first so many areas")
    parser.add_argument("--seeds", type=int, default=1, help="runs per area; the spread of the figures is over them")
    about = "; ".join(f"{name}: {task.about}, from {' or '.join(task.inputs)}" for name, task in TASKS.items())
    parser.add_argument("--task", type=str, default=Adaptation.task, help=f"{about}; {FEEDBACK}: CSI in bits")
    parser.add_argument("--zero_shot", type=bool | None, default=None, help="of LOS from the channel: begin there")
    parser.add_argument("--together", type=bool, default=False, help=f"of --task {FEEDBACK}: one code of all areas")
    parser.add_argument("--code", type=str | None, default=None, help=f"of --task {FEEDBACK}: a code to begin from")
    parser.add_class_arguments(Adaptation, skip={"task"})
    parser.add_class_arguments(HeadTraining, "training", skip={"seed"})
    parser.add_class_arguments(DecoderTraining, "decoder")


def run(options: Any) -> dict[str, Any]:
    """Trains, measures and prints the table."""
    feedback = options.task == FEEDBACK
    if not feedback and (options.together or options.code is not None):
        raise InputError(f"--together, --code: they are of --task {FEEDBACK}; leave them out")
    if feedback and options.zero_shot is not None:
        raise InputError(f"--zero_shot: it is of --task los, not of {FEEDBACK}; leave it out")
    site = Site.read(options.links) if feedback and (Path(options.links) / NOTE).is_file() else None
    if site is None:
        model, store = uniair.load(options.model), Store(options.links).first(options.areas)
    else:
        model, store = feedback_of_areas.of_site(site)
    radio = _radio(store, options.radio)
    for remark in model.remarks(radio):
        print(remark)
    if feedback:
        return feedback_of_areas.run(options, model, store, radio, site)
    chosen = Adaptation(**{name: options[name] for name in Adaptation.__dataclass_fields__})
    if options.head is not None:
        return _measure(model, store, radio, chosen.task, Path(options.head))
    if options.out is None:
        raise InputError("give --out, a folder for the heads, or --head, a head to measure")
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: give at least 1")
    starts = from_zero_shot(chosen, options.zero_shot)
    if starts and options.training != HeadTraining():
        raise InputError("--training: a head for los from the channel begins at zero-shot and has no steps to set; "
                         "leave it out, or train one by --zero_shot false")  # fmt: skip
    out = Path(options.out)
    areas = np.flatnonzero(store.counts >= LEAST_LINKS).tolist()
    if not areas:
        raise InputError(f"{options.links}: no area has {LEAST_LINKS} links; heads are learned area by area")
    rows: dict[str, list[dict[str, float]]] = {}
    with world() as here:
        for area in track(areas, "area", show=here.main):
            name, links = store.areas[area], store[area]
            for seed in range(chosen.seed, chosen.seed + options.seeds):
                one = replace(chosen, seed=seed)
                fitted = adapt(model, links, one, replace(options.training, seed=seed), radio, here, starts)
                rows.setdefault(name, []).append(fitted.figures)
                about = {"area": name, "learned": fitted.learned, "tested": fitted.tested, "figures": fitted.figures}
                file = f"{name.replace('/', '-')}-{one.task}-{one.reads}-{seed}.safetensors"
                if here.main:
                    save_head(out / file, fitted.head, one, model, radio, about)
        if not here.main:
            return {}
    keys = list(rows[name][0])
    begun = ", begun at zero-shot" * starts
    print(f"{TASKS[chosen.task].on(radio).about}, from {chosen.reads}{begun}, {fitted.head.parameter_count():,} tuned "
          f"parameters, {chosen.split} split, {options.seeds} seeds")  # fmt: skip
    print(f"{'area':28}" + "".join(f"{key:>14}" for key in keys))
    means = {key: [float(np.mean([r[key] for r in runs])) for runs in rows.values()] for key in keys}
    for i, name in enumerate(rows):
        print(f"{name:28}" + "".join(f"{means[key][i]:14.3f}" for key in keys))
    print(f"{'mean':28}" + "".join(f"{np.mean(means[key]):14.3f}" for key in keys))
    spread = {key: float(np.mean([np.std([r[key] for r in runs]) for runs in rows.values()])) for key in keys}
    result = {
        "task": chosen.task, "inputs": chosen.reads, "radio": radio.to_json(), "remarks": model.remarks(radio),
        "split": chosen.split, "labels": fitted.learned, "zero_shot": starts,
        "tuned_parameters": fitted.head.parameter_count(), "seeds": options.seeds,
        "mean": {key: float(np.mean(values)) for key, values in means.items()}, "spread_over_seeds": spread,
        "areas": rows,
    }  # fmt: skip
    write_text(out / f"figures-{chosen.task}-{chosen.reads}.json", json.dumps(result, indent=1) + "\n")
    return result


def _radio(store: Store, given: str | None) -> Radio:
    """The radio that sees the links: the given one, or their own.

    Raises:
        InputError: no radio; links of several, or traced at another carrier than the given one's.
    """
    own = list(dict.fromkeys(manifest_radios(store.manifest)))
    if given is None:
        if len(own) > 1:
            raise InputError(f"{store.folder}: links of {len(own)} radios ({own[0]} | {own[1]}); say by --radio which "
                             "one sees them, or import those of one radio apart")  # fmt: skip
        return own[0]
    radio = Radio.parse(given)
    if odd := [one for one in own if not same_carrier(one, radio)]:
        raise InputError(f"--radio: its carrier is {radio.carrier / 1e9:g} GHz, but {store.folder} has paths at "
                         f"{odd[0].carrier / 1e9:g} GHz; trace or import them at that carrier")  # fmt: skip
    return radio


def _measure(model: UniversalModel, store: Store, radio: Radio, task: str, path: Path) -> dict[str, Any]:
    head, inputs, learned = load_head(path, model, task)
    remarks = TASKS[task].remarks(learned, radio)
    rows = {}
    for name, links in track(zip(store.areas, store, strict=True), "area", total=len(store)):
        if len(links):
            batch = batch_of(links, radio)
            rows[name] = measure(TASKS[task], head, embed(model, batch, inputs), batch)
    keys = list(next(iter(rows.values()), {}))
    print(f"{TASKS[task].on(learned).about}, from {inputs}, {path.name}: every link")
    for remark in remarks:
        print(remark)
    print(f"{'area':28}" + "".join(f"{key:>14}" for key in keys))
    for name, figures in rows.items():
        print(f"{name:28}" + "".join(f"{figures[key]:14.3f}" for key in keys))
    return {"task": task, "inputs": inputs, "head": str(path), "radio": radio.to_json(),
            "remarks": [*model.remarks(radio), *remarks], "areas": rows}  # fmt: skip
