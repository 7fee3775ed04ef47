"""The common space of channels and environments, seen and measured (paper 1, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.manifold import TSNE

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.matching import some_areas
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.evaluation.html import CHANNEL, UE
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.universal import UniversalModel
from uniair.training.checkpoint import digest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Embeddings = NDArray[np.float32]
SHOWN = 250  # pairs in the pictures
MEASURES = {
    "parallel": "cosine of a pair's difference with the mean difference",
    "parallel_shuffled": "  the same with partners shuffled",
    "parallel_plane": "  in the plane of the PCA",
    "parallel_plane_shuffled": "  in that plane, partners shuffled",
    "pair_cosine": "cosine of a pair",
    "gap": "distance of the channels' mean from the environments'",
    "linear_r2": "variance of a channel that is linear in its environment",
    "plane_variance": "variance in the plane of the PCA",
}


def run(setup: Setup) -> dict[str, Any]:
    """The setup's model."""
    return compare(setup, [(setup.model.preset.name, setup.model)])


def compare(setup: Setup, models: Sequence[tuple[str, UniversalModel]]) -> dict[str, Any]:
    """Each model on the same links, as Fig. 3 compares training with and without reconstruction.

    Links are drawn anew for each seed; the first seed's are the ones drawn.
    """
    store = setup.store("links")
    areas, pairs = (None, 4000) if setup.full else (40, 1500)
    setup.note(data=store.manifest["recipe"], areas=areas, pairs=pairs, models=[(n, digest(m)) for n, m in models])
    links = Links.concatenate([links for _, links in some_areas(store, areas)])
    found: dict[str, Any] = {}
    for name, model in models:
        runs = []
        for seed in range(setup.seeds):
            drawn = np.sort(np.random.default_rng(seed).permutation(len(links))[:pairs])
            some = links.select(drawn)
            runs.append(setup.once(f"{name}-{seed}", partial(look, model, some, seed)))
        measures = {key: spread([[run["measures"][key] for run in runs]]) for key in MEASURES}
        found[name] = {"measures": measures, "pictures": runs[0]["pictures"]}
    return {"pairs": min(pairs, len(links)), "areas": len(links.areas), "models": found}


def look(model: UniversalModel, links: Links, seed: int) -> dict[str, Any]:
    """Measures over all links, and both pictures of the first `SHOWN` of a seeded order."""
    batch = batch_of(links)
    channel = model.encode_channel(batch.csi).cpu().numpy()
    environment = model.encode_environment(batch.environment).cpu().numpy()
    shown = np.random.default_rng(seed).permutation(len(links))[:SHOWN]
    drawn = {name: [part.round(3).tolist() for part in flat]
             for name, flat in flattened(channel[shown], environment[shown]).items()}  # fmt: skip
    return {"measures": measure(channel, environment, seed), "pictures": drawn}


def parallel(channel: NDArray[np.floating], environment: NDArray[np.floating]) -> float:
    """Mean cosine of z_channel − z_environment with its mean, −1 to 1: how parallel the lines are that join pairs."""
    difference = channel - environment
    mean = difference.mean(0)
    length = np.linalg.norm(difference, axis=1) * np.linalg.norm(mean)
    return float((difference @ mean / np.maximum(length, 1e-12)).mean())


def measure(channel: Embeddings, environment: Embeddings, seed: int = 0) -> dict[str, float]:
    """The numbers of `MEASURES` for N pairs [N, E].

    Lines between two clusters are parallel whoever is joined to whom, hence the same with partners shuffled. The linear
    fit learns from one half of the pairs and is scored on the other.
    """
    rng = np.random.default_rng(seed)
    partner, order = rng.permutation(len(channel)), rng.permutation(len(channel))
    half = len(order) // 2
    plane = PCA(2).fit(np.concatenate([channel, environment]))
    flat = plane.transform(channel), plane.transform(environment)
    line = LinearRegression().fit(environment[order[:half]], channel[order[:half]])
    target = channel[order[half:]]
    unexplained = np.square(target - line.predict(environment[order[half:]])).sum()
    return {
        "parallel": parallel(channel, environment),
        "parallel_shuffled": parallel(channel, environment[partner]),
        "parallel_plane": parallel(*flat),
        "parallel_plane_shuffled": parallel(flat[0], flat[1][partner]),
        "pair_cosine": float((channel * environment).sum(1).mean()),
        "gap": float(np.linalg.norm(channel.mean(0) - environment.mean(0))),
        "linear_r2": float(1 - unexplained / np.square(target - target.mean(0)).sum()),
        "plane_variance": float(plane.explained_variance_ratio_.sum()),
    }


def flattened(channel: Embeddings, environment: Embeddings) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """PCA and t-SNE of both kinds of embedding together: channels [N, 2] and environments [N, 2] each."""
    both, n = np.concatenate([channel, environment]), len(channel)
    flat = {"PCA": PCA(2).fit_transform(both), "t-SNE": TSNE(2, random_state=0, init="pca").fit_transform(both)}
    return {name: (points[:n], points[n:]) for name, points in flat.items()}


def tables(result: dict[str, Any]) -> Sequence[tuple[str, Table]]:
    """A column a model."""
    models = result["models"]
    rows = []
    for key, about in MEASURES.items():
        values = [model["measures"][key] for model in models.values()]
        rows.append((about, *(plus_minus(value["mean"], value["spread"], 3) for value in values)))
    about = f"{result['pairs']:,} pairs in {result['areas']} areas (± over draws; the paper gives pictures alone)"
    return [(about, Table(("mean over pairs", *models), rows))]


def draw(result: dict[str, Any], figure: Figure) -> None:
    """A row a model: PCA and t-SNE, partners joined."""
    models = result["models"]
    figure.set_size_inches(9, 4 * len(models))
    for row, (name, model) in zip(figure.subplots(len(models), 2, squeeze=False), models.items(), strict=True):
        for axes, (method, (channel, environment)) in zip(row, model["pictures"].items(), strict=True):
            draw_pairs(axes, f"{name}: {method}", np.asarray(channel), np.asarray(environment))


def draw_pairs(axes: Axes, title: str, channel: NDArray[Any], environment: NDArray[Any]) -> None:
    """Points in the plane [N, 2], each channel joined to its environment."""
    axes.plot(*np.stack([channel, environment]).transpose(2, 0, 1), color="#cccccc", linewidth=0.5, zorder=1)
    axes.scatter(channel[:, 0], channel[:, 1], s=9, color=CHANNEL, label="channel")
    axes.scatter(environment[:, 0], environment[:, 1], s=9, color=UE, marker="s", label="environment")
    axes.set(title=title, xlabel="first component", ylabel="second component", xticks=[], yticks=[])
    axes.legend(loc="upper right")  # the best place takes long to find among so many lines


FIG3 = Benchmark(
    "Fig. 3: PCA shows parallel lines between partners once CRNN is trained too, and disorder without it",
    ("links",), run, tables, draw,
)  # fmt: skip
