"""A stream that learns on a street that is new to it: what it gains, and the worst moment on the way.

The stream is that of `uniair forecast stream --learn`: a shadow learns from the powers measured next, and answers once
it is ahead by a test. It begins from the packaged weights, which know the digital twin alone, and from weights that
learned the other streets; each gain is against what it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.forecast_comparison import Comparison
from uniair.data.digest import data_digest
from uniair.data.drives.drive import USUAL_STEP, step_time
from uniair.data.drives.passages import Passages
from uniair.data.drives.windows import read_folder
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.models.forecast import WMLM
from uniair.progress import track
from uniair.training.checkpoint import digest
from uniair.training.drive_events import events_of
from uniair.training.forecast_split import Setting, sensing, settings
from uniair.training.forecasting import PACKAGED, SAMPLE, load_forecaster
from uniair.training.learning_stream import LearningStream, StreamLearning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = 40  # points of a curve
TWIN, OTHERS = "the packaged weights", "weights of the other streets"
Start = Callable[[Setting, int], tuple[WMLM, Passages]]


@dataclass(frozen=True)
class NewStreets:
    """One run of the benchmark.

    Attributes:
        comparison: drives, seeds, budget, and the training of weights that know the other streets; a quick one streams
            along the first site alone.
        minutes: after which the gain is told.
        learning: of the stream.
    """

    comparison: Comparison
    minutes: float = 5.0
    learning: StreamLearning = StreamLearning()

    def __post_init__(self) -> None:
        if not self.minutes > 0:
            raise InputError(f"--minutes {self.minutes:g}: give more than 0")

    def starts(self) -> dict[str, Start]:
        """Name → the model that a stream begins with on a setting, and the passages that it replays."""
        twin = load_forecaster(PACKAGED)
        out: dict[str, Start] = {OTHERS: self._others}
        if twin.preset.beams == self.comparison.codebook.beams:
            out = {TWIN: lambda setting, seed: (load_forecaster(PACKAGED), self._sample(twin))} | out
        return out

    def _others(self, setting: Setting, seed: int) -> tuple[WMLM, Passages]:
        model = self.comparison.wmlm(setting, seed)
        assert isinstance(model, WMLM)
        return model, setting.passages(self.learning.length, self.learning.augmentation)

    def _sample(self, model: WMLM) -> Passages:
        length, preset = self.learning.length + model.preset.future, model.preset
        return Passages(tuple(read_folder(SAMPLE)), length, self.learning.augmentation, sensing(preset))

    def streamed(self, start: Start, setting: Setting, seed: int) -> dict[str, Any]:
        """Figures of one stream along the drives of a setting that were left out, in their order."""
        model, earlier = start(setting, seed)
        plan = replace(self.learning, optimisation=replace(self.learning.optimisation, seed=seed))
        stream = LearningStream(model, plan, earlier)
        drives = setting.unseen
        for session, step in track(events_of(drives, model.preset), "step", total=sum(map(len, drives)) + len(drives)):
            if step is None:
                stream.end(session)
            else:
                stream.push(session, step)
        stream.settle()
        history, seconds = stream.history, self.seconds
        if not stream.counts.windows:
            raise InputError(f"{setting.name}: no drive that was left out has {model.preset.past} steps and the "
                             f"{model.preset.future} after them; give longer ones")  # fmt: skip
        after = history.after(round(60 * self.minutes / seconds))
        counts = stream.counts
        return {
            "steps": counts.steps, "windows": counts.windows, "all": history.figures(), "after": after,
            "worst": float(np.nanmin(history.gains(round(60 / seconds)).mean(1))), "behind": history.behind(),
            "promotions": counts.promotions, "rollbacks": counts.rollbacks, "restarts": counts.restarts,
            "curve": history.parts(PARTS),
        }  # fmt: skip

    @property
    def seconds(self) -> float:
        """Of a step."""
        return step_time(self.comparison.drives) or USUAL_STEP

    def run(self) -> dict[str, Any]:
        """Every start, site and seed.

        Raises:
            InputError: there is one site alone, or the folder holds other runs.
        """
        sites = settings(self.comparison.drives)[1:]
        if not sites:
            raise InputError("the drives are of one site; a stream on a new street needs another to have learned from")
        kept = self.comparison.kept(learning=asdict(self.learning), minutes=self.minutes,
                                    packaged=digest(load_forecaster(PACKAGED)),
                                    sample=data_digest(read_folder(SAMPLE)))  # fmt: skip
        chosen = sites if self.comparison.budget == "full" else sites[:1]
        cells: dict[str, Any] = {}
        for setting, (name, start) in track([(s, one) for s in chosen for one in self.starts().items()], "stream"):
            key = f"stream-{setting.name}-{name}".replace(" ", "_").replace(",", "").replace("→", "to")
            runs = [kept.once(f"{key}-{seed}", partial(self.streamed, start, setting, seed))
                    for seed in range(self.comparison.seeds)]  # fmt: skip
            cells.setdefault(setting.name, {})[name] = _summary(runs)
        return {"settings": cells, "minutes": self.minutes, "seconds": self.seconds,
                "timed": step_time(self.comparison.drives) is not None}  # fmt: skip


def _gain(figures: Mapping[str, Any]) -> list[float]:
    """Top-1 of what answered over that of what it began with, at each step ahead, points."""
    top1 = figures["top1"]
    return [100 * (a - b) for a, b in zip(top1["answering"], top1["begun"], strict=True) if a is not None]


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and spreads over seeds, `behind` the most of any; `curve` as steps and the gain of each part."""
    after = [run["after"] for run in runs if run["after"] is not None and _gain(run["after"])]
    curve = [[float(np.mean(_gain(part))) if _gain(part) else None for part in run["curve"]] for run in runs]
    return {
        "steps": runs[0]["steps"],
        "began": spread([[float(np.mean(run["all"]["top1"]["begun"])) for run in runs]]),
        "answered": spread([[float(np.mean(run["all"]["top1"]["answering"])) for run in runs]]),
        "gain": spread([[float(np.mean(_gain(run["all"]))) for run in runs]]),
        "after": spread([[float(np.mean(_gain(found))) for found in after]]) if after else None,
        "by_step": np.mean([_gain(found) for found in after], axis=0).tolist() if after else None,
        "worst": spread([[100 * run["worst"] for run in runs]]),
        "lowest": min(100 * run["worst"] for run in runs),
        "behind": np.max([run["behind"] for run in runs], axis=0).tolist(),
        **{name: spread([[run[name] for run in runs]]) for name in ("promotions", "rollbacks", "restarts")},
        "curve": {"steps": np.cumsum([part["steps"] for part in runs[0]["curve"]]).tolist(), "gain": curve},
    }  # fmt: skip


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """A table for each site: rows are what the stream began with."""
    minutes = f"{result['minutes']:g} min"
    head = ["began with", "its top-1", "answered", "gain, points", f"gain after {minutes}", "at each step ahead",
            "worst minute", "of all seeds", "most right forecasts behind", "promotions", "rollbacks"]  # fmt: skip
    said = "" if result["timed"] else f", taken for {1e3 * result['seconds']:.0f} ms each, which the drives do not say"
    out = []
    for setting, starts in result["settings"].items():
        rows = []
        for name, found in starts.items():
            cells = [plus_minus(found[one]["mean"], found[one]["spread"], 3) for one in ("began", "answered")]
            cells += [plus_minus(found["gain"]["mean"], found["gain"]["spread"], 1)]
            after, steps = found["after"], found["by_step"]
            cells += [plus_minus(after["mean"], after["spread"], 1) if after else "–",
                      " / ".join(f"{one:.1f}" for one in steps) if steps else "–"]  # fmt: skip
            cells += [plus_minus(found["worst"]["mean"], found["worst"]["spread"], 1), f"{found['lowest']:.1f}",
                      " / ".join(map(str, found["behind"]))]  # fmt: skip
            cells += [plus_minus(found[one]["mean"], found[one]["spread"], 1) for one in ("promotions", "rollbacks")]
            rows.append([name, *cells])
        steps = next(iter(starts.values()))["steps"]
        out.append((f"{setting}: {steps:,} steps of drives that it never saw{said}; top-1 is the mean over the steps "
                    "ahead", Table(head, rows)))  # fmt: skip
    return out


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """The gain along each stream, a panel a site: mean of the seeds, and from the least to the most of them."""
    panels = figure.subplots(1, len(result["settings"]), squeeze=False, sharey=True)[0]
    for axes, (setting, starts) in zip(panels, result["settings"].items(), strict=True):
        for name, found in starts.items():
            time = np.array(found["curve"]["steps"]) * result["seconds"] / 60
            gain = np.array(found["curve"]["gain"], dtype=np.float64)
            known = np.isfinite(gain).all(0)
            axes.plot(time[known], gain[:, known].mean(0), label=f"from {name}")
            axes.fill_between(time[known], gain[:, known].min(0), gain[:, known].max(0), alpha=0.2)
        axes.axhline(0, color="grey", lw=0.8)
        axes.axvline(result["minutes"], color="grey", ls=":")
        axes.set(title=setting, xlabel="minutes")
    panels[0].set_ylabel("top-1 over what it began with, points")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small")


def run(setup: Setup, *, minutes: float = 5.0) -> dict[str, Any]:
    """Along the drives of each site that is left out, with everything by default.

    Args:
        minutes: after which the gain is told.
    """
    drives = tuple(read_folder(setup.folders["drives"]))
    return NewStreets(Comparison(drives, setup.out, setup.budget, setup.seeds), minutes).run()


NEW_STREETS = Benchmark("", ("drives",), run, tables, draw)
