"""Pretraining a universal model on links folders: data, split check, loop, card."""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uniair.data.links import shards
from uniair.data.links.drawn_radios import SNR, draw
from uniair.data.links.links import Links, only_radio
from uniair.data.links.loader import AreaBatches
from uniair.data.links.store import Stores
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.evaluation.zero_shot_suite import sample, zero_shot_suite
from uniair.files import write_text
from uniair.models.learned import Learned
from uniair.models.presets import Preset
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import Radio
from uniair.tasks.alignment import Alignment
from uniair.training.checkpoint import begin_from, digest, load_model, save_model
from uniair.training.distributed import World
from uniair.training.loop import Optimisation, run

VALIDATION_LINKS = 1500
DRAWS = 1000
COLDEST = math.log(0.01)


@dataclass(frozen=True)
class Batches:
    """What a training batch is made of.

    Attributes:
        areas: areas a batch; the links of an area are each other's negatives.
        links_per_area: most links drawn from an area.
        augment: turn and mirror each area at random (8 symmetries).
    """

    areas: int = 6
    links_per_area: int = 32
    augment: bool = True


def check_split(train: Iterable[str], held_out: Iterable[str]) -> None:
    """Raises `InputError` where an area's place is on both sides; takes the areas' names."""
    both = sorted({name.split("/")[0] for name in train} & {name.split("/")[0] for name in held_out})
    if both:
        raise InputError(f"places in both training and validation: {', '.join(both)}; trace them apart, by place")


def check_grounds(train: dict[str, Any], held_out: dict[str, Any]) -> None:
    """Raises `InputError` where a place is on both sides under two names; takes the manifests of imported links.

    Moments of a dynamic scenario that lie in folders of their own are one street, as their buildings and base stations
    show.
    """
    there = {ground: place for place, ground in held_out.get("account", {}).get("grounds", {}).items()}
    for place, ground in train.get("account", {}).get("grounds", {}).items():
        if ground in there:
            raise InputError(
                f"{place} in training and {there[ground]} in validation have the same buildings and base stations: one "
                "place; import its scenes in one folder, and keep them on one side"
            )


def pretrain(
    preset: Preset,
    data: Sequence[Links],
    held_out: Mapping[str, Links],
    task: Alignment,
    batches: Batches,
    optimisation: Optimisation,
    out: Path,
    world: World,
    start: Path | None = None,
) -> UniversalModel:
    """Trains a model of the preset into `out`, watching zero-shot figures on a sample of the held-out links.

    Each process draws batches of its own, from (seed, number of the batch, rank): their links are negatives of each
    other. A preset for any radio is trained on radios that are drawn anew for every batch, see `drawn_radios`.

    Args:
        data: one `Links` an area, `Stores` or `links.split()`.
        held_out: of other places, under the names that their figures are logged by; none: not watched.

        start: folder of weights to begin from; None: they are drawn.

    Raises:
        InputError: as `run`, a place is on both sides, or the links are of several radios.
    """
    names, count, radios = (data.areas, data.links, data.radios) if isinstance(data, Stores) else _about(data)
    any_radio = preset.radios == "any"
    radio = Radio() if any_radio else only_radio(radios)
    for links in held_out.values():
        check_split(names, links.areas)
        if any_radio or not (other := links.one_radio().differs(radio)):
            continue
        what = ", ".join(f"{name} {here}, there {there}" for name, (there, here) in other.items())
        raise InputError(f"validation links of another radio than the training links: {what}; trace them alike")
    torch.manual_seed(optimisation.seed)
    learned = learned_from(data, radios) if any_radio and isinstance(data, Stores) else None
    model = UniversalModel(preset, radio, learned)
    if start is not None:
        begin_from(model, load_model(start))
    model = model.to(world.device)
    temperature = model.log_temperature.requires_grad_(task.learned_temperature)
    watched = {name: sample(links, VALIDATION_LINKS, seed=0) for name, links in held_out.items()}
    area_batches = AreaBatches(data, batches.areas, batches.links_per_area, batches.augment, any_radio)

    def draw(number: int) -> tuple[Batch, np.random.Generator]:
        rng = np.random.default_rng([optimisation.seed, number, world.rank])
        return area_batches(rng), rng

    def loss(number: int) -> dict[str, Tensor | float]:
        asked = time.perf_counter()
        batch, rng = (drawn.pop(number, None) or pool.submit(draw, number)).result()
        waited = time.perf_counter() - asked
        drawn[number + 1] = pool.submit(draw, number + 1)  # while the model works on this one
        terms = task.loss(model, batch.to(world.device), rng)
        return {**terms, "samples_per_s": len(batch.csi) * world.size, "waiting": waited}

    def figures() -> dict[str, float]:
        seen_by = radio if any_radio else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RadioWarning)  # what is watched may lie outside what is trained on
            return {
                f"{folder}/{name}": value
                for folder, links in watched.items()
                for name, value in zero_shot_suite(model, links, radio=seen_by).values().items()
            }

    settings = {
        "preset": asdict(preset), "task": asdict(task), "optimisation": asdict(optimisation),
        "processes": world.size, "batches": asdict(batches), "areas": len(data), "links": count,
        "start": None if start is None else digest(load_model(start)),
        "data": data.recipes if isinstance(data, Stores) else None,
    }  # fmt: skip
    drawn: dict[int, Future[tuple[Batch, np.random.Generator]]] = {}
    # on one core, or the drawing would stall the model's threads
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        run(model, loss, optimisation, about="pretraining", world=world, out=out, settings=settings,
            validate=figures if watched else None, after=lambda: temperature.data.clamp_(min=COLDEST))  # fmt: skip
    save_model(model, out)
    world.wait()  # the others may read it now
    return model


def learned_from(data: Stores, radios: Sequence[Radio]) -> Learned:
    """The ranges that training draws from; those of the radios are of `DRAWS` of them."""
    side, station, user = (tuple(extent) for extent in data.extents().tolist())
    drawn = [draw(np.random.default_rng([0, number])).radio for number in range(DRAWS)]
    carriers = [radio.carrier / 1e9 for radio in radios]
    apertures = [float(np.ptp(radio.array.layout, axis=0).max()) for radio in drawn]
    bands = [radio.grid.bandwidth / 1e6 for radio in drawn]
    carrier, aperture, band = ((min(values), max(values)) for values in (carriers, apertures, bands))
    built, roofs = (tuple(extent) if np.isfinite(extent).all() else None for extent in data.clutter().tolist())
    nearest, farthest = np.quantile(data.losses(), (0.001, 0.999)).tolist()
    return Learned(carrier, aperture, band, station, user, side, built, roofs, (nearest, farthest), SNR)


def _about(data: Sequence[Links]) -> tuple[tuple[str, ...], int, tuple[Radio, ...]]:
    """Names of areas, number of links, and the radios of all."""
    names, radios, links = zip(*((area.areas, area.radios, len(area)) for area in data), strict=True)
    return sum(names, ()), sum(links), sum(radios, ())


def write_card(out: Path, train: Stores, held_folders: Sequence[Path], settings: dict[str, Any]) -> None:
    """`card.json`: what the weights were trained on, what was left out, how long it took."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    manifests = {
        "train": [store.manifest for store in train.stores],
        "validation": [shards.read_manifest(folder) for folder in held_folders],
    }
    card = {
        "made": time.strftime("%Y-%m-%d"),
        "torch": torch.__version__,
        "training_areas": len(train),
        "training_links": train.links,
        "los_share": round(train.los_share(), 4),
        "places": {
            side: sorted({place for manifest in used for place in manifest["places"]})
            for side, used in manifests.items()
        },
        "recipe": {side: [manifest["recipe"] for manifest in used] for side, used in manifests.items()},
        "attribution": "; ".join(dict.fromkeys(manifest["attribution"] for manifest in manifests["train"])),
        "settings": settings,
        "last": lines[-1] if lines else {},
        "median_samples_per_s": float(
            np.median([line["samples_per_s"] for line in lines if "samples_per_s" in line] or [0])
        ),
    }
    write_text(out / "card.json", json.dumps(card, indent=1) + "\n")
