"""The CSI of a UE that moves, a moment ahead: NMSE, SGCS and its code against speed and horizon, beside predictors."""

from __future__ import annotations

import time
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
SHOWN = 30  # km/h, in the picture, and where histories, noise and rounds are varied
HISTORIES, SNRS = (4, 8, 16), (0, 10, 20)  # snapshots and dB, each with each
EFFORTS = (2, 4, 8, 12, 16)  # rounds of the fit of paths
ROUNDS, ORDERS = (8, 12, 16), (1, 2, 3, 4, 6, 8)  # that validation places choose from
TRAINED, TAPS = 16, 128  # links a step, and the strongest taps of each, that the network learns from
UNIAIR, NOTHING, AUTOREGRESSION, KALMAN = "UniAir", "paths from nothing", "autoregression", "Kalman's filter"
Forecast = Callable[..., Tensor]
Figures = dict[str, dict[str, dict[str, float]]]  # method → horizon, ms → figures


@dataclass(frozen=True)
class NextCsiBudget:
    """How much is measured.

    Attributes:
        areas, links: of the test; links of each area.
        steps: that the network is trained.
        known: links of each of as many validation areas.
    """

    areas: int
    links: int
    steps: int
    known: int


BUDGETS = {"quick": NextCsiBudget(8, 4, 600, 1), "full": NextCsiBudget(60, 6, 4000, 2)}


@dataclass(frozen=True)
class Drawn:
    """Sequences of one radio.

    Attributes:
        csi: complex64 [N, T, ports, subcarriers] of the past, noisy.
        truth: complex64 [N, H, ports, subcarriers] to come.
        told: radio, times and SNR, as predictors take them.
    """

    csi: Tensor
    truth: Tensor
    told: dict[str, Any]

    @classmethod
    def of(cls, links: Links, carrier: float, kmh: float, past: int, snr: float, seed: list[int]) -> Drawn:
        """Directions and noise drawn."""
        rng, radio, times = np.random.default_rng(seed), Radio(carrier=carrier), _times(past)
        every = sequences(links, radio, kmh, times, rng)
        csi = noisy(every[:, :past].flatten(1, 2), snr, rng).view(-1, past, *radio.shape)
        return cls(csi, every[:, past:], {"radio": radio, "time": times[:past], "ahead": times[past:], "snr": snr})


def run(setup: Setup) -> dict[str, Any]:
    """Every predictor on the same links, at each carrier that the folders hold; directions and noise are drawn anew
    for each seed. Orders of the predictors and rounds of the fits are chosen on validation places.
    """
    budget, train, validation = BUDGETS[setup.budget], setup.store("train"), setup.store("validation")
    stores = [setup.store("links"), *([setup.store("mixed")] if "mixed" in setup.folders else [])]
    for store in stores:
        check_split(train.areas, store.areas)
        check_split(validation.areas, store.areas)
    setup.note(data=[store.manifest["recipe"] for store in stores], train=train.manifest["recipe"],
               validation=validation.manifest["recipe"], areas=budget.areas, links=budget.links,
               known=budget.known)  # fmt: skip
    model, network = setup.model, cache(partial(learned, train, budget.steps))
    known = _by_carrier([validation], budget.areas, budget.known)
    asked = dict.fromkeys([(PAST, SNR), *((past, snr) for past in HISTORIES for snr in SNRS)])
    chosen = {
        (past, snr): setup.once(f"chosen-{past}-{snr}", partial(choice, model, known, past, snr))
        for past, snr in track(list(asked), "choice")
    }
    result: dict[str, Any] = {"links": {}, "rows": {}, "told": {}, "efforts": {}}
    for carrier, links in _by_carrier(stores, budget.areas, budget.links).items():
        name = f"{carrier / 1e9:g} GHz"
        result["links"][name] = len(links)
        for part, rows in _at_carrier(setup, links, carrier, name, chosen, network).items():
            result[part] |= rows
    named = {f"{past} snapshots at {snr} dB": found for (past, snr), found in chosen.items()}
    return result | {"chosen": named, "snr": SNR, "snapshots": PAST, "step_ms": 1e3 * STEP}


def _at_carrier(
    setup: Setup,
    links: Links,
    carrier: float,
    name: str,
    chosen: dict[tuple[int, int], dict[str, int]],
    network: Callable[[int], TapGRU],
) -> dict[str, dict[str, Any]]:
    """Rows of the links at one carrier: by speed, by what is known, and by rounds."""
    model = setup.model

    def drawn(kmh: int, past: int, snr: int, seed: int) -> Drawn:
        return Drawn.of(links, carrier, kmh, past, snr, [seed, kmh, round(carrier / 1e6)])

    def moving(kmh: int, seed: int) -> Figures:
        return compared(model, drawn(kmh, PAST, SNR, seed), chosen[PAST, SNR], partial(network, seed))

    def known(past: int, snr: int, seed: int) -> Figures:
        return compared(model, drawn(SHOWN, past, snr, seed), chosen[past, snr])

    def runs(key: str, compute: Callable[[int], Figures]) -> list[Figures]:
        return [setup.once(f"{name}-{key}-{seed}", partial(compute, seed)) for seed in range(setup.seeds)]

    rows: dict[str, Any] = {}
    for speed in track(SPEEDS, "speed", name):
        found = runs(f"{speed}", partial(moving, speed))
        rows |= _rows(found, f"{name}, {speed} km/h", {"carrier": carrier, "speed": speed})
    told: dict[str, Any] = {}
    for past, snr in track([(past, snr) for past in HISTORIES for snr in SNRS], "history", name):
        found = runs(f"{past}-{snr}", partial(known, past, snr))
        told |= _rows(found, f"{name}, {past} snapshots at {snr} dB", {"past": past, "snr": snr})
    spent = _spreads(runs("efforts", lambda seed: efforts(model, drawn(SHOWN, PAST, SNR, seed))))
    return {"rows": rows, "told": told, "efforts": {f"{name}, {rounds}": row for rounds, row in spent.items()}}


def _spreads(runs: list[Figures]) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        outer: {
            inner: {figure: spread([[one[outer][inner][figure] for one in runs]]) for figure in figures}
            for inner, figures in row.items()
        }
        for outer, row in runs[0].items()
    }


def _rows(runs: list[Figures], name: str, about: dict[str, Any]) -> dict[str, Any]:
    """A row a horizon."""
    found = _spreads(runs)
    return {
        f"{name}, {horizon} ms": about | {"horizon": horizon, "methods": {one: found[one][horizon] for one in found}}
        for horizon in next(iter(found.values()))
    }


def _by_carrier(stores: list[Store], areas: int, count: int) -> dict[float, Links]:
    """Some links of all areas by their carrier, from the lowest."""
    found: dict[float, list[Links]] = {}
    for store in stores:
        for _, links in some_areas(store, areas):
            some = links.select(np.arange(len(links))[:count])
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


def _times(past: int) -> NDArray[np.float64]:
    return STEP * np.concatenate([np.arange(1 - past, 1), HORIZONS])


def learned(train: Store, steps: int, seed: int) -> TapGRU:
    """A network that knows training places alone, at 2 to 126 km/h and 10 to 30 dB."""

    def draw(number: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng([seed, number])
        area = train[int(rng.integers(len(train)))]
        links = along_array(area.select(rng.permutation(len(area))[:TRAINED]))
        every = sequences(links, links.one_radio(), 10 ** rng.uniform(0.3, 2.1, len(links)), _times(PAST), rng)
        snr = rng.uniform(10, 30, len(links))
        past = noisy(every[:, :PAST].flatten(1, 2), snr, rng).view(-1, PAST, *every.shape[2:])
        taps = torch.fft.fft2(torch.cat([past, every[:, PAST:]], 1), norm="ortho").flatten(2)
        best = taps[:, :PAST].abs().square().sum(1).topk(TAPS, 1).indices
        taps = taps.gather(2, best[:, None].expand(-1, taps.shape[1], -1)).mT.flatten(0, 1)
        noise = torch.from_numpy(1 / (1 + 10 ** (snr / 10))).float().repeat_interleave(TAPS)
        return taps[:, :PAST], noise, taps[:, PAST:]

    return train_tap_gru(draw, len(HORIZONS), steps, seed)


def tuned(model: UniversalModel, past: int) -> dict[str, tuple[tuple[int, ...], Forecast]]:
    """Predictors of which something is chosen: what from, and how each forecasts with one of it."""
    orders = tuple(order for order in ORDERS if order < past)
    return {
        UNIAIR: (ROUNDS, lambda number, csi, **told: forecast_csi(model, csi, **told, rounds=number)),
        NOTHING: (ROUNDS, lambda number, csi, **told: forecast_csi(None, csi, **told, rounds=number)),
        AUTOREGRESSION: (orders, lambda number, csi, **told: autoregression(csi, **told, order=number)),
        KALMAN: (orders, lambda number, csi, **told: kalman(csi, **told, order=number)),
    }


def choice(model: UniversalModel, known: dict[float, Links], past: int, snr: int) -> dict[str, int]:
    """Rounds or order of each predictor: of least NMSE in dB on the mean over carriers, speeds and horizons."""
    cases = [
        Drawn.of(links, carrier, kmh, past, snr, [kmh, round(carrier / 1e6)])
        for carrier, links in known.items()
        for kmh in SPEEDS
    ]

    def error(forecast: Forecast, number: int) -> float:
        every = ((forecast(number, case.csi, **case.told), case.truth) for case in cases)
        return float(np.mean([metrics.nmse_db(found[:, i], truth[:, i])
                              for found, truth in every for i in range(len(HORIZONS))]))  # fmt: skip

    return {
        name: min(grid, key=partial(error, forecast)) for name, (grid, forecast) in tuned(model, past).items()
    }  # fmt: skip


def compared(
    model: UniversalModel, drawn: Drawn, chosen: dict[str, int], network: Callable[[], TapGRU] | None = None
) -> Figures:
    """Every predictor on the same sequences.

    Args:
        network: learned for these times; with it come persistence, and UniAir without the SNR.
    """
    csi, told = drawn.csi, drawn.told
    methods = tuned(model, csi.shape[1])
    found = {name: forecast(chosen[name], csi, **told) for name, (_, forecast) in methods.items()}
    if network is not None:
        found[f"{UNIAIR}, SNR not told"] = methods[UNIAIR][1](chosen[UNIAIR], csi, **told | {"snr": None})
        found["GRU, trained on training places"] = predicted_by(network(), csi, **told)
        found["persistence"] = persistence(csi, **{name: told[name] for name in ("radio", "time", "ahead")})
    return {
        name: {f"{1e3 * STEP * steps:g}": _figures(model, one[:, i], drawn.truth[:, i], told["radio"])
               for i, steps in enumerate(HORIZONS)}
        for name, one in found.items()
    }  # fmt: skip


def efforts(model: UniversalModel, drawn: Drawn) -> Figures:
    """Rounds of the fit → where it begins → NMSE at the last horizon, and the processor's time."""
    methods = tuned(model, drawn.csi.shape[1])
    out: Figures = {}
    for rounds in EFFORTS:
        row = out[str(rounds)] = {}
        for name in (UNIAIR, NOTHING):
            began = time.process_time()  # of all threads, whoever else is at work
            found = methods[name][1](rounds, drawn.csi, **drawn.told)
            spent = 1e3 * (time.process_time() - began) / len(found)
            row[name] = {"nmse_db": metrics.nmse_db(found[:, -1], drawn.truth[:, -1]), "ms": spent}
    return out


def _figures(model: UniversalModel, csi: Tensor, truth: Tensor, radio: Radio) -> dict[str, float]:
    code, wanted = (model.encode_channel(one, radio) for one in (csi, truth))
    return {
        "nmse_db": metrics.nmse_db(csi, truth),
        "sgcs": metrics.sgcs(csi, truth),
        "code": float((code * wanted).sum(1).mean()),
    }


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """A table a figure, rows are carriers, speeds and horizons; then what paths are ahead by; NMSE by what is known
    and by the rounds of the fit; what was chosen.
    """
    rows = result["rows"]
    links = ", ".join(f"{count} links at {carrier}" for carrier, count in result["links"].items())
    about = f"{result['snapshots']} snapshots {result['step_ms']:g} ms apart at {result['snr']} dB; {links}"
    out = [(f"{name}; {about}", _table(rows, figure, digits)) for figure, name, digits in
           (("nmse_db", "NMSE, dB", 1), ("sgcs", "SGCS", 3), ("code", "cosine of the codes", 3))]  # fmt: skip
    pairs = ((UNIAIR, NOTHING), (UNIAIR, "the best other"), (NOTHING, "the best other"))
    gains = [[key, *(f"{gain:.1f}" for gain in _ahead(row["methods"]))] for key, row in rows.items()]
    ahead = Table(["", *(f"{one} against {other}" for one, other in pairs)], gains)
    efforts = [
        [f"{key} rounds", *(plus_minus(row[name][part]["mean"], row[name][part]["spread"], digits)
                            for name in (UNIAIR, NOTHING) for part, digits in (("nmse_db", 1), ("ms", 0)))]
        for key, row in result["efforts"].items()
    ]  # fmt: skip
    effort = Table(["", *(f"{name}, {part}" for name in (UNIAIR, NOTHING) for part in ("dB", "ms"))], efforts)
    chosen = Table(["", *next(iter(result["chosen"].values()))],
                   [[key, *map(str, row.values())] for key, row in result["chosen"].items()])  # fmt: skip
    return [
        *out,
        ("NMSE of paths lower, in dB; the best other goes from tap to tap: " + about, ahead),
        (f"NMSE, dB, by history and noise; {SHOWN} km/h", _table(result["told"], "nmse_db", 1)),
        (f"NMSE {HORIZONS[-1] * result['step_ms']:g} ms ahead, and time of the processor a channel, by the rounds of "
         f"the fit; {SHOWN} km/h; {about}", effort),
        ("Rounds of fits and orders of predictors, chosen on validation places", chosen),
    ]  # fmt: skip


def _table(rows: dict[str, Any], figure: str, digits: int) -> Table:
    methods = list(next(iter(rows.values()))["methods"])
    body = [
        [key, *(plus_minus(row["methods"][one][figure]["mean"], row["methods"][one][figure]["spread"], digits)
                for one in methods)]
        for key, row in rows.items()
    ]  # fmt: skip
    return Table(["", *methods], body)


def _ahead(methods: dict[str, Any]) -> tuple[float, float, float]:
    """By how many dB UniAir is below paths from nothing, and both are below the best predictor of taps."""
    at = {name: figures["nmse_db"]["mean"] for name, figures in methods.items()}
    best = min(value for name, value in at.items() if not name.startswith((UNIAIR, NOTHING)))
    return at[NOTHING] - at[UNIAIR], best - at[UNIAIR], best - at[NOTHING]


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


NEXT_CSI = Benchmark("", ("links", "train", "validation"), run, tables, draw, ("mixed",))
