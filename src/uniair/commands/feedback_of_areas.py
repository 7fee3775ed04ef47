"""What `uniair adapt --task feedback` does: a code for CSI feedback of each area, of a site's stations, or of all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import uniair
from uniair.data.digest import data_digest
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.evaluation.tables import Table
from uniair.files import write_text
from uniair.folder_lock import alone_in
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.radio import Radio
from uniair.site.site import Site
from uniair.training.checkpoint import digest, read_header
from uniair.training.distributed import World, world
from uniair.training.feedback_adaptation import (
    Channels,
    adapt_feedback,
    is_made,
    learned,
    load_feedback,
    measure,
    places_of,
    save_feedback,
)
from uniair.training.heads import Adaptation

FEEDBACK, READS = "feedback", "channel"
PER_AREA = 64  # most links of an area in a code of all areas
TOGETHER = 32_768  # channels of a code of all areas, where nothing else is asked for
MEASURED = 60  # areas at most that such a code is measured on
HELD = 10  # one in so many areas is measured on and not learned from
Figures = dict[str, dict[str, float]]


def of_site(site: Site) -> tuple[UniversalModel, Store]:
    """The model of a site, and its links, an area a station.

    Raises:
        InputError: it has none, is of a file of sites, or its weights are not those here.
    """
    site.require_model()
    if site.planned:
        raise InputError(
            f"{site.folder}: of a file of sites, whose sectors share their masts' links; codes are of stations of "
            "uniair site --bs"
        )
    model = uniair.load(site.model)
    site.require_weights(digest(model))
    if not site.traced:
        raise InputError(f"{site.folder}: holds no links to learn from; run uniair site without --trace false")
    return model, site.links


def run(options: Any, model: UniversalModel, store: Store, radio: Radio, site: Site | None) -> dict[str, Any]:
    """Learns, measures and prints the table; with `--head` measures a code on every link."""
    if options.inputs not in (None, READS):
        raise InputError(f"{FEEDBACK} is learned from {READS}, not from {options.inputs!r}")
    if options.head is not None:
        return _measure(model, store, radio, Path(options.head))
    given = ("together", "out", "radio", "areas")
    if site is not None and (any(options[name] for name in given) or options.seeds != 1):
        raise InputError("a site keeps one code a station, of its own radio, in its own folder: leave --together, "
                         "--out, --radio, --areas and --seeds out")  # fmt: skip
    if site is None and options.out is None:
        raise InputError("give --out, a folder for the codes, or --head, a code to measure")
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: give at least 1")
    with ExitStack() as held:
        if site is not None:
            held.enter_context(alone_in(site.folder))
        here = held.enter_context(world())
        out = Path(options.out) if site is None else site.folder / "heads"
        if options.together and not here.main:  # one process is enough: nothing is trained in steps
            return {}
        rows = _together(options, model, store, radio, out) if options.together else (
            _each(options, model, store, radio, site, out, here)
        )  # fmt: skip
        if not here.main:
            return {}
    means = {method: {bits: [one[method][bits] for runs in rows.values() for one in runs if method in one]
                      for bits in bits_of} for method, bits_of in _methods(rows).items()}  # fmt: skip
    result = {
        "task": FEEDBACK, "inputs": READS, "radio": radio.to_json(), "remarks": list(model.remarks(radio)),
        "split": options.split, "seeds": options.seeds, "sgcs": {
            method: {bits: {"mean": float(np.mean(values)), "codes": len(values)} for bits, values in found.items()}
            for method, found in means.items()
        }, "areas": rows,
    }  # fmt: skip
    write_text(out / f"figures-{FEEDBACK}-{READS}.json", json.dumps(result, indent=1) + "\n")
    print(f"CSI feedback, SGCS on links that no code learned from; the codes are in {out}")
    print(_table(rows).text())
    return result


def _each(
    options: Any, model: UniversalModel, store: Store, radio: Radio, site: Site | None, out: Path, here: World
) -> dict[str, list[Figures]]:
    """A code of each area and seed, or of each station of a site: figures."""
    begun = None if options.code is None else load_feedback(Path(options.code), model, radio)
    rows: dict[str, list[Figures]] = {}
    for name, links in track(zip(store.areas, store, strict=True), "area", total=len(store), show=here.main):
        for seed in range(options.seed, options.seed + options.seeds):
            wanted = Adaptation(labels=options.labels, split=options.split, seed=seed)
            path = out / f"{name.replace('/', '-')}-{FEEDBACK}-{READS}-{seed}.safetensors"
            if site is not None:
                station = [one.name for one in site.stations].index(name.rpartition("/")[2])
                path = site.feedback(station)
            about = {"area": name, "links": len(links), "data": data_digest(links), "labels": options.labels,
                     "split": options.split, "seed": seed, "decoder": asdict(options.decoder),
                     "weights": digest(model), "radio": radio.to_json(),
                     "begun": None if begun is None else begun.code.digest}  # fmt: skip
            if not is_made(path, about):
                with _state(path, here) as state:
                    try:
                        fitted = adapt_feedback(model, links, wanted, options.decoder, radio, begun, here, state)
                    except InputError as error:
                        raise InputError(f"{name}: {error}") from error
                    more = {"learned": fitted.learned, "tested": fitted.tested, "figures": fitted.figures}
                    if here.main:
                        save_feedback(path, fitted.code, about | more)
            if here.main:
                rows.setdefault(name, []).append(read_header(path, "")["about"]["figures"])
    return rows


@contextmanager
def _state(path: Path, here: World) -> Iterator[Path]:
    """A folder for the state of a code's training, gone when it is made."""
    folder = path.with_suffix(".part")
    yield folder
    here.wait()
    if here.main:
        shutil.rmtree(folder, ignore_errors=True)


def _together(
    options: Any, model: UniversalModel, store: Store, radio: Radio, out: Path
) -> dict[str, list[Figures]]:  # fmt: skip
    """One code of all areas but every `HELD`th, which it is measured on: figures."""
    if len(store) < HELD or options.code is not None:
        raise InputError(f"--together learns from {HELD} areas or more, and begins from no --code; {store.folder} has "
                         f"{len(store)}")  # fmt: skip
    mine, held = ([i for i in range(len(store)) if (i % HELD == 0) == kept] for kept in (False, True))
    count, rows = options.labels or TOGETHER, []
    for seed in range(options.seed, options.seed + options.seeds):
        path = out / f"{FEEDBACK}-{READS}-{seed}.safetensors"
        about = {"area": f"{len(mine)} areas of {store.folder.name}", "links": store.links,
                 "data": data_digest(store.manifest["shards"]), "labels": count, "seed": seed,
                 "weights": digest(model), "radio": radio.to_json()}  # fmt: skip
        if not is_made(path, about):
            drawn = min(-(-count // PER_AREA), len(mine))
            batches = track(islice(places_of(store, radio, PER_AREA, seed, mine), drawn), "area", total=drawn)
            channels = Channels.of(model, iter(batches))
            found = learned(model, channels, radio, seed)
            tests = islice(places_of(store, radio, PER_AREA, seed, held), MEASURED)
            figures = _mean([measure(found, Channels.of(model, iter([one])), one) for one in tests])
            save_feedback(path, found, about | {"learned": len(channels.z), "figures": figures})
        rows.append(read_header(path, "")["about"]["figures"])
    return {"all areas": rows}


def _measure(model: UniversalModel, store: Store, radio: Radio, path: Path) -> dict[str, Any]:
    """A code that is there, on every link."""
    found = load_feedback(path, model, radio)
    rows: dict[str, list[Figures]] = {}
    for name, links in track(zip(store.areas, store, strict=True), "area", total=len(store)):
        (batch,) = places_of([links], radio, len(links), 0)
        rows[name] = [measure(found, Channels.of(model, iter([batch])), batch)]
    print(f"CSI feedback, SGCS, {path.name}: every link")
    print(_table(rows).text())
    return {"task": FEEDBACK, "inputs": READS, "head": str(path), "radio": radio.to_json(),
            "remarks": list(model.remarks(radio)),
            "areas": {name: figures for name, (figures,) in rows.items()}}  # fmt: skip


def _methods(rows: dict[str, list[Figures]]) -> dict[str, list[str]]:
    """Every method that any code has figures of, and its numbers of bits."""
    found: dict[str, list[str]] = {}
    for one in (one for runs in rows.values() for one in runs):
        for method, by_bits in one.items():
            found.setdefault(method, sorted(by_bits, key=_number))
    return found


def _number(bits: str) -> int:
    return int(bits.split()[0])


def _mean(figures: list[Figures]) -> Figures:
    return {
        method: {bits: float(np.mean([one[method][bits] for one in figures])) for bits in by_bits}
        for method, by_bits in figures[0].items()
    }


def _table(rows: dict[str, list[Figures]]) -> Table:
    methods = _methods(rows)
    bits = sorted({one for of in methods.values() for one in of}, key=_number)
    body = [
        [name, method, *(f"{np.mean([one[method][b] for one in runs if method in one]):.4f}" for b in bits)]
        for name, runs in rows.items()
        for method in methods if any(method in one for one in runs)
    ]  # fmt: skip
    return Table(["area", "decoder", *bits], body)
