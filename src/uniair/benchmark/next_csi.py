"""The CSI of a UE that moves, a moment ahead: NMSE, SGCS and its code against speed and horizon, beside predictors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array
from uniair.data.links.store import Store
from uniair.evaluation.csi_predictors import autoregression, kalman, persistence, predicted_by
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.baselines import TapGRU
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.progress import track
from uniair.propagation.motion import moved
from uniair.radio import Radio
from uniair.tasks.csi_forecast import forecast_csi
from uniair.training.pretraining import check_split
from uniair.training.supervised import train_tap_gru

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPEEDS = (3, 30, 60, 120)  # km/h
STEP, PAST = 1e-3, 16  # s between snapshots, and how many there are
HORIZONS = (1, 2, 5)  # steps
SNR = 20  # dB of each snapshot
SHOWN = 30  # km/h, in the picture
TRAINED, TAPS = 16, 128  # links a step, and the strongest taps of each, that the network learns from


@dataclass(frozen=True)
class NextCsiBudget:
    """How much is measured.

    Attributes:
        areas, links: of the test; links of each area.
        steps: that the network is trained.
    """

    areas: int
    links: int
    steps: int


BUDGETS = {"quick": NextCsiBudget(8, 4, 600), "full": NextCsiBudget(60, 6, 4000)}


def run(setup: Setup) -> dict[str, Any]:
    """Every predictor on the same links, at each carrier that the folders hold; directions and noise are drawn anew
    for each seed.
    """
    budget, train = BUDGETS[setup.budget], setup.store("train")
    stores = [setup.store("links"), *([setup.store("mixed")] if "mixed" in setup.folders else [])]
    for store in stores:
        check_split(train.areas, store.areas)
    setup.note(data=[store.manifest["recipe"] for store in stores], train=train.manifest["recipe"], areas=budget.areas,
               links=budget.links)  # fmt: skip
    network = cache(partial(learned, train, budget.steps))
    rows: dict[str, dict[str, Any]] = {}
    counts = {}
    for carrier, links in _by_carrier(stores, budget).items():
        radio = Radio(carrier=carrier)
        counts[f"{carrier / 1e9:g} GHz"] = len(links)
        for speed in track(SPEEDS, "speed", f"{carrier / 1e9:g} GHz"):
            runs = [
                setup.once(f"{carrier / 1e9:g}-{speed}-{seed}",
                           partial(_measured, setup.model, links, radio, speed, seed, network))
                for seed in range(setup.seeds)
            ]  # fmt: skip
            for name, horizons in runs[0].items():
                for horizon, figures in horizons.items():
                    key = f"{carrier / 1e9:g} GHz, {speed} km/h, {horizon} ms"
                    row = rows.setdefault(key, {"carrier": carrier, "speed": speed, "horizon": horizon, "methods": {}})
                    row["methods"][name] = {
                        figure: spread([[one[name][horizon][figure] for one in runs]]) for figure in figures
                    }
    return {"links": counts, "rows": rows, "snr": SNR, "snapshots": PAST, "step_ms": 1e3 * STEP}


def _by_carrier(stores: list[Store], budget: NextCsiBudget) -> dict[float, Links]:
    """Links of all areas by their carrier, from the lowest."""
    found: dict[float, list[Links]] = {}
    for store in stores:
        for _, links in some_areas(store, budget.areas):
            some = links.select(np.arange(len(links))[: budget.links])
            found.setdefault(some.one_radio().carrier, []).append(along_array(some))
    return {carrier: Links.concatenate(found[carrier]) for carrier in sorted(found)}


def sequences(links: Links, radio: Radio, kmh: Any, times: NDArray[np.float64], rng: np.random.Generator) -> Tensor:
    """Channels of UEs that move level, each in a direction of its own: complex64 [N, T, ports, subcarriers].

    Args:
        kmh: speed, one or [N].
        times: [T] s; the links' own paths are those at 0.
    """
    angle = rng.uniform(0, 2 * np.pi, len(links))
    velocity = (np.asarray(kmh) / 3.6 * np.array([np.cos(angle), np.sin(angle), 0 * angle])).T
    found = [moved(links.paths, velocity, float(time), radio.carrier).csi(radio) for time in times]
    csi = torch.stack(found, 1)
    return csi / csi.abs().square().mean((1, 2, 3), keepdim=True).sqrt()


def _times() -> NDArray[np.float64]:
    return STEP * np.concatenate([np.arange(1 - PAST, 1), HORIZONS])


def learned(train: Store, steps: int, seed: int) -> TapGRU:
    """A network that knows training places alone, at 2 to 126 km/h and 10 to 30 dB."""

    def draw(number: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([seed, number])
        area = train[int(rng.integers(len(train)))]
        links = along_array(area.select(rng.permutation(len(area))[:TRAINED]))
        every = sequences(links, links.one_radio(), 10 ** rng.uniform(0.3, 2.1, len(links)), _times(), rng)
        snr = rng.uniform(10, 30, len(links))
        past = noisy(every[:, :PAST].flatten(1, 2), snr, rng).view(-1, PAST, *every.shape[2:])
        taps = torch.fft.fft2(torch.cat([past, every[:, PAST:]], 1), norm="ortho").flatten(2)
        best = taps[:, :PAST].abs().square().sum(1).topk(TAPS, 1).indices
        taps = taps.gather(2, best[:, None].expand(-1, taps.shape[1], -1)).mT.flatten(0, 1)
        noise = torch.from_numpy(1 / (1 + 10 ** (snr / 10))).float().repeat_interleave(TAPS)
        return taps[:, :PAST], noise, taps[:, PAST:]

    return train_tap_gru(draw, len(HORIZONS), steps, seed)


def _measured(
    model: UniversalModel, links: Links, radio: Radio, kmh: float, seed: int, network: Callable[[int], TapGRU]
) -> dict[str, dict[str, dict[str, float]]]:
    """Method → horizon, ms → figures."""
    rng = np.random.default_rng([seed, round(kmh), round(radio.carrier / 1e6)])
    every = sequences(links, radio, kmh, _times(), rng)
    truth = every[:, PAST:]
    csi = noisy(every[:, :PAST].flatten(1, 2), SNR, rng).view(-1, PAST, *radio.shape)
    told: dict[str, Any] = {"time": _times()[:PAST], "ahead": _times()[PAST:]}
    found = {
        "UniAir": forecast_csi(model, csi, radio, **told, snr=SNR),
        "UniAir, SNR not told": forecast_csi(model, csi, radio, **told),
        "autoregression": autoregression(csi, radio, **told, snr=SNR),
        "Kalman's filter": kalman(csi, radio, **told, snr=SNR),
        "GRU, trained on training places": predicted_by(network(seed), csi, radio, **told, snr=SNR),
        "persistence": persistence(csi, radio, **told),
    }
    return {
        name: {f"{1e3 * STEP * steps:g}": _figures(model, one[:, i], truth[:, i], radio)
               for i, steps in enumerate(HORIZONS)}
        for name, one in found.items()
    }  # fmt: skip


def _figures(model: UniversalModel, csi: Tensor, truth: Tensor, radio: Radio) -> dict[str, float]:
    code, wanted = (model.encode_channel(one, radio) for one in (csi, truth))
    return {
        "nmse_db": metrics.nmse_db(csi, truth),
        "sgcs": metrics.sgcs(csi, truth),
        "code": float((code * wanted).sum(1).mean()),
    }


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """A table a figure: rows are carriers, speeds and horizons."""
    rows = result["rows"]
    methods = list(next(iter(rows.values()))["methods"])
    links = ", ".join(f"{count} links at {carrier}" for carrier, count in result["links"].items())
    about = f"{result['snapshots']} snapshots {result['step_ms']:g} ms apart at {result['snr']} dB; {links}"
    out = []
    for figure, name, digits in (("nmse_db", "NMSE, dB", 1), ("sgcs", "SGCS", 3), ("code", "cosine of the codes", 3)):
        body = [
            [key, *(plus_minus(row["methods"][one][figure]["mean"], row["methods"][one][figure]["spread"], digits)
                    for one in methods)]
            for key, row in rows.items()
        ]  # fmt: skip
        out.append((f"{name}; {about}", Table(["", *methods], body)))
    return out


def draw(result: dict[str, Any], figure: Figure) -> None:
    """NMSE against the horizon at one speed, a panel a carrier."""
    rows = [row for row in result["rows"].values() if row["speed"] == SHOWN]
    carriers = list(dict.fromkeys(row["carrier"] for row in rows))
    every = figure.subplots(1, max(len(carriers), 1), sharey=True, squeeze=False)[0]
    for axes, carrier in zip(every, carriers, strict=False):
        here = [row for row in rows if row["carrier"] == carrier]
        for method in here[0]["methods"]:
            means = [row["methods"][method]["nmse_db"]["mean"] for row in here]
            axes.plot([float(row["horizon"]) for row in here], means, marker=".", label=method)
        axes.set(title=f"{carrier / 1e9:g} GHz, {SHOWN} km/h", xlabel="ahead, ms")
        axes.grid(alpha=0.3)
    every[0].set_ylabel("NMSE, dB")
    if carriers:
        every[0].legend(fontsize="xx-small")


NEXT_CSI = Benchmark("", ("links", "train"), run, tables, draw, ("mixed",))
