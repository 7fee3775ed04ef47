"""Which place a channel belongs to, among an area's links and among users (paper 1, Figs. 5, 6 and 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.errors import InputError
from uniair.evaluation.html import BS, CHANNEL, GROUND, UE, draw_map
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.tasks import zero_shot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

USERS = (2, 3, 4, 5, 10)
DRAWS = 20  # groups of users per BS and seed
KINDS = {"all": "all", "los": "LOS", "nlos": "NLOS"}
COLOURS = {"all": GROUND, "los": CHANNEL, "nlos": UE}


def some_areas(store: Store, count: int | None) -> Iterator[tuple[str, Links]]:
    """`count` areas evenly over the folder, so that all its places are in; every area where None. Shows the progress.

    Raises:
        InputError: an area has no map.
    """
    index = np.arange(len(store))
    if count is not None and count < len(store):
        index = np.linspace(0, len(store) - 1, count).round().astype(int)
    for i in track(index.tolist(), "area"):
        links = store[i]
        if not links.mapped.all():
            raise InputError(f"{store.folder}: area {store.areas[i]} has no map; give a links folder with buildings")
        yield store.areas[i], links


def percent(entry: dict[str, Any]) -> str:
    """A share and its spread over seeds, as tables show them."""
    return plus_minus(entry["mean"], entry["spread"], 1, 100) + " %"


def similarities(model: UniversalModel, links: Links) -> Tensor:
    """Of every channel (rows) with every environment (columns), LOS given as in the paper: float32 [N, N]."""
    batch = batch_of(links)
    return zero_shot.similarity(model, batch.csi, batch.environment).cpu()


# Fig. 5: one area


def run_area(setup: Setup) -> dict[str, Any]:
    """The similarity matrix of the area with the most links, of those the one most evenly LOS and NLOS."""
    store = setup.store("links")
    setup.note(data=store.manifest["recipe"])
    most = np.flatnonzero(store.counts == store.counts.max())
    area = store[int(min(most, key=lambda i: abs(store[int(i)].los.mean() - 0.5)))]
    order = np.lexsort([*area.ue.T, *area.bs.T])  # the links of a BS side by side
    area = area.select(order)
    found = similarities(setup.model, area)
    same_bs = torch.from_numpy((area.bs[:, None] == area.bs[None]).all(-1)).fill_diagonal_(False)
    other_bs = ~same_bs & ~torch.eye(len(area), dtype=torch.bool)
    right = metrics.true_ranks(found) == 0
    los = torch.from_numpy(area.los)
    return {
        "area": area.areas[0], "links": len(area), "size": float(area.sizes[0]), "map": area.maps[0].tolist(),
        "bs": np.unique(area.bs, axis=0).tolist(), "ue": np.unique(area.ue, axis=0).tolist(),
        "similarity": [[round(value, 3) for value in row] for row in found.tolist()],
        "accuracy": {kind: _mean(right[chosen].float()) for kind, chosen in
                     (("all", torch.ones_like(los)), ("los", los), ("nlos", ~los))},
        "mean_similarity": {"own pair": _mean(found.diagonal()), "pairs of the same BS": _mean(found[same_bs]),
                            "pairs of other BSs": _mean(found[other_bs])},
    }  # fmt: skip


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


def tables_area(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Matching accuracy and mean similarities."""
    rows = [(f"matching accuracy, {KINDS[kind]}", "" if value is None else f"{100 * value:.1f} %")
            for kind, value in result["accuracy"].items()]  # fmt: skip
    rows += [(f"mean similarity, {what}", "" if value is None else f"{value:.3f}")
             for what, value in result["mean_similarity"].items()]  # fmt: skip
    return [(f"{result['links']} pairs of area {result['area']}", Table(("", "ours"), rows))]


def draw_area(result: dict[str, Any], figure: Figure) -> None:
    """Left the area, right the matrix."""
    figure.set_size_inches(10, 4.4)
    left, right = figure.subplots(1, 2)
    draw_map(left, np.asarray(result["map"], dtype=np.uint8), result["size"])
    left.scatter(*np.asarray(result["ue"])[:, :2].T, s=14, color=UE, label="UE")
    left.scatter(*np.asarray(result["bs"])[:, :2].T, s=90, color=BS, marker="^", label="BS")
    left.legend(loc="upper right")
    left.set_title(result["area"])
    draw_similarity(figure, right, np.asarray(result["similarity"]))


def draw_similarity(figure: Figure, axes: Axes, similarity: NDArray[np.floating]) -> None:
    """Channels down, environments across; a bright diagonal means that each channel finds its own place."""
    image = axes.imshow(similarity, cmap="magma", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="cosine similarity")
    axes.set(xlabel="environment", ylabel="channel")


# Fig. 6: the histogram over areas


def run_histogram(setup: Setup) -> dict[str, Any]:
    """Matching accuracy of each area; nothing is drawn at random but the network's weights."""
    store = setup.store("links")
    areas = None if setup.full else 60
    setup.note(data=store.manifest["recipe"], areas=areas)

    def accuracy(links: Links) -> dict[str, Any]:
        right = (metrics.true_ranks(similarities(setup.model, links)) == 0).float()
        los = torch.from_numpy(links.los)
        return {"all": _mean(right), "los": _mean(right[los]), "nlos": _mean(right[~los]), "chance": 1 / len(links)}

    units = {name: setup.once(name, partial(accuracy, links)) for name, links in some_areas(store, areas)}
    result: dict[str, Any] = {"areas": list(units), "chance": float(np.mean([u["chance"] for u in units.values()]))}
    for kind in KINDS:
        values = [unit[kind] for unit in units.values() if unit[kind] is not None]
        if values:
            result[kind] = {
                "by_area": values, "mean": float(np.mean(values)), "median": float(np.median(values)),
                "spread": float(np.std(values)), "bins": np.histogram(values, bins=10, range=(0, 1))[0].tolist(),
            }  # fmt: skip
    return result


def tables_histogram(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Mean and median, and how many areas fall into each tenth."""
    kinds = [kind for kind in KINDS if kind in result]
    rows = [(KINDS[kind], str(len(result[kind]["by_area"])), *(f"{100 * result[kind][k]:.1f} %" for k in
             ("mean", "median", "spread"))) for kind in kinds]  # fmt: skip
    counts = [(f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}", *(str(result[kind]["bins"][tenth]) for kind in kinds))
              for tenth in range(10)]  # fmt: skip
    about = f"Matching accuracy in an area (chance {100 * result['chance']:.1f} %; the paper gives a picture alone)"
    return [
        (about, Table(("links", "areas", "mean", "median", "spread over areas"), rows)),
        ("Areas by accuracy", Table(("accuracy", *(KINDS[kind] for kind in kinds)), counts)),
    ]


def draw_histogram(result: dict[str, Any], figure: Figure) -> None:
    """One panel for all links, one for LOS and NLOS links apart."""
    left, right = figure.subplots(1, 2, sharex=True)
    histogram(left, {"all": result["all"]["by_area"]}, result["chance"])
    histogram(right, {kind: result[kind]["by_area"] for kind in ("los", "nlos") if kind in result}, result["chance"])
    for kind, style in (("mean", "-"), ("median", ":")):
        left.axvline(result["all"][kind], color=UE, linestyle=style, label=kind)
    left.legend()


def histogram(axes: Axes, by_area: dict[str, Sequence[float]], chance: float) -> None:
    """Areas by matching accuracy in bins of 0.1."""
    bins = np.linspace(0, 1, 11).tolist()
    axes.hist(list(by_area.values()), bins=bins, color=[COLOURS[kind] for kind in by_area], edgecolor="white",
              label=[f"{KINDS[kind]} links" for kind in by_area])  # fmt: skip
    axes.axvline(chance, color=BS, linestyle="--", label="chance")
    axes.set(xlabel="matching accuracy in an area", ylabel="areas", xlim=(0, 1))
    axes.legend()


# Fig. 7: users of one BS

CROWDS = {
    "los": "LOS users", "nlos": "NLOS users", "mixed": "mixed users", "mixed_los_unknown": "mixed users, LOS unknown"
}  # fmt: skip


def run_users(setup: Setup) -> dict[str, Any]:
    """Top-1 accuracy and mean probability of the right user, over seeded groups of K users of one BS."""
    store = setup.store("links")
    areas = None if setup.full else 60
    setup.note(data=store.manifest["recipe"], areas=areas, draws=DRAWS)
    units = []
    for name, links in some_areas(store, areas):
        units.append(setup.once(f"{name}-{setup.seeds}", partial(_users, setup.model, links, setup.seeds)))
    rows: dict[str, Any] = {}
    for crowd in CROWDS:
        for users in USERS:
            # [seeds, 3]: CSI asked about, right ones, sum of the right one's probability
            sums = np.sum([unit[crowd][str(users)] for unit in units], axis=0)
            if sums[:, 0].all():
                rows.setdefault(crowd, {})[str(users)] = {
                    "asked": int(sums[:, 0].sum()),
                    "top1": spread([(sums[:, 1] / sums[:, 0]).tolist()]),
                    "probability": spread([(sums[:, 2] / sums[:, 0]).tolist()]),
                }
    return {"areas": len(units), "users": rows}


def _users(model: UniversalModel, links: Links, seeds: int) -> dict[str, Any]:
    batch = batch_of(links)
    z, env = model.encode_channel(batch.csi), batch.environment
    known = zero_shot.similarity(model, z, env).cpu()
    unknown = zero_shot.similarity(model, z, env.without("los")).cpu()
    sums = {crowd: {str(users): np.zeros((seeds, 3)) for users in USERS} for crowd in CROWDS}
    of_bs = [np.flatnonzero((links.bs == bs).all(1)) for bs in np.unique(links.bs, axis=0)]
    for crowd in CROWDS:
        found = unknown if crowd == "mixed_los_unknown" else known
        for users in USERS:
            for seed in range(seeds):
                rng = np.random.default_rng([seed, users])
                for mine in of_bs:
                    if crowd in ("los", "nlos"):
                        mine = mine[links.los[mine] == (crowd == "los")]
                    for _ in range(DRAWS if len(mine) >= users else 0):
                        group = rng.permutation(mine)[:users]
                        among = found[group][:, group]
                        right = float((metrics.true_ranks(among) == 0).sum())
                        probability = float(torch.softmax(among / model.temperature, dim=1).diagonal().sum())
                        sums[crowd][str(users)][seed] += (users, right, probability)
    return {crowd: {users: values.tolist() for users, values in rows.items()} for crowd, rows in sums.items()}


def tables_users(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """Top-1 accuracy and mean probability, the paper's two examples beside."""
    paper = {("los", "5"): "0.983 (one example)", ("nlos", "4"): "0.883 (one example)"}
    top1, probability = [], []
    for crowd, rows in result["users"].items():
        for users, row in rows.items():
            name = f"{users} {CROWDS[crowd]}"
            top1.append((name, percent(row["top1"]), f"{100 / int(users):.1f} %", f"{row['asked']:,}"))
            mean = plus_minus(row["probability"]["mean"], row["probability"]["spread"], 3)
            probability.append((name, mean, paper.get((crowd, users), "")))
    return [
        ("The right user, top-1 (± over seeds)", Table(("", "ours", "chance", "channels"), top1)),
        ("Mean probability of the right user", Table(("", "ours", "paper"), probability)),
    ]


def draw_users(result: dict[str, Any], figure: Figure) -> None:
    """Accuracy against the number of users."""
    axes = figure.subplots()
    styles = {"los": (CHANNEL, "o-"), "nlos": (UE, "s-"), "mixed": (GROUND, "D-"), "mixed_los_unknown": (GROUND, "D:")}
    for crowd, rows in result["users"].items():
        colour, style = styles[crowd]
        share = [(100 * row["top1"]["mean"], 100 * row["top1"]["spread"]) for row in rows.values()]
        mean, error = zip(*share, strict=True)
        axes.errorbar([int(k) for k in rows], mean, error, fmt=style, color=colour, label=CROWDS[crowd], capsize=2)
    axes.plot(USERS, [100 / users for users in USERS], "--", color=BS, label="chance")
    axes.set(xlabel="users of one BS", ylabel="right user, % of channels", ylim=(0, 100), xticks=USERS)
    axes.legend()


FIG5 = Benchmark(
    "Fig. 5: 150 pairs of area #00032; a bright diagonal, no figures",
    ("links",), run_area, tables_area, draw_area,
)  # fmt: skip
FIG6 = Benchmark(
    "Fig. 6: 1,000 areas of 150 pairs in bins of 0.1; no figures in the text",
    ("links",), run_histogram, tables_histogram, draw_histogram,
)  # fmt: skip
FIG7 = Benchmark(
    "Fig. 7: two examples; the right one of 5 LOS users gets 0.983, of 4 NLOS users 0.883",
    ("links",), run_users, tables_users, draw_users,
)  # fmt: skip
