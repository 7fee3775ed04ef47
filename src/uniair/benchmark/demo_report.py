"""The zero-shot report: one HTML file with every picture inside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from uniair.angle_delay import respond
from uniair.benchmark.embedding_space import draw_pairs, flattened
from uniair.benchmark.map_shift import near_building
from uniair.benchmark.matching import draw_similarity, histogram
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.evaluation.faults import move_building
from uniair.evaluation.html import BS, CHANNEL, GROUND, UE, draw_map, png, table, write_page
from uniair.evaluation.zero_shot_suite import ZeroShotResult
from uniair.models.universal import UniversalModel
from uniair.tasks import zero_shot

SHIFTS = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
EXAMPLE_SHIFT = 12.0
SHIFTED, EMBEDDED = 240, 250  # links that are drawn for a picture
FOOTER = "Buildings: scenes of sionna-rt (Apache-2.0); map data (c) OpenStreetMap contributors, ODbL 1.0."


def write_report(
    path: Path,
    model: UniversalModel,
    name: str,
    links: Links,
    result: ZeroShotResult,
    plain: ZeroShotResult,
    seed: int = 0,
) -> None:
    """Draws everything that the zero-shot tasks show on these links and writes one self-contained HTML file.

    Args:
        name: of the model, for the title.
        result, plain: the suite's figures for the model and for the untrained network.
        seed: picks the links that are shown.
    """
    rng = np.random.default_rng(seed)
    # the area with the most of both kinds of link
    seen = np.bincount(links.area[links.los], minlength=len(links.areas))
    hidden = np.bincount(links.area[~links.los], minlength=len(links.areas))
    area = links.of_area(int(np.argmax(np.minimum(seen, hidden))))
    sections = [
        ("Figures", "Every link of the unseen areas; no parameter was tuned for any of them.", _table(result, plain)),
        ("One area: who is whose?", "Left, an area with its base stations and users. Right, the similarity of every "
         "channel (rows) with every environment (columns); a bright diagonal means that each channel finds its own "
         "place (paper 1, Fig. 5).", png(_similarity(model, area))),
        ("Matching accuracy over areas", "How often a channel's most similar environment is its own, counted over "
         "areas (paper 1, Fig. 6).", png(_histogram(result))),
        ("Which user sent this?", "The channel of the user in orange is compared with the positions of all the users "
         "shown (paper 1, Fig. 7).", png(_multi_user(model, area, rng))),
        ("A building moves", "One building near the link is moved on the map and the channel asked which map is the "
         "true one (paper 1, Fig. 8).", png(_shifted_building(model, links, rng))),
        ("Where is the user?", "The likelihood of every outdoor position, given one channel, the map and the base "
         "station. LOS is not given. A linear array cannot tell front from back: mirror images in the dashed axis are "
         "told apart by reflections alone.", png(_likelihood(model, area, rng))),
        ("The embedding space", "Channel and environment embeddings of the same links, joined by lines (paper 1, "
         "Fig. 3).", png(_embedding(model, links, rng))),
        ("CSI feedback", f"A channel of {' × '.join(map(str, model.radio.shape))} complex numbers is sent "
         f"as {model.preset.embedding} real ones and restored.", png(_feedback(model, area, rng))),
    ]  # fmt: skip
    title = f"UniAir {name}: zero-shot answers"
    places = ", ".join(sorted(set(links.places)))
    subtitle = f"{result.links:,} links in {len(result.areas)} areas of {places}, none seen in training"
    write_page(path, title, subtitle, sections, FOOTER)


def _table(result: ZeroShotResult, plain: ZeroShotResult) -> str:
    rows = []
    for key, figure in result.figures.items():
        name, value, reference = figure.text()
        rows.append((name, value, plain.figures[key].text()[1], reference))
    return table(("", "model", "untrained", "reference"), rows)


def _similarity(model: UniversalModel, area: Links) -> Drawing:
    batch = batch_of(area)
    similarity = model.encode_channel(batch.csi) @ model.encode_environment(batch.environment).mT
    drawing = Drawing(figsize=(11, 4.6))
    left, right = drawing.subplots(1, 2)
    draw_map(left, area.maps[0], float(area.sizes[0]))
    left.scatter(*area.ue[:, :2].T, s=14, color=UE, label="UE")
    left.scatter(*area.bs[:, :2].T, s=90, color=BS, marker="^", label="BS")
    left.legend(loc="upper right")
    left.set_title(area.areas[0])
    draw_similarity(drawing, right, similarity.cpu().numpy())
    return drawing


def _histogram(result: ZeroShotResult) -> Drawing:
    drawing = Drawing(figsize=(7, 3))
    histogram(drawing.subplots(), {"all": result.area_accuracy.tolist()}, result.figures["top1"].reference or 0)
    return drawing


def _users_of_one_bs(area: Links, los: bool, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Some links of one BS with the given LOS status."""
    best = np.zeros(0, dtype=np.int64)
    for bs in np.unique(area.bs, axis=0):
        mine = np.flatnonzero((area.bs == bs).all(1) & (area.los == los))
        best = max(best, mine, key=len)
    return rng.permutation(best)[:count]


def _multi_user(model: UniversalModel, area: Links, rng: np.random.Generator) -> Drawing:
    drawing = Drawing(figsize=(11, 4.6))
    for axes, los, count in zip(drawing.subplots(1, 2), (True, False), (5, 4), strict=True):
        draw_map(axes, area.maps[0], float(area.sizes[0]))
        index = _users_of_one_bs(area, los, count, rng)
        axes.set_title(f"{len(index)} {'LOS' if los else 'NLOS'} users")
        if not len(index):
            continue
        batch = batch_of(area.select(index))
        probability = zero_shot.rank(model, batch.csi[:1], batch.environment)[0].cpu().numpy()
        axes.scatter(*area.bs[index[0], :2], s=110, color=BS, marker="^")
        for i, p in zip(index, probability, strict=True):
            axes.scatter(*area.ue[i, :2], s=60, color=CHANNEL if i == index[0] else UE, zorder=3)
            axes.annotate(f"{p:.3f}", area.ue[i, :2], xytext=(6, 6), textcoords="offset points", fontsize=9,
                          bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1})  # fmt: skip
    return drawing


def _shifted_building(model: UniversalModel, links: Links, rng: np.random.Generator) -> Drawing:
    """Left and middle: one link, its map and the wrong one. Right: links of all areas, against the shift in metres."""
    some = links.select(np.sort(rng.permutation(len(links))[:SHIFTED]))
    batch, pixels = batch_of(some), some.maps.shape[-1]
    pixel = some.sizes[some.area] / pixels
    buildings = np.stack([
        near_building(some.maps[a], float(some.sizes[a]), bs, ue, rng)
        for a, bs, ue in zip(some.area, some.bs, some.ue, strict=True)
    ])  # fmt: skip
    direction = rng.uniform(0, 2 * np.pi, len(some))
    preferred = np.zeros((len(SHIFTS), len(some)))
    wrong_maps = []
    for s, shift in enumerate(SHIFTS):
        steps = np.rint(shift / pixel[:, None] * np.column_stack([np.sin(direction), np.cos(direction)])).astype(int)
        moved = [
            move_building(some.maps[a], building, (int(step[0]), int(step[1])))
            for a, building, step in zip(some.area, buildings, steps, strict=True)
        ]
        wrong_maps.append(np.stack(moved))
        wrong = replace(batch.environment, map=torch.from_numpy(wrong_maps[-1]), area=torch.arange(len(some)))
        preferred[s] = zero_shot.rank(model, batch.csi, [batch.environment, wrong])[:, 0].cpu().numpy()
    at = SHIFTS.index(EXAMPLE_SHIFT)
    shown = int(np.argsort(preferred[at])[int(0.8 * len(some))])  # a link that is surer than most
    size, p_true = float(some.sizes[some.area[shown]]), preferred[at, shown]
    drawing = Drawing(figsize=(13, 4))
    axes = drawing.subplots(1, 3)
    for panel, picture, title in (
        (axes[0], some.maps[some.area[shown]], f"true map: {p_true:.3f}"),
        (axes[1], wrong_maps[at][shown], f"building moved {EXAMPLE_SHIFT:.0f} m: {1 - p_true:.3f}"),
    ):
        draw_map(panel, picture, size)
        panel.plot(*zip(some.bs[shown, :2], some.ue[shown, :2], strict=True), color=CHANNEL, linewidth=1)
        panel.scatter(*some.bs[shown, :2], s=90, color=BS, marker="^")
        panel.scatter(*some.ue[shown, :2], s=50, color=UE)
        panel.set_title(title)
    for los, colour in ((True, CHANNEL), (False, UE)):
        share = 100 * (preferred[:, some.los == los] > 0.5).mean(1)
        axes[2].plot(SHIFTS, share, "o-", color=colour, label="LOS" if los else "NLOS")
    axes[2].axhline(50, color=BS, linestyle="--", label="chance")
    axes[2].set(xlabel="shift, m", ylabel="true map preferred, % of links", ylim=(40, 100), title=f"{len(some)} links")
    axes[2].legend()
    return drawing


def _likelihood(model: UniversalModel, area: Links, rng: np.random.Generator) -> Drawing:
    drawing = Drawing(figsize=(12, 5))
    for axes, los in zip(drawing.subplots(1, 2), (True, False), strict=True):
        index = _users_of_one_bs(area, los, 1, rng)
        draw_map(axes, area.maps[0], float(area.sizes[0]))
        axes.set_title("LOS" if los else "NLOS")
        if not len(index):
            continue
        one = batch_of(area.select(index))
        size, bs, ue = float(area.sizes[0]), area.bs[index[0]], area.ue[index[0]]
        _, probability = zero_shot.position_likelihood(model, one.csi, area.maps[0], bs, size)
        likelihood = probability[0].cpu().numpy()
        relative = likelihood / likelihood.max()
        shown = np.ma.masked_less(np.log10(np.maximum(relative, 1e-9)), -3)
        image = axes.imshow(
            shown, origin="lower", extent=(0, size, 0, size), cmap="viridis", vmin=-3, vmax=0, alpha=0.9
        )
        drawing.colorbar(image, ax=axes, label="log10 likelihood, best = 0")
        axes.axhline(bs[1], color=GROUND, linestyle="--", linewidth=0.8)
        axes.scatter(*bs[:2], s=110, color=BS, marker="^", label="BS")
        axes.scatter(*ue[:2], s=110, facecolors="none", edgecolors=BS, linewidths=2, label="true UE")
        axes.legend(loc="upper right")
    return drawing


def _embedding(model: UniversalModel, links: Links, rng: np.random.Generator) -> Drawing:
    batch = batch_of(links.select(np.sort(rng.permutation(len(links))[:EMBEDDED])))
    channel, environment = model.encode_channel(batch.csi).cpu(), model.encode_environment(batch.environment).cpu()
    flat = flattened(channel.numpy(), environment.numpy())
    drawing = Drawing(figsize=(12, 5))
    for axes, (name, points) in zip(drawing.subplots(1, 2), flat.items(), strict=True):
        draw_pairs(axes, name, *points)
    return drawing


def _feedback(model: UniversalModel, area: Links, rng: np.random.Generator) -> Drawing:
    drawing = Drawing(figsize=(12, 6), layout="constrained")
    grid = drawing.subplots(2, 2, sharex=True, sharey=True)
    for row, los in zip(grid, (True, False), strict=True):
        index = _users_of_one_bs(area, los, 1, rng)
        if not len(index):
            continue
        restored, truth = zero_shot.feedback(model, batch_of(area.select(index)).csi)
        error = 10 * np.log10(float((restored - truth).abs().square().mean()))
        for axes, csi, name in ((row[0], truth, "CSI"), (row[1], restored, f"restored, NMSE {error:.1f} dB")):
            power = 20 * torch.log10(respond(csi)[0].abs().clamp_min(1e-3)).cpu().numpy()
            image = axes.imshow(power - power.max(), origin="lower", aspect="auto", cmap="magma", vmin=-40, vmax=0)
            axes.set(title=f"{'LOS' if los else 'NLOS'}: {name}", ylabel="beam", xlabel="delay bin")
            drawing.colorbar(image, ax=axes, label="dB")
    return drawing
