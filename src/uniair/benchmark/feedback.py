"""CSI feedback: zero-shot beside autoencoders (paper 1, Fig. 9), and what shorter and quantised codes cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from uniair import metrics
from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.per_area import COLOURS, MARKERS, area_table, budget_note, draw_areas
from uniair.benchmark.toft import BUDGETS, DenseArea, sum_up
from uniair.data.links.loader import AreaBatches
from uniair.data.links.store import Store
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.baselines import ChannelAutoencoder, channel_side
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.tasks import zero_shot
from uniair.tasks.code_search import search_code
from uniair.training import supervised
from uniair.training.heads import Adaptation, divide
from uniair.training.pretraining import check_split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOAT = 32  # bits of a component that is not quantised
BITS = (2, 3, 4, 5, 6, 7, 8, FLOAT)
SHARES = (16, 8, 4, 2, 1)  # code lengths, as fractions of the embedding's
STEPS = (0, 10, 20, 50, 100)  # of the search for a better code, one of which is quantised too
SEARCHED = 50
CLIPS = np.linspace(1.0, 5.0, 17)  # ends of the quantiser, in standard deviations, to choose from
SPECIFIC, GENERAL, ZERO_SHOT = "Area-Specific ViT", "Area-General ViT", "ZSL"
FIG9_PAPER = {SPECIFIC: "far above ZSL", GENERAL: "close to ZSL"}
Figures: TypeAlias = dict[str, float]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class FeedbackBudget:
    """What the feedback benchmarks add to `toft.Budget`.

    Attributes:
        epochs: passes of the Area-Specific ViT over its labels.
        steps: of the Area-General ViT.
        areas, links_per_area: of its batches.
        codes: embeddings of training links that the short codes are fitted to.
        links: most test links of an area for the curve.
    """

    epochs: int
    steps: int
    areas: int
    links_per_area: int
    codes: int
    links: int


# `small` restores nothing in its first 250 steps
FEEDBACK_BUDGETS = {
    "quick": FeedbackBudget(epochs=40, steps=320, areas=8, links_per_area=8, codes=1024, links=200),
    "full": FeedbackBudget(epochs=20, steps=4000, areas=8, links_per_area=32, codes=16_384, links=1000),
}


def fidelity(estimate: Tensor, csi: Tensor) -> Figures:
    """NMSE and SGCS of a restored CSI, both normalised."""
    return {"nmse_db": metrics.nmse_db(estimate, csi), "sgcs": metrics.sgcs(estimate, csi)}


def channels(train: Store, budget: FeedbackBudget, seed: int, augment: bool = True) -> Iterator[Tensor]:
    """CSI of training areas, batch after batch, without end."""
    draw = AreaBatches(train, budget.areas, budget.links_per_area, augment)
    for step in count():
        yield draw(np.random.default_rng([seed, step])).csi


def _held(area: DenseArea, wanted: Adaptation) -> tuple[Tensor, Tensor]:
    """CSI to learn from and to test on, on the model's device."""
    learn, test = divide(area.links, wanted)
    return area.batch.csi[learn].to(area.model.device), area.batch.csi[test].to(area.model.device)


def _zero_shot(area: DenseArea, wanted: Adaptation) -> Figures:
    return fidelity(*zero_shot.feedback(area.model, _held(area, wanted)[1]))


def _restored(network: ChannelAutoencoder, csi: Tensor) -> Figures:
    with torch.inference_mode():
        return fidelity(network.restore(csi), network.normalise(csi))


def _specific(area: DenseArea, wanted: Adaptation, epochs: int) -> Figures:
    csi, test = _held(area, wanted)
    batches = (csi[index] for index in supervised.minibatches(len(csi), wanted.seed))
    network = supervised.train_autoencoder(
        area.model.preset, batches, supervised.steps(epochs, len(csi)), wanted.seed, area.model.device
    )
    return _restored(network, test)


def _general(
    model: UniversalModel, dense: Store, train: Store, budget: FeedbackBudget, wanted: Adaptation
) -> dict[str, Figures]:
    network = supervised.train_autoencoder(
        model.preset, channels(train, budget, wanted.seed), budget.steps, wanted.seed, model.device
    )
    return {
        name: _restored(network, _held(DenseArea(dense, number, model), wanted)[1])
        for number, name in enumerate(dense.areas)
    }


def run_fig9(setup: Setup) -> dict[str, Any]:
    """NMSE and SGCS of the frozen model and of autoencoders of its code length, in every dense area."""
    budget, own = BUDGETS[setup.budget], FEEDBACK_BUDGETS[setup.budget]
    dense, train = setup.store("dense").first(budget.areas), setup.store("train")
    check_split(train.areas, dense.areas)
    data = {"data": dense.manifest["recipe"], "labels": budget.labels}
    setup.note(**data)
    scratch = replace(setup, out=setup.out.parent / "autoencoder")
    scratch.note(**data, train=train.manifest["recipe"], weights="from scratch",
                   preset=channel_side(setup.model.preset), batch=supervised.BATCH, budget_of_feedback=asdict(own),
                   recipe=asdict(supervised.RECIPE))  # fmt: skip
    wanted = [Adaptation(labels=budget.labels, seed=seed) for seed in range(setup.seeds)]
    general = [
        scratch.once(f"general-{seed}", partial(_general, setup.model, dense, train, own, wanted[seed]))
        for seed in track(range(setup.seeds), "seed", GENERAL)
    ]
    runs: dict[str, dict[str, list[Figures]]] = {SPECIFIC: {}, GENERAL: {}, ZERO_SHOT: {}}
    for number, name in enumerate(track(dense.areas, "area")):
        area = DenseArea(dense, number, setup.model)
        for seed in range(setup.seeds):
            specific = partial(_specific, area, wanted[seed], own.epochs)
            found = {
                SPECIFIC: scratch.once(f"{name}-specific-{seed}", specific),
                GENERAL: general[seed][name],
                ZERO_SHOT: setup.once(f"{name}-{seed}", partial(_zero_shot, area, wanted[seed])),
            }
            for method, figures in found.items():
                runs[method].setdefault(name, []).append(figures)
    parameters = sum(p.numel() for p in ChannelAutoencoder(setup.model.preset).parameters())
    tuned = {SPECIFIC: parameters, GENERAL: 0, ZERO_SHOT: 0}  # in the area
    rows = {method: {"tuned_parameters": tuned[method]} | sum_up(found) for method, found in runs.items()}
    return {"areas": list(dense.areas), "rows": {"feedback": rows}, "labels": budget.labels, "split": "random",
            "epochs": own.epochs, "seeds": setup.seeds, "parameters": parameters,
            "code": setup.model.preset.embedding,
            "general_samples": own.steps * own.areas * own.links_per_area}  # fmt: skip


def _fig9(result: dict[str, Any]) -> list[tuple[str, Table]]:
    about = (f"autoencoders of {result['parameters']:,} parameters, the Area-General one trained on "
             f"{result['general_samples']:,} samples of other places; {budget_note(result)}")  # fmt: skip
    return [
        (f"CSI feedback from {result['code']} numbers, NMSE, dB; {about}",
         area_table(result, "feedback", "nmse_db", FIG9_PAPER, digits=2)),
        ("CSI feedback, SGCS", area_table(result, "feedback", "sgcs", {}, digits=3)),
    ]  # fmt: skip


def _draw_fig9(result: dict[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    draw_areas(axes, result, "feedback", "nmse_db", "CSI feedback, NMSE, dB")
    axes.legend(fontsize=8)


@dataclass(frozen=True)
class ShortCode:
    """The first principal components of the embedding, each rounded to a few bits.

    Attributes:
        mean: of the embeddings, [E]; axes: principal directions, a row each, [E, E]; spread: standard deviation along
            them, [E].
        clips: bits → end of the uniform quantiser, in standard deviations.
    """

    mean: Floats
    axes: Floats
    spread: Floats
    clips: dict[int, float]

    @classmethod
    def fit(cls, z: Floats) -> ShortCode:
        """From embeddings of training links [N, E]; each quantiser's ends are those with the least squared error."""
        pca = PCA().fit(z)
        spread = np.sqrt(np.maximum(pca.explained_variance_, 1e-12))
        values = pca.transform(z) / spread

        def error(clip: float, bits: int) -> float:
            return float((((quantised(values, bits, clip) - values) * spread) ** 2).mean())

        clips = {bits: float(min(CLIPS, key=partial(error, bits=bits))) for bits in BITS if bits < FLOAT}
        return cls(pca.mean_, pca.components_, spread, clips)

    def through(self, z: Floats, length: int, bits: int) -> Floats:
        """Embeddings [N, E] after coding to `length` numbers of `bits` bits and back, of unit norm again."""
        values = (z - self.mean) @ self.axes[:length].T / self.spread[:length]
        if bits < FLOAT:
            values = quantised(values, bits, self.clips[bits])
        back = values * self.spread[:length] @ self.axes[:length] + self.mean
        return np.asarray(back / np.linalg.norm(back, axis=1, keepdims=True))


def quantised(values: Floats, bits: int, clip: float) -> Floats:
    """Values in the middle of the 2^bits equal cells between −clip and clip; what lies outside goes to the last."""
    cells = 2**bits
    cell = np.clip(np.floor((values + clip) / (2 * clip) * cells), 0, cells - 1)
    return np.asarray((cell + 0.5) / cells * 2 * clip - clip)


def _curve(area: DenseArea, code: Callable[[], ShortCode], links: int, wanted: Adaptation) -> dict[str, Figures]:
    """Length × bits → figures, on the first test links of an area."""
    csi = _held(area, wanted)[1][:links]
    z, truth = area.model.encode_channel(csi), area.model.normalise_channel(csi)
    found = {}
    for length in lengths(area.model):
        for bits in BITS:
            back = code().through(z.cpu().numpy().astype(np.float64), length, bits)
            found[f"{length}x{bits}"] = fidelity(area.model.reconstruct_channel(back.astype(np.float32)), truth)
    return found


def _searched(area: DenseArea, code: Callable[[], ShortCode], links: int, wanted: Adaptation) -> dict[str, Figures]:
    """Steps of the code search → figures, and of `SEARCHED` × bits, on the links of `_curve`."""
    csi = _held(area, wanted)[1][:links]
    truth, length = area.model.normalise_channel(csi), area.model.preset.embedding
    found = {}
    for steps in STEPS:
        z = search_code(area.model, csi, steps)
        found[str(steps)] = fidelity(area.model.reconstruct_channel(z), truth)
        for bits in BITS if steps == SEARCHED else ():
            back = code().through(z.cpu().numpy().astype(np.float64), length, bits)
            found[f"{steps}x{bits}"] = fidelity(area.model.reconstruct_channel(back.astype(np.float32)), truth)
    return found


def lengths(model: UniversalModel) -> list[int]:
    """Code lengths of the curve."""
    return [model.preset.embedding // share for share in SHARES]


def run_code(setup: Setup) -> dict[str, Any]:
    """NMSE and SGCS against code length and bits per number; nothing is fitted to the test areas."""
    budget, own = BUDGETS[setup.budget], FEEDBACK_BUDGETS[setup.budget]
    dense, train = setup.store("dense").first(budget.areas), setup.store("train")
    check_split(train.areas, dense.areas)
    setup.note(data=dense.manifest["recipe"], train=train.manifest["recipe"], budget_of_code=asdict(own))

    @cache
    def code(seed: int) -> ShortCode:
        batches = islice(channels(train, own, seed, augment=False), -(-own.codes // (own.areas * own.links_per_area)))
        return ShortCode.fit(torch.cat([setup.model.encode_channel(csi).cpu() for csi in batches]).double().numpy())

    runs: dict[str, dict[str, list[list[Figures]]]] = {"curve": {}, "searched": {}}
    for number, name in enumerate(track(dense.areas, "area")):
        area = DenseArea(dense, number, setup.model)
        for part, measure, suffix in (("curve", _curve, ""), ("searched", _searched, "-searched")):
            found = []
            for seed in range(setup.seeds):
                unit = partial(measure, area, partial(code, seed), own.links, Adaptation(seed=seed))
                found.append(setup.once(f"{name}-{seed}{suffix}", unit))
            for key in found[0]:
                runs[part].setdefault(key, []).append([figures[key] for figures in found])
    means = {
        part: {
            key: {figure: spread([[run[figure] for run in area] for area in areas]) for figure in ("nmse_db", "sgcs")}
            for key, areas in measured.items()
        }
        for part, measured in runs.items()
    }
    return {"areas": list(dense.areas), "seeds": setup.seeds, "lengths": lengths(setup.model), "bits": list(BITS),
            "links_per_area": own.links} | means  # fmt: skip


def _cell(one: dict[str, float], digits: int) -> str:
    return plus_minus(one["mean"], one["spread"], digits)


def _code_table(result: dict[str, Any], key: str, digits: int) -> Table:
    rows = [
        [str(length), *(_cell(result["curve"][f"{length}x{bits}"][key], digits) for bits in result["bits"])]
        for length in result["lengths"]
    ]
    after = [_cell(result["searched"][f"{SEARCHED}x{bits}"][key], digits) for bits in result["bits"]]
    rows.append([f"{result['lengths'][-1]}, {SEARCHED} steps of search", *after])
    return Table(["numbers", *("float" if b == FLOAT else f"{b} bits" for b in result["bits"])], rows)


def _search_table(result: dict[str, Any]) -> Table:
    digits = {"nmse_db": 2, "sgcs": 3}
    names = {"nmse_db": "NMSE, dB", "sgcs": "SGCS"}
    rows = [[names[key], *(_cell(result["searched"][str(s)][key], d) for s in STEPS)] for key, d in digits.items()]
    return Table(["", *(f"{s} steps" for s in STEPS)], rows)


def _code(result: dict[str, Any]) -> list[tuple[str, Table]]:
    about = f"{result['links_per_area']} test links of each of {len(result['areas'])} areas, seeds: {result['seeds']}"
    return [
        (f"CSI feedback by code length and bits per number, NMSE, dB; {about}", _code_table(result, "nmse_db", 2)),
        ("The same, SGCS", _code_table(result, "sgcs", 3)),
        ("The sender improves its code against the decoder before it sends it: floats", _search_table(result)),
    ]


def _draw_code(result: dict[str, Any], figure: Figure) -> None:
    axes = figure.subplots()
    for i, length in enumerate(result["lengths"]):
        total = [length * bits for bits in result["bits"]]
        values = [result["curve"][f"{length}x{bits}"]["nmse_db"]["mean"] for bits in result["bits"]]
        axes.plot(total, values, marker=MARKERS[i], color=COLOURS[i], label=f"{length} numbers")
    total = [result["lengths"][-1] * bits for bits in result["bits"]]
    values = [result["searched"][f"{SEARCHED}x{bits}"]["nmse_db"]["mean"] for bits in result["bits"]]
    axes.plot(total, values, "k--", label=f"{result['lengths'][-1]}, {SEARCHED} steps of search")
    axes.set_xscale("log", base=2)
    axes.set(xlabel="bits per channel (2 to 8 per number, then float)", ylabel="CSI feedback, NMSE, dB")
    axes.grid(alpha=0.3)
    axes.legend()


FIG9 = Benchmark(
    paper="Fig. 9: NMSE of ZSL far below the Area-Specific ViT and close to the Area-General ViT",
    needs=("dense", "train"), run=run_fig9, tables=_fig9, draw=_draw_fig9,
)  # fmt: skip
CODE = Benchmark(
    paper="",
    needs=("dense", "train"), run=run_code, tables=_code, draw=_draw_code,
)  # fmt: skip
