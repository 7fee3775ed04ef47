"""Channels completed from pilots, antennas or a band: NMSE against SNR and density, beside classical methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.sampled_links import Sample, SampledLinks
from uniair.data.links.links import Links
from uniair.data.links.loader import along_array
from uniair.data.links.store import Store
from uniair.evaluation.linear_interpolation import interpolated
from uniair.evaluation.lmmse import covariance, lmmse, lmmse_of_paths
from uniair.evaluation.matching_pursuit import nomp, omp
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import UniversalModel
from uniair.noise import noisy
from uniair.progress import track
from uniair.radio import Radio, Subcarriers
from uniair.tasks.completion import complete

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SNRS = (-5, 0, 5, 10, 20)  # dB
DENSITIES = (2, 4, 8, 16)  # one over
SHOWN = ("1/4", "1/16")  # in the picture
BESIDE = 10  # dB, of the parts that are not pilots
RADIO = Radio(clock="first_path")


@dataclass(frozen=True)
class Part:
    """What of a channel is known.

    Attributes:
        name: as the table shows it.
        radio: of the whole channel.
        known: bool [ports, subcarriers].
        judged: bool [subcarriers] where the completed channel is judged.
    """

    name: str
    radio: Radio
    known: Tensor
    judged: Tensor


def parts() -> Iterator[Part]:
    """Pilots of every density in a comb and scattered; half the antennas; half the band; bands beside."""
    everywhere = torch.ones(RADIO.grid.subcarriers, dtype=torch.bool)
    port, tone = torch.arange(RADIO.shape[0])[:, None], torch.arange(RADIO.shape[1])
    for density in DENSITIES:
        comb = (tone % density == 0).expand(RADIO.shape)
        yield Part(f"comb of 1/{density}", RADIO, comb, everywhere)
        scattered = torch.from_numpy(np.random.default_rng(density).random(RADIO.shape) < 1 / density)
        yield Part(f"scattered, 1/{density}", RADIO, scattered, everywhere)
    yield Part("every other antenna", RADIO, (port % 2 == 0).expand(RADIO.shape), everywhere)
    yield Part("half the antennas, side by side", RADIO, (port < RADIO.shape[0] // 2).expand(RADIO.shape), everywhere)
    yield Part("half the band", RADIO, (tone < RADIO.shape[1] // 2).expand(RADIO.shape), everywhere)
    for away in (RADIO.grid.bandwidth, 100e6):
        first = RADIO.grid.frequencies
        beside = torch.arange(2 * len(first)) >= len(first)
        both = replace(RADIO, grid=Subcarriers(np.concatenate([first, away + first])))
        yield Part(f"the band {away / 1e6:.0f} MHz beside", both, (~beside).expand(both.shape), beside)


# links are few: every one is completed by seven methods at every SNR and density
BUDGETS = {"quick": Sample(8, 4, 2000), "full": Sample(60, 10, 20_000)}


def run(setup: Setup) -> dict[str, Any]:
    """NMSE of every method on the same links; noise is drawn anew for each seed."""
    sampled = SampledLinks.of(setup, BUDGETS[setup.budget])
    links = along_array(Links.concatenate([links for _, links in sampled.areas]))
    every, rows = [replace(part, radio=sampled.at_carrier(part.radio)) for part in parts()], {}
    for part in track(every, "part"):
        prior = cache(partial(_prior, sampled.train, part.radio, sampled.sample.train))
        for snr in SNRS if "1/" in part.name else (BESIDE,):
            runs = [
                setup.once(f"{part.name}-{snr}-{seed}", partial(_measured, setup.model, links, part, snr, seed, prior))
                for seed in range(setup.seeds)
            ]
            means = {name: spread([[one[name] for one in runs]]) for name in runs[0]}
            rows[f"{part.name}, {snr} dB"] = {"part": part.name, "snr": snr, "nmse_db": means}
    return {"links": len(links), "rows": rows, "says": str(sampled.at_carrier(RADIO))}


def _prior(train: Store, radio: Radio, count: int) -> Tensor:
    """Covariance of channels of training places."""
    each = max(count // len(train), 1)
    step = max(len(train) * each // count, 1)
    areas = [train[i] for i in range(0, len(train), step)]
    links = along_array(Links.concatenate([one.select(np.arange(len(one))[:each]) for one in areas]))
    return covariance(links.paths.csi(radio))


def _measured(
    model: UniversalModel, links: Links, part: Part, snr: float, seed: int, prior: Callable[[], Tensor]
) -> dict[str, float]:
    """NMSE of each method, dB."""
    truth = links.paths.csi(part.radio)
    power = truth.abs().square().mean((1, 2)).sqrt()
    truth = truth / power[:, None, None]
    gain = links.paths.gain / power.numpy()[links.paths.link_of_path]
    paths = replace(links.paths, gain=gain.astype(links.paths.gain.dtype))
    csi, radio = noisy(truth, snr, np.random.default_rng(seed)), part.radio
    told: dict[str, Any] = {"known": part.known, "snr": snr}
    found = {
        "UniAir": complete(model, csi, radio, **told),
        "UniAir, SNR not told": complete(model, csi, radio, known=part.known),
        "linear": interpolated(csi, radio, known=part.known),
        "LMMSE of training places": lmmse(csi, radio, spread=prior(), **told),
        "OMP": omp(csi, radio, **told),
        "Newtonised OMP": nomp(csi, radio, **told),
        "LMMSE of the true paths": lmmse_of_paths(csi, radio, paths=paths, **told),
    }
    judged = part.judged
    return {name: metrics.nmse_db(one[..., judged], truth[..., judged]) for name, one in found.items()}


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """All parts and SNRs."""
    rows = result["rows"]
    methods = list(next(iter(rows.values()))["nmse_db"])
    body = [
        [name, *(plus_minus(row["nmse_db"][one]["mean"], row["nmse_db"][one]["spread"], 1) for one in methods)]
        for name, row in rows.items()
    ]
    heading = (
        f"NMSE of the whole channel, dB, beside a band that of the other; {result['links']} links; {result['says']}"
    )
    return [(f"{heading}; the true paths are a bound", Table(["known", *methods], body))]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """NMSE against SNR, a panel for some combs and scattered pilots."""
    rows = [row for row in result["rows"].values() if "1/" in row["part"]]
    names = [name for name in dict.fromkeys(row["part"] for row in rows) if name.endswith(SHOWN)]
    every = figure.subplots(1, max(len(names), 1), sharey=True, squeeze=False)[0]
    for axes, name in zip(every, names, strict=False):
        here = [row for row in rows if row["part"] == name]
        for method in here[0]["nmse_db"]:
            axes.plot([row["snr"] for row in here], [row["nmse_db"][method]["mean"] for row in here], label=method)
        axes.set(title=name, xlabel="SNR, dB")
        axes.grid(alpha=0.3)
    every[0].set_ylabel("NMSE, dB")
    if names:
        every[0].legend(fontsize="xx-small")


COMPLETION = Benchmark("", ("links", "train"), run, tables, draw)
