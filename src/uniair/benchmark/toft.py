"""Light heads beside what they replace, area by area: paper 1's Table III, Figs. 10 and 13, and classical methods."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from uniair.benchmark import classical
from uniair.data.links import Links
from uniair.data.loader import batch_of
from uniair.data.store import Store
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.files import write_text
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot
from uniair.tasks.adaptation import TASKS, HeadTraining, fit
from uniair.training.heads import Adaptation, divide, embed

POSITION_MLP = (2, 128, 64, 32)  # paper 1, IV-C: 10,720 parameters
Row = tuple[str, str, int, dict[str, float]]  # task, method, tuned parameters, figures


def toft_suite(
    model: UniversalModel,
    store: Store,
    out: Path,
    seeds: int = 3,
    labels: int | None = None,
    split: str = "random",
    training: HeadTraining = HeadTraining(),
) -> dict[str, Any]:
    """Every task and method in every area, `seeds` times; an area and seed that are in `out` are not run again.

    Returns:
        `rows`: task → method → tuned parameters and, of each figure, its mean over areas and seeds, the spread over
        seeds and the values by area. Also in `out/toft.json`.

    Raises:
        InputError: `out` holds runs with other settings, or an area has too few links.
    """
    if seeds < 1:
        raise InputError(f"toft: {seeds} seeds; give at least 1")
    settings = {"model": model.preset.name, "weights": _digest(model), "folder": store.manifest["recipe"],
                "split": split, "labels": labels, "training": vars(training)}  # fmt: skip
    settings = json.loads(json.dumps(settings))
    note = out / "settings.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != settings:
        raise InputError(f"{out}: holds runs with other settings; give another --out")
    write_text(note, json.dumps(settings, indent=1) + "\n")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, links in tqdm(zip(store.areas, store, strict=True), total=len(store), unit="area", disable=None):
        paths = [out / f"{name.replace('/', '-')}-{seed}.json" for seed in range(seeds)]
        if not all(path.exists() for path in paths):
            batch = batch_of(links)
            embedded = {inputs: embed(model, batch, inputs) for inputs in ("channel", "environment")}
        for seed, path in enumerate(paths):
            if not path.exists():
                wanted = Adaptation(labels=labels, split=split, seed=seed)
                ran = list(_area(model, links, batch, embedded, wanted, replace(training, seed=seed)))
                write_text(path, json.dumps(ran) + "\n")
            for task, method, parameters, figures in json.loads(path.read_text(encoding="utf-8")):
                entry = found.setdefault(task, {}).setdefault(method, {"tuned_parameters": parameters, "runs": {}})
                entry["runs"].setdefault(name, []).append(figures)
    rows = {task: {m: entry | _sum_up(entry.pop("runs")) for m, entry in methods.items()}
            for task, methods in found.items()}  # fmt: skip
    result = {"areas": list(store.areas), "seeds": seeds, "split": split, "labels": labels, "rows": rows}
    write_text(out / "toft.json", json.dumps(result, indent=1) + "\n")
    return result


def _digest(model: UniversalModel) -> str:
    """Tells the weights of one training run from another's."""
    digest = hashlib.sha256()
    for values in model.parameters():
        digest.update(values.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _sum_up(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    keys = next(iter(runs.values()))[0]
    values = {key: np.array([[run[key] for run in area] for area in runs.values()]) for key in keys}  # [areas, seeds]
    return {
        "mean": {key: float(v.mean()) for key, v in values.items()},
        "spread": {key: float(v.mean(0).std()) for key, v in values.items()},
        "by_area": {key: v.mean(1).tolist() for key, v in values.items()},
    }


def _area(
    model: UniversalModel,
    links: Links,
    batch: Batch,
    embedded: dict[str, Tensor],
    wanted: Adaptation,
    training: HeadTraining,
) -> Iterator[Row]:
    """All rows of one area and seed."""
    learn, test = divide(links, wanted)
    seen, held = batch_of(links.select(learn)), batch_of(links.select(test))

    def head(task: str, z: Tensor, method: str, widths: tuple[int, ...] | None = None) -> Row:
        made = fit(TASKS[task], z[learn], TASKS[task].target(batch)[learn], training, widths)
        with torch.inference_mode():
            return task, method, made.parameter_count(), TASKS[task].measure(made(z[test]), held)

    def other(task: str, method: str, outputs: Tensor) -> Row:
        return task, method, 0, TASKS[task].measure(outputs, held)

    plan = batch.environment.ue[:, :2]
    for task in ("position", "los", "beam", "precoding"):
        yield head(task, embedded["channel"], "TOFT from CSI")
    for task in ("los", "beam", "path_loss"):
        yield head(task, embedded["environment"], "TOFT from map and positions")
    yield head("beam", plan, "MLP from position", POSITION_MLP)
    yield head("path_loss", plan, "MLP from position", (2, 128, 64, 1))
    yield other("position", "fingerprints, 5 nearest", torch.from_numpy(classical.fingerprint(seen, held)))
    yield other("position", "geometry: first path and beam", torch.from_numpy(classical.geometry(held)))
    beams = TASKS["beam"].target(seen)
    yield other("beam", "look-up of the 5 nearest positions", classical.lookup_beams(seen, beams, held))
    yield other("los", "threshold on delay spread and K", classical.los_threshold(seen, held))
    env = held.environment
    for method, known in (
        ("ZSL from CSI and map", replace(env, bs=None, ue=None)), ("ZSL from CSI, map and positions", env)
    ):  # fmt: skip
        p = zero_shot.los(model, embedded["channel"][test], known).cpu()
        yield other("los", method, torch.stack([1 - p, p], 1).clamp_min(1e-9).log())
