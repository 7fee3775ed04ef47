"""Zero-shot answers and feedback on many radios and masts, those that training never draws marked."""

from __future__ import annotations

from collections.abc import Sequence
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
from uniair.benchmark.robustness import Places, by_geometry
from uniair.data.links import drawn_radios
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.radio import OFDM, ULA, UPA, Radio
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AREAS = {"quick": 8, "full": 60}
Sums = dict[str, float]


@dataclass(frozen=True)
class Condition:
    """A radio, and what happens to the CSI that it measures.

    Attributes:
        name: as the table shows it.
        radio: as it is given to the model.
        impaired: a `partial` of what is done to the CSI, told how much; None: measured as it is.
    """

    name: str
    radio: Radio = Radio()
    impaired: partial[tuple[Tensor, Tensor]] | None = None

    @property
    def unseen(self) -> bool:
        """Whether training never draws its array, its grid or as much of its impairment, or hardly ever."""
        told = {} if self.impaired is None else self.impaired.keywords
        within = (DRAWN[name][0] <= value <= DRAWN[name][1] for name, value in told.items())
        return not (drawn_radios.may_draw(self.radio) and all(within))


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
    Condition("paper 1's radio"),
    Condition("calibrated gains", Radio(calibrated=True)),
    Condition("clock at the first path", Radio(clock="first_path")),
    Condition("clock at the first path, calibrated gains", Radio(clock="first_path", calibrated=True)),
    Condition("timing off by up to ±50 ns", impaired=partial(jittered, nanoseconds=50)),
    Condition("240 kHz, 15 MHz", Radio(grid=OFDM(64, 240e3))),
    Condition("360 kHz, 23 MHz", Radio(grid=OFDM(64, 360e3))),
    Condition("106 × 180 kHz, 19 MHz", Radio(grid=OFDM(106, 180e3))),
    Condition("52 × 1.44 MHz, 75 MHz", Radio(grid=OFDM(52, 1.44e6))),
    Condition("1.44 MHz, 92 MHz", Radio(grid=OFDM(64, 1.44e6))),
    Condition("128 subcarriers, 92 MHz", Radio(grid=OFDM(128))),
    Condition("256 subcarriers, 184 MHz", Radio(grid=OFDM(256))),
    Condition("antennas 0.7 λ apart", Radio(ULA(32, 0.7))),
    Condition("8 antennas", Radio(ULA(8))),
    Condition("16 antennas", Radio(ULA(16))),
    Condition("24 antennas", Radio(ULA(24))),
    Condition("64 antennas", Radio(ULA(64))),
    Condition("panel of 2 × 4, 0.8 λ between its rows", Radio(UPA(2, 4, 0.8))),
    Condition("panel of 4 × 8", Radio(UPA(4, 8))),
    Condition("panel of 8 × 8", Radio(UPA(8, 8))),
    Condition("panel of 8 × 8, slanted polarisations", Radio(UPA(8, 8, polarisation="slanted"))),
    Condition("64 antennas, 256 subcarriers", Radio(ULA(64), OFDM(256))),
    Condition("comb of every fourth subcarrier", Radio(grid=OFDM(16, 4 * 720e3))),
    Condition("16 antennas, 20 MHz, clock at the first path", Radio(ULA(16), OFDM(28), clock="first_path")),
    *(Condition(f"SNR {snr} dB", impaired=partial(in_noise, snr_db=snr)) for snr in (-5, 0, 10)),
    Condition("phases of the antennas off by 20° rms", impaired=partial(miscalibrated, degrees=20)),
)
OTHER_CARRIERS = "carriers"  # a campaign at carriers of `splits/radios-v2.json`
# on areas of other campaigns, at the carriers that those were traced at
ELSEWHERE = {
    "masts": (
        Condition("masts of 25 m over the roofs, 3.5 GHz"),
        Condition("masts, panel of 8 × 8, slanted polarisations", Radio(UPA(8, 8, polarisation="slanted"))),
    ),
    "mixed": (
        Condition("any mast, any carrier of training"),
        Condition("any mast, panel of 4 × 8, 106 × 180 kHz", Radio(UPA(4, 8), OFDM(106, 180e3))),
    ),
    OTHER_CARRIERS: (Condition("any mast, carriers of no training"),),
}
DECODED = {
    "64 antennas": Radio(ULA(64)),
    "twice the band, 92 MHz": Radio(grid=OFDM(128)),
    "the band 46 MHz beside": Radio(grid=OFDM(64, 720e3, 46.08e6)),
}
FIGURES = {"los": "LOS", "los_map": "LOS, no positions", "scale": "scale", "top1": "top-1"}
# what an impairment is told → from where to where training draws as much
DRAWN = {
    "nanoseconds": (0.0, drawn_radios.HARDLY * 1e9),
    "snr_db": drawn_radios.SNR,
    "degrees": (0.0, drawn_radios.PHASE_ERROR),
}


def run(setup: Setup) -> dict[str, Any]:
    """Every condition in the same areas; what is drawn is drawn anew for each seed.

    LOS is asked with map and positions, which alone nearly tell it (`seen` has by how much), and without positions.
    """
    sums: dict[str, list[list[Sums]]] = {}  # condition → [areas][seeds]
    seen: dict[str, dict[str, float]] = {}
    groups = {"links": CONDITIONS} | {name: ELSEWHERE[name] for name in ELSEWHERE if name in setup.folders}
    if OTHER_CARRIERS in groups:
        _check_carriers(setup)
    setup.note(data={name: setup.store(name).manifest["recipe"] for name in groups}, areas=AREAS[setup.budget])
    for group, conditions in groups.items():
        for number, (name, links) in enumerate(some_areas(setup.store(group), AREAS[setup.budget])):
            right = setup.once(f"{group}-{name}-geometry", partial(_geometry, links))
            for key, count in {"areas": 1, "links": len(links), "by_geometry": right}.items():
                counts = seen.setdefault(group, {})
                counts[key] = counts.get(key, 0) + count
            for one in conditions:
                found = []
                for seed in range(setup.seeds if one.impaired else 1):
                    key, asked = f"{name}-{one.name}-{seed}", (setup.model, links, one, [seed, number])
                    everything = setup.once(key, partial(_area, *asked))
                    nowhere = setup.once(f"{key}-no positions", partial(_without_positions, *asked))
                    found.append(everything | {"los_map": nowhere})
                sums.setdefault(one.name, []).append(found)
            for decoded in DECODED if group == "links" else ():
                once = setup.once(f"{name}-to {decoded}", partial(_decode, setup.model, links, DECODED[decoded]))
                sums.setdefault(f"to {decoded}", []).append([once])
    rows = {name: _row(per_area) for name, per_area in sums.items()}
    radios = {
        one.name: {"radio": one.radio.to_json(), "says": str(one.radio)}
        for conditions in groups.values() for one in conditions
    }  # fmt: skip
    return {"seen": seen, "rows": rows, "radios": radios}


def _check_carriers(setup: Setup) -> None:
    """Raises `InputError` where links are at a carrier that training may have drawn."""
    *_, held_out = drawn_radios.unseen()
    for radio in setup.store(OTHER_CARRIERS).radios:
        if radio.carrier not in held_out:
            raise InputError(
                f"{setup.folders[OTHER_CARRIERS]}: has links at {radio.carrier / 1e9:g} GHz, which training may draw; "
                f"--{OTHER_CARRIERS} asks for those of recipes/trace-test-carriers.yaml"
            )


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
    batch, truth = _measured(links, condition, seed)
    csi, radio = batch.csi, batch.radio
    code = model.encode_channel(csi, radio)
    restored, truth = model.reconstruct_channel(code, radio), model.normalise_channel(truth, radio)
    out = {"links": float(len(links)), "error": float(metrics.relative_error(restored, truth).sum())}
    env = batch.environment
    if not zero_shot.searched(model, radio):
        found = Places.encode(model, env).answers(code)
        return out | {key: value for key, value in found.items() if key in FIGURES}
    return out | {
        "los": float(((zero_shot.los_odds(model, csi, env, radio) > 0).cpu() == (env.los > 0)).sum()),
        "scale": float((zero_shot.scale(model, csi, env, radio=radio).argmax(1) == 1).sum()),
        "top1": float((metrics.true_ranks(zero_shot.similarity(model, csi, env, radio)) == 0).sum()),
    }


def _without_positions(model: UniversalModel, links: Links, condition: Condition, seed: list[int]) -> int:
    """Right answers about LOS from CSI and map; of calibrated gains the power counts."""
    batch, _ = _measured(links, condition, seed)
    probability = zero_shot.los(model, batch.csi, batch.environment.without("bs", "ue"), batch.radio)
    return int(((probability > 0.5).cpu() == (batch.environment.los > 0)).sum())


def _measured(links: Links, condition: Condition, seed: list[int]) -> tuple[Batch, Tensor]:
    """Links as a condition has them, and what a restored CSI is judged by."""
    radio = replace(condition.radio, carrier=links.one_radio().carrier)
    batch = batch_of(links, radio)
    if condition.impaired is None:
        return batch, batch.csi
    csi, truth = condition.impaired(batch.csi, radio, np.random.default_rng(seed))
    return replace(batch, csi=csi), truth


def _geometry(links: Links) -> int:
    """Links whose LOS the map and the positions alone tell."""
    return int(by_geometry(batch_of(links, links.one_radio()).environment))


def _decode(model: UniversalModel, links: Links, radio: Radio) -> Sums:
    """Relative error of the CSI of another radio, written from the code of the weights' own."""
    seen, wanted = batch_of(links, model.radio), batch_of(links, radio)
    written = model.reconstruct_channel(model.encode_channel(seen.csi), radio, seen_by=model.radio)
    error = metrics.relative_error(written, model.normalise_channel(wanted.csi, radio))
    return {"links": float(len(links)), "error": float(error.sum())}


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Radios, after what the maps alone tell, and what is decoded for others."""
    held = {
        one.name
        for group, conditions in {"links": CONDITIONS, **ELSEWHERE}.items() for one in conditions
        if one.unseen or group == OTHER_CARRIERS
    }  # fmt: skip
    figures = _figures(result)
    rows = [
        [f"no channel: --{group}'s maps and positions alone", f"{100 * one['by_geometry'] / one['links']:.1f}",
         *[""] * len(figures)]
        for group, one in result["seen"].items() if "by_geometry" in one
    ]  # fmt: skip
    decoded = []
    for name, row in result["rows"].items():
        nmse = plus_minus(row["nmse_db"]["mean"], row["nmse_db"]["spread"], 2)
        if name.startswith("to "):
            decoded.append([name, nmse])
        else:
            shares = [plus_minus(row[key]["mean"], row[key]["spread"], 1, 100) for key in figures]
            rows.append([name + "*" * (name in held), *shares, nmse])
    counts = ", ".join(f"{one['links']:,} links in {one['areas']} areas of --{group}"
                       for group, one in result["seen"].items())  # fmt: skip
    heading = (
        f"%, and NMSE of the restored CSI in dB; {counts}; * training never draws its array, its grid, its "
        "carriers or as large an error, or hardly ever"
    )
    return [
        (heading, Table(["seen by", *figures.values(), "feedback, NMSE"], rows)),
        ("CSI of another radio, written from the code of paper 1's", Table(["", "NMSE, dB"], decoded)),
    ]


def _figures(result: dict[str, Any]) -> dict[str, str]:
    """Those of `FIGURES` that a result has: of before it asked without positions, all others."""
    return {key: name for key, name in FIGURES.items() if any(key in row for row in result["rows"].values())}


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Bars of the shares, a group per radio."""
    rows = {name: row for name, row in result["rows"].items() if "top1" in row}
    axes = figure.subplots()
    place = np.arange(len(rows))
    figures = _figures(result)
    high = 0.8 / len(figures)
    for i, (key, name) in enumerate(figures.items()):
        mean, error = ([100 * row[key][part] for row in rows.values()] for part in ("mean", "spread"))
        axes.barh(place + high * (i - (len(figures) - 1) / 2), mean, high, xerr=error, label=name)
    axes.set_yticks(place, list(rows), fontsize="x-small")
    axes.invert_yaxis()
    axes.set(xlabel="right answers, %", xlim=(0, 100))
    axes.legend(fontsize="small")


RADIOS = Benchmark("", ("links",), run, tables, draw, may_use=tuple(ELSEWHERE))
