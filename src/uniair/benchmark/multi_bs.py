"""Positioning from one, two and three BSs in DeepMIMO cities (paper 1, Fig. 12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor
from torch import Tensor

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.embeddings import read_embeddings
from uniair.benchmark.fewshot import TurnedCity
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.files import sha256
from uniair.models.fusion import Attention, Concatenation, MultiStationViT
from uniair.progress import track
from uniair.tasks.registry import TASKS
from uniair.training.heads import HeadTraining, embed, fit
from uniair.training.multi_station import Users, fit_fusion, locate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMON = 200  # UEs with a path to all BSs; a city with fewer cannot compare one BS with three
TEST = 0.2
NEIGHBOURS = 5
CONNECTED = "as heard"  # all test UEs, each with the BSs that it has a path to
PERCENT = np.arange(0, 101, 5)
VIT = "ViT from scratch, concatenation"
# CDF90 in m of 3 BSs in DeepMIMO's O1 scenario with 167,220 labels
PAPER = {
    "paper, O1: TOFT, pretrained on DeepMIMO": 1.095,
    "paper, O1: ViT from scratch": 1.016,
    "paper, O1: MLP": 3.817,
    "paper, O1: TOFT, pretrained on WAIR-D": 1.758,
}
Outcome = dict[str, Any]  # tuned: parameters; errors: combination → error in m of each test user


@dataclass(frozen=True)
class Budget:
    """What the benchmark may cost: cities, and passes over the labels of the light networks and of the ViT."""

    cities: int | None
    epochs: int
    vit_epochs: int | None


BUDGETS = {"quick": Budget(1, 60, None), "full": Budget(None, 300, 40)}


class City(TurnedCity):
    """What the runs of a city share, made when it is first asked for."""

    @cached_property
    def users(self) -> Users:
        """Its UEs."""
        return Users.of(self.store[self.number])

    @cached_property
    def channel(self) -> Tensor:
        """Embeddings of the CSI: [links, E]."""
        return embed(self.model, self.batch, "channel")

    @cached_property
    def raw(self) -> Tensor:
        """Normalised CSI, real and imaginary parts: [links, 4096]."""
        return torch.view_as_real(self.model.normalise_channel(self.batch.csi)).flatten(1).cpu()

    def divide(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Users to learn from and users to test on, a fifth of all."""
        order = np.random.default_rng(seed).permutation(len(self.users.ue))
        test = round(TEST * len(order))
        return np.sort(order[test:]), np.sort(order[:test])

    def methods(self, budget: Budget) -> dict[str, Callable[[int], Outcome]]:
        """Every row by its name; each takes a seed."""
        rows: dict[str, Callable[[int], Outcome]] = {
            "TOFT, concatenation": partial(self._network, "channel", "concatenation", budget.epochs),
            "TOFT, attention": partial(self._network, "channel", "attention", budget.epochs),
            "TOFT, one BS with a head of its own": partial(self._single, budget.epochs),
        }
        for name in self.given:
            rows[f"{name}, concatenation"] = partial(self._network, name, "concatenation", budget.epochs)
        rows["MLP on raw CSI, concatenation"] = partial(self._network, "raw", "concatenation", budget.epochs)
        if budget.vit_epochs is not None:
            rows[VIT] = partial(self._network, "csi", "vit", budget.vit_epochs)
        rows[f"fingerprints, {NEIGHBOURS} nearest"] = self._fingerprints
        return rows

    def _inputs(self, name: str) -> Tensor:
        if name in self.given:
            return self.given[name]
        return {"channel": lambda: self.channel, "raw": lambda: self.raw, "csi": self._csi}[name]()

    def _csi(self) -> Tensor:
        return self.batch.csi.to(self.model.device)

    def _network(self, inputs: str, fusion: str, epochs: int, seed: int) -> Outcome:
        """One network for all combinations, trained with BS dropout."""
        data, stations = self._inputs(inputs), len(self.users.stations)
        learn, test = self.divide(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: dict[str, Callable[[], Any]] = {
                "concatenation": lambda: Concatenation(stations, data.shape[1]),
                "attention": lambda: Attention(data.shape[1]),
                "vit": lambda: MultiStationViT(self.model.preset, stations),
            }
            network = made[fusion]()
        network = fit_fusion(network, data, self.users, learn, epochs, seed)
        tuned = sum(p.numel() for p in network.parameters())
        return self._outcome(tuned, test, lambda index, some: locate(network, data, self.users, index, some))

    def _single(self, epochs: int, seed: int) -> Outcome:
        """Paper 1's head of one BS, once for each."""
        learn, test = self.divide(seed)
        task, users = TASKS["position"], self.users
        heads = []
        for bs in range(len(users.stations)):
            seen = learn[users.link[learn, bs] >= 0]
            target = torch.from_numpy(users.ue[seen, :2])
            config = HeadTraining(epochs=4 * epochs, steps=100, seed=seed)  # of four times as many labels per step
            heads.append(fit(task, self.channel[users.link[seen, bs]], target, config))

        def answer(index: NDArray[np.int64], some: tuple[int, ...] | None) -> Tensor:
            assert some is not None
            with torch.inference_mode():
                out: Tensor = heads[some[0]](self.channel[users.link[index, some[0]]])
            return out

        return self._outcome(heads[0].parameter_count(), test, answer, most=1)

    def _fingerprints(self, seed: int) -> Outcome:
        """The labelled users with the most similar channels, of the BSs asked for; see `classical.fingerprint`."""
        learn, test = self.divide(seed)
        amplitude = torch.fft.ifft2(self.batch.csi).abs().flatten(1)
        prints = (amplitude / amplitude.norm(dim=1, keepdim=True)).numpy()

        def of(index: NDArray[np.int64], some: list[int]) -> NDArray[np.float32]:
            link = self.users.link[index][:, some]
            return np.where((link >= 0)[..., None], prints[link], np.float32(0)).reshape(len(index), -1)

        def answer(index: NDArray[np.int64], some: tuple[int, ...] | None) -> Tensor:
            bs = list(range(len(self.users.stations)) if some is None else some)
            linked = learn[(self.users.link[learn][:, bs] >= 0).any(1)]
            near = KNeighborsRegressor(
                min(NEIGHBOURS, len(linked)), weights=lambda d: 1 / (d + 1e-6), algorithm="brute"
            )
            near.fit(of(linked, bs), self.users.ue[linked, :2])
            return torch.from_numpy(np.asarray(near.predict(of(index, bs)), dtype=np.float32))

        return self._outcome(0, test, answer)

    def _outcome(
        self,
        tuned: int,
        test: NDArray[np.int64],
        answer: Callable[[NDArray[np.int64], tuple[int, ...] | None], Tensor],
        most: int | None = None,
    ) -> Outcome:
        """Errors of every combination on the test users with a path to all BSs, and of all test users with theirs."""
        users = self.users

        def error(index: NDArray[np.int64], some: tuple[int, ...] | None) -> dict[str, Any]:
            off = (answer(index, some) - torch.from_numpy(users.ue[index, :2])).norm(dim=1).double().numpy()
            return {"median_m": float(np.median(off)), "cdf90_m": float(np.quantile(off, 0.9)), "users": len(index),
                    "quantiles_m": np.percentile(off, PERCENT).tolist()}  # fmt: skip

        common = test[users.everywhere[test]]
        found = {
            "+".join(str(bs + 1) for bs in some): error(common, some)
            for count in range(1, (most or len(users.stations)) + 1)
            for some in combinations(range(len(users.stations)), count)
        }
        if most is None:
            found[CONNECTED] = error(test, None)
        return {"tuned_parameters": tuned, "combinations": found}


def run(setup: Setup, *, embeddings: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Every method in every city, `setup.seeds` times.

    Args:
        embeddings: .npy files, other models' embeddings of the --deepmimo links; a row is named as its file.

    Raises:
        InputError: no cities, none whose UEs have paths to several BSs, or an embeddings file that does not fit.
    """
    store, budget = setup.store("deepmimo"), BUDGETS[setup.budget]
    given = {path.stem: read_embeddings(path, store) for path in embeddings}
    setup.note(
        deepmimo=store.manifest["shards"],
        embeddings={path.stem: sha256(path) for path in embeddings},
    )
    cities: list[tuple[str, City]] = []
    left_out: list[str] = []
    for number, name in enumerate(store.areas):
        city = City(store, number, setup.model, {k: areas[number] for k, areas in given.items()})
        enough = len(city.users.stations) > 1 and int(city.users.everywhere.sum()) >= COMMON
        if enough:
            cities.append((name, city))
        else:
            left_out.append(name)
    if not cities:
        raise InputError(
            f"{store.folder}: in no area {COMMON} UEs have paths to all of several BSs; import DeepMIMO's cities whole"
        )
    found: dict[str, dict[str, list[Outcome]]] = {}
    about = {}
    for name, city in track(cities[: budget.cities], "city"):
        about[name] = {"users": len(city.users.ue), "hear_all": int(city.users.everywhere.sum()),
                       "stations": len(city.users.stations)}  # fmt: skip
        for method, perform in city.methods(budget).items():
            found.setdefault(method, {})[name] = [
                setup.once(f"{name}-{method}-{seed}", partial(perform, seed)) for seed in range(setup.seeds)
            ]
    return {"cities": about, "left_out": left_out,
            "rows": {method: _sum_up(list(runs.values())) for method, runs in found.items()}}  # fmt: skip


def _sum_up(runs: list[list[Outcome]]) -> dict[str, Any]:
    """Figures by number of BSs, a city's combinations averaged, over cities and seeds; and each combination's.

    Args:
        runs: [cities][seeds].
    """
    keys = [key for key in runs[0][0]["combinations"] if all(key in city[0]["combinations"] for city in runs)]
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(CONNECTED if key == CONNECTED else str(key.count("+") + 1), []).append(key)

    def figure(name: str, some: list[str]) -> dict[str, Any]:
        def mean(one: Outcome) -> float:
            return float(np.mean([one["combinations"][key][name] for key in some]))

        return spread([[mean(one) for one in city] for city in runs])

    def quantiles(some: list[str]) -> list[float]:
        every = [one["combinations"][key]["quantiles_m"] for city in runs for one in city for key in some]
        return [float(value) for value in np.mean(every, axis=0)]

    return {
        "tuned_parameters": runs[0][0]["tuned_parameters"],
        "by_count": {g: {name: figure(name, some) for name in ("median_m", "cdf90_m")} for g, some in groups.items()},
        "by_combination": {key: figure("cdf90_m", [key]) for key in keys},
        "quantiles_m": {g: quantiles(some) for g, some in groups.items()},
    }


def tables(result: dict[str, Any]) -> list[tuple[str, Table]]:
    """CDF90 and median by number of BSs, then CDF90 of every combination."""
    most = min(city["stations"] for city in result["cities"].values())  # what all cities have
    groups = [*(str(n + 1) for n in range(most)), CONNECTED]
    rows = []
    for method, row in result["rows"].items():
        cells = [_cells(row["by_count"].get(group)) for group in groups]
        rows.append([method, f"{row['tuned_parameters']:,}", *cells])
    paper = ["" if n != "3" else "{:.3f}" for n in groups]
    rows += [[name, "", *(cell.format(value) for cell in paper)] for name, value in PAPER.items()]
    cities = ", ".join(f"{name} ({about['users']:,} UEs, {about['hear_all']:,} with a path to all)"
                       for name, about in result["cities"].items())  # fmt: skip
    head = ["", "tuned", *(f"{n} BS" for n in groups[:-1]), "all UEs, BSs with a path"]
    combined = [key for key in next(iter(result["rows"].values()))["by_combination"] if key != CONNECTED]
    each = [
        [
            method,
            *(f"{row['by_combination'][key]['mean']:.2f}" if key in row["by_combination"] else "" for key in combined),
        ]
        for method, row in result["rows"].items()
    ]
    return [
        (f"Position error, CDF90 (median), m ± spread over seeds; the same UEs in the columns by BSs; {cities}",
         Table(head, rows)),
        ("CDF90 in m of each combination of BSs, mean over cities", Table(["BSs", *combined], each)),
    ]  # fmt: skip


def _cells(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return ""
    cdf90, median = figures["cdf90_m"], figures["median_m"]
    return f"{plus_minus(cdf90['mean'], cdf90['spread'], 2)} ({median['mean']:.2f})"


def draw(result: dict[str, Any], figure: Figure) -> None:
    """Error CDF with all BSs, and CDF90 against their number."""
    colours = [style["color"] for style in matplotlib.style.library["tableau-colorblind10"]["axes.prop_cycle"]]
    cdf, count = figure.subplots(1, 2)
    figure.set_size_inches(11, 4.5)
    most = min(city["stations"] for city in result["cities"].values())
    for i, (method, row) in enumerate(result["rows"].items()):
        style = {"color": colours[i % len(colours)], "label": method}
        if str(most) in row["quantiles_m"]:
            cdf.plot(row["quantiles_m"][str(most)][:-1], PERCENT[:-1] / 100, **style)
        groups = [group for group in row["by_count"] if group != CONNECTED]
        mean, deviation = ([row["by_count"][g]["cdf90_m"][key] for g in groups] for key in ("mean", "spread"))
        count.errorbar([int(g) for g in groups], mean, deviation, marker="osD^vP*X"[i % 8], capsize=3, **style)
    cdf.axhline(0.9, color="grey", linewidth=0.8, linestyle=":")
    cdf.set(xlabel=f"position error with {most} BSs, m", ylabel="share of UEs", xscale="log", ylim=(0, 1))
    count.set(xlabel="BSs", ylabel="CDF90 of the position error, m", yscale="log", xticks=range(1, most + 1))
    for axes in (cdf, count):
        axes.grid(alpha=0.3)
    count.legend(fontsize=7)


FIG12 = Benchmark(
    paper="CDF90 with 3 BSs of DeepMIMO's O1: TOFT 1.095 m (pretrained on DeepMIMO) and 1.758 m (on WAIR-D), "
    "ViT from scratch 1.016 m, MLP 3.817 m",
    needs=("deepmimo",),
    run=run,
    tables=tables,
    draw=draw,
)
