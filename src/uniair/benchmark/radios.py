"""Zero-shot answers and feedback on radios that the weights have not learned, through the same front end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from uniair import metrics
from uniair.angle_delay import delayed
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.benchmark.robustness import Places
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 8, "full": 60}
# CSI, radio and generator → what is measured, and what a restored CSI is judged by
Impairment = Callable[[Tensor, Radio, np.random.Generator], tuple[Tensor, Tensor]]
Sums = dict[str, float]


@dataclass(frozen=True)
class Condition:
    """A radio, and what happens to the CSI that it measures.

    Attributes:
        name: as the table shows it.
        radio: as it is given to the model.
        impaired: None: measured as it is.
    """

    name: str
    radio: Radio = Radio()
    impaired: Impairment | None = None


def jittered(csi: Tensor, radio: Radio, rng: np.random.Generator, nanoseconds: float) -> tuple[Tensor, Tensor]:
    """Timing off by up to so much, evenly, in each CSI."""
    offset = torch.from_numpy(rng.uniform(-nanoseconds, nanoseconds, len(csi)) * 1e-9)
    later = delayed(csi, radio, offset)
    return later, later


def in_noise(csi: Tensor, radio: Radio, rng: np.random.Generator, snr_db: float) -> tuple[Tensor, Tensor]:
    """In white noise; judged by the CSI without noise."""
    return noisy(csi, snr_db, rng), csi


def miscalibrated(csi: Tensor, radio: Radio, rng: np.random.Generator, degrees: float) -> tuple[Tensor, Tensor]:
    """Phases of the ports off by a normal error of so many degrees rms, drawn for each CSI; judged by the true ones."""
    phase = torch.from_numpy(rng.normal(0, np.deg2rad(degrees), csi.shape[:2])).float()
    return csi * torch.polar(torch.ones_like(phase), phase)[..., None], csi


CONDITIONS = (
    Condition("as trained"),
    Condition("clock at the first path", Radio(clock="first_path")),
    Condition("timing off by up to ±50 ns", impaired=partial(jittered, nanoseconds=50)),
    Condition("240 kHz, 15 MHz", Radio(grid=OFDM(64, 240e3))),
    Condition("1.44 MHz, 92 MHz", Radio(grid=OFDM(64, 1.44e6))),
    Condition("antennas 0.7 λ apart", Radio(ULA(32, 0.7))),
    Condition("8 antennas", Radio(ULA(8))),
    Condition("16 antennas", Radio(ULA(16))),
    Condition("64 antennas", Radio(ULA(64))),
    Condition("panel of 4 × 8", Radio(UPA(4, 8))),
    Condition("panel of 8 × 8", Radio(UPA(8, 8))),
    Condition("128 subcarriers, 92 MHz", Radio(grid=OFDM(128))),
    Condition("256 subcarriers, 184 MHz", Radio(grid=OFDM(256))),
    Condition("comb of every fourth subcarrier", Radio(grid=OFDM(16, 4 * 720e3))),
    Condition("16 antennas, 20 MHz, clock at the first path", Radio(ULA(16), OFDM(28), clock="first_path")),
    *(Condition(f"SNR {snr} dB", impaired=partial(in_noise, snr_db=snr)) for snr in (-5, 0, 10)),
    Condition("phases of the antennas off by 20° rms", impaired=partial(miscalibrated, degrees=20)),
)
DECODED = {
    "64 antennas": Radio(ULA(64)),
    "twice the band, 92 MHz": Radio(grid=OFDM(128)),
    "the band 46 MHz beside": Radio(grid=OFDM(64, 720e3, 46.08e6)),
}
FIGURES = {"los": "LOS", "scale": "scale", "top1": "top-1"}


def run(setup: Setup) -> dict[str, Any]:
    """Every condition in the same areas; what is drawn is drawn anew for each seed."""
    store = setup.store("links")
    setup.note(data=store.manifest["recipe"], areas=AREAS[setup.budget])
    sums: dict[str, list[list[Sums]]] = {}  # condition → [areas][seeds]
    areas = links_seen = 0
    for number, (name, links) in enumerate(some_areas(store, AREAS[setup.budget])):
        areas, links_seen = areas + 1, links_seen + len(links)
        for condition in CONDITIONS:
            seeds = range(setup.seeds if condition.impaired else 1)
            one = [
                setup.once(
                    f"{name}-{condition.name}-{seed}", partial(_area, setup.model, links, condition, [seed, number])
                )
                for seed in seeds
            ]
            sums.setdefault(condition.name, []).append(one)
        for decoded in DECODED:
            found = setup.once(f"{name}-to {decoded}", partial(_decode, setup.model, links, DECODED[decoded]))
            sums.setdefault(f"to {decoded}", []).append([found])
    rows = {name: _row(per_area) for name, per_area in sums.items()}
    radios = {one.name: {"radio": one.radio.to_json(), "says": str(one.radio)} for one in CONDITIONS}
    return {"areas": areas, "links": links_seen, "rows": rows, "radios": radios}


def _row(per_area: list[list[Sums]]) -> dict[str, Any]:
    """Sums [areas][seeds] → shares and NMSE, mean and spread over the seeds."""
    seeds = []
    for parts in zip(*per_area, strict=True):
        links = sum(part["links"] for part in parts)
        one = {key: sum(part[key] for part in parts) / links for key in FIGURES if key in parts[0]}
        one["nmse_db"] = float(10 * np.log10(sum(part["error"] for part in parts) / links))
        seeds.append(one)
    return {key: spread([[one[key] for one in seeds]]) for key in seeds[0]}


def _area(model: UniversalModel, links: Links, condition: Condition, seed: list[int]) -> Sums:
    """Sums of right answers and of the feedback's relative error over the links of an area."""
    radio = condition.radio
    batch = batch_of(links, replace(radio, carrier=links.one_radio().carrier))
    csi, truth = batch.csi, batch.csi
    if condition.impaired is not None:
        csi, truth = condition.impaired(csi, radio, np.random.default_rng(seed))
    code = model.encode_channel(csi, radio)
    restored, truth = model.reconstruct_channel(code, radio), model.normalise_channel(truth, radio)
    out = {"links": float(len(links)), "error": float(metrics.relative_error(restored, truth).sum())}
    if radio.clock == "absolute":
        return out | {k: v for k, v in Places.encode(model, batch.environment).answers(code).items() if k in FIGURES}
    env = batch.environment
    return out | {
        "los": float(((zero_shot.los_odds(model, csi, env, radio) > 0).cpu() == (env.los > 0)).sum()),
        "scale": float((zero_shot.scale(model, csi, env, radio=radio).argmax(1) == 1).sum()),
        "top1": float((metrics.true_ranks(zero_shot.similarity(model, csi, env, radio)) == 0).sum()),
    }


def _decode(model: UniversalModel, links: Links, radio: Radio) -> Sums:
    """Relative error of the CSI of another radio, written from the code of the weights' own."""
    seen, wanted = batch_of(links, model.radio), batch_of(links, radio)
    written = model.reconstruct_channel(model.encode_channel(seen.csi), radio, seen_by=model.radio)
    error = metrics.relative_error(written, model.normalise_channel(wanted.csi, radio))
    return {"links": float(len(links)), "error": float(error.sum())}


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Radios, and what is decoded for others."""
    rows, decoded = [], []
    for name, row in result["rows"].items():
        nmse = plus_minus(row["nmse_db"]["mean"], row["nmse_db"]["spread"], 2)
        if name.startswith("to "):
            decoded.append([name, nmse])
        else:
            shares = [plus_minus(row[key]["mean"], row[key]["spread"], 1, 100) for key in FIGURES]
            rows.append([name, *shares, nmse])
    heading = f"{result['links']:,} links in {result['areas']} areas, %, and NMSE of the restored CSI in dB"
    return [
        (heading, Table(["seen by", *FIGURES.values(), "feedback, NMSE"], rows)),
        ("CSI of another radio, written from the code of paper 1's", Table(["", "NMSE, dB"], decoded)),
    ]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Bars of the shares, a group per radio."""
    rows = {name: row for name, row in result["rows"].items() if "top1" in row}
    axes = figure.subplots()
    place = np.arange(len(rows))
    for i, (key, name) in enumerate(FIGURES.items()):
        mean, error = ([100 * row[key][part] for row in rows.values()] for part in ("mean", "spread"))
        axes.barh(place + 0.27 * (i - 1), mean, 0.27, xerr=error, label=name)
    axes.set_yticks(place, list(rows), fontsize="x-small")
    axes.invert_yaxis()
    axes.set(xlabel="right answers, %", xlim=(0, 100))
    axes.legend(fontsize="small")


RADIOS = Benchmark("", ("links",), run, tables, draw)
