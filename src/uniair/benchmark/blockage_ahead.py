"""Line of sight lost before it is: WMLM and a recurrent network beside what a power alone announces.

Every method scores the same windows, those that begin in sight; its thresholds are chosen on validation drives: of
windows, and of losses as events, which have to be warned of in time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.forecast_comparison import Comparison
from uniair.data.drives.drive import USUAL_STEP, step_time
from uniair.data.drives.passages import Augmentation
from uniair.data.drives.sensing import Sensing
from uniair.data.drives.windows import read_folder
from uniair.errors import InputError
from uniair.evaluation.blockage_figures import (
    Score,
    Watch,
    always,
    blocked_lately,
    learned,
    power_drop,
    require_losses,
)
from uniair.evaluation.loss_events import TIMELY, steps_ahead
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.progress import track
from uniair.training.forecast_split import Setting, settings
from uniair.training.forecasting import tensors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HORIZONS = (3, 5, 10)  # steps
AS_DRIVEN = Augmentation(retimed=0.0)  # a retimed passage says nothing of what blocks next
SENSED = {
    "WMLM, beams": ("power", "beam"),
    "WMLM, beams and positions": ("power", "beam", "position"),
    "WMLM, camera too": ("power", "beam", "position", "camera"),
}
METRICS = {"auprc": "AUPRC", "precision": "precision", "recall": "recall"}
EVENTS = {"precision": "precision", "recall": "recall", "per_minute": "false alarms per minute"}
KNOWN = {"always (base rate)": always, "persistence: blocked lately": blocked_lately, "power drop": power_drop}


class BlockageAhead:
    """One run of the benchmark.

    Args:
        comparison: drives, seeds, budget and training; its preset is the shape of WMLM.
        horizons: steps within which sight is lost; the last one is the farthest.
    """

    def __init__(self, comparison: Comparison, horizons: Sequence[int] = HORIZONS) -> None:
        self.comparison, self.horizons = comparison, tuple(sorted(horizons))
        self.preset = replace(comparison.codebook, tasks=("blockage",), warning=self.horizons[-1])
        self.timed = step_time(comparison.drives)
        self.seconds = self.timed or USUAL_STEP

    def methods(self) -> dict[str, Callable[[Setting, int], tuple[Setting, Score]]]:
        """Name → a setting, with the sensors that it reads, and the score, for a setting and a seed."""
        scores: dict[str, Callable[[Setting, int], tuple[Setting, Score]]] = {
            name: partial(lambda score, setting, seed: (setting, score), score) for name, score in KNOWN.items()
        }
        scores["GRU"] = lambda setting, seed: (
            setting,
            learned(self.comparison.gru(setting, seed, AS_DRIVEN, self.preset.warning, "blockage")),
        )
        for name, modalities in SENSED.items():
            if "camera" not in modalities or (self.comparison.cameras and self.comparison.budget == "full"):
                scores[name] = partial(self._wmlm, modalities)
        return scores

    def _wmlm(self, modalities: tuple[str, ...], setting: Setting, seed: int) -> tuple[Setting, Score]:
        preset = replace(self.preset, modalities=modalities)
        setting = replace(setting, sensing=Sensing(tuple({"camera"} & set(modalities)), preset.image))
        return setting, learned(self.comparison.wmlm(setting, seed, preset, AS_DRIVEN, only="blockage"))

    def measured(self, method: Callable[[Setting, int], tuple[Setting, Score]], setting: Setting, seed: int) -> Any:
        """Part → figures of a method, `warned` those of losses as events."""
        setting, score = method(setting, seed)
        ahead, timely = self.horizons[-1], [h for h in self.horizons if h >= steps_ahead(self.seconds)]
        checked = Watch.of(*setting.validating, ahead)
        found = score(checked.heard, ahead)
        alarms = checked.alarms(found, self.horizons)
        thresholds = {h: checked.events(h, self.seconds).threshold(found[:, h - 1]) for h in timely}
        out = {}
        for part, watch in self.watched(setting).items():
            found = score(watch.heard, ahead)
            out[part] = watch.figures(found, alarms) | {"warned": {
                str(h): watch.events(h, self.seconds).figures(found[:, h - 1] >= threshold)
                for h, threshold in thresholds.items() if threshold is not None
            }}  # fmt: skip
        return out

    def watched(self, setting: Setting) -> dict[str, Watch]:
        """`held out` and `unseen` → their windows, those of all scenarios together."""
        drives = {"held out": setting.test, "unseen": setting.unseen}
        out = {}
        for part, some in drives.items():
            if some:
                windows = setting.cut(some)
                out[part] = Watch.of(windows, tensors(windows.steps(sensing=setting.sensing)), self.horizons[-1])
        return out

    def balance(self, setting: Setting) -> dict[str, dict[str, list[int]]]:
        """Part → horizon → windows in which sight is lost, and all.

        Raises:
            InputError: drives or windows among which sight is never lost, or always.
        """
        sides = {"training": setting.train, "validation": setting.validation, "held-out": setting.test}
        require_losses(sides | ({"unseen": setting.unseen} if setting.unseen else {}))
        watched = {"validation": Watch.of(*setting.validating, self.horizons[-1])} | self.watched(setting)
        for part, watch in watched.items():
            watch.require_both(self.horizons, f"{setting.name}, {part} drives")
        return {part: watch.counts(self.horizons) for part, watch in watched.items()}

    def run(self, only: Sequence[str] = ()) -> dict[str, Any]:
        """Every method, setting and seed; a site that can't be left out is named in `left_out`.

        Args:
            only: names of methods; all by default.

        Raises:
            InputError: sight is never lost in training, validation or held-out drives; no such method; or the folder
                holds other runs.
        """
        methods = self.methods()
        if odd := set(only) - set(methods):
            raise InputError(f"no method {min(odd)!r}; choose from {', '.join(methods)}")
        every = settings(self.comparison.drives, future=self.horizons[-1])
        balance, left_out = {every[0].name: self.balance(every[0])}, {}
        chosen = [every[0]]
        for setting in every[1:] if self.comparison.budget == "full" else every[1:2]:
            try:
                balance[setting.name] = self.balance(setting)
                chosen.append(setting)
            except InputError as error:
                left_out[setting.name] = str(error)
        kept = self.comparison.kept()
        cells: dict[str, Any] = {}
        for setting, name in track([(s, n) for s in chosen for n in methods if not only or n in only], "method"):
            key = f"losses-{setting.name}-{name}".replace(" ", "_").replace(",", "").replace("→", "to")
            runs = [kept.once(f"{key}-{seed}", partial(self.measured, methods[name], setting, seed))
                    for seed in range(self.comparison.seeds)]  # fmt: skip
            for part in runs[0]:
                cells.setdefault(setting.name, {}).setdefault(part, {})[name] = _summary([run[part] for run in runs])
        return {"settings": cells, "balance": balance, "left_out": left_out, "horizons": list(self.horizons),
                "step_ms": self.timed and 1e3 * self.timed}  # fmt: skip


def _summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and spreads over seeds; the curve is the first seed's."""
    out: dict[str, Any] = {
        horizon: {figure: spread([[run[horizon][figure] for run in runs]]) for figure in found}
        for horizon, found in runs[0].items() if horizon.isdigit()
    }  # fmt: skip
    warned = {
        horizon: {figure: _known([run["warned"][horizon][figure] for run in runs]) for figure in EVENTS}
        | {count: runs[0]["warned"][horizon][count] for count in ("events", "sudden")}
        for horizon in runs[0]["warned"]
    }
    leads = [run["lead"] for run in runs if run["lead"] is not None]
    announced = [run["announced"] for run in runs if run["announced"] is not None]
    return out | {
        "events": runs[0]["events"], "curve": runs[0]["curve"], "warned": warned,
        "announced": spread([announced]) if announced else None, "lead": spread([leads]) if leads else None,
    }  # fmt: skip


def _known(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Mean and spread of the seeds that have a value; None where none has."""
    known = [value for value in values if value is not None]
    return spread([known]) if known else None


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Two tables for each setting and part, of windows and of losses as events: rows are methods."""
    ms = result["step_ms"]
    after = {str(h): f"{h * ms:.0f} ms" if ms else f"{h} steps" for h in result["horizons"]}
    out = []
    for setting, parts in result["settings"].items():
        for part, methods in parts.items():
            rows = []
            for name, found in methods.items():
                cells = [
                    plus_minus(found[h][one]["mean"], found[h][one]["spread"], 2) for h in after for one in METRICS
                ]
                told, lead = found["announced"], found["lead"]
                cells.append(f"{told['mean']:.0%}" if told else "–")
                cells.append(f"{lead['mean'] * (ms or 1):.{0 if ms else 1}f}" if lead else "–")
                rows.append([name, *cells])
            counts = result["balance"][setting][part]
            share = ", ".join(f"within {after[h]} in {lost:,} of {every:,}" for h, (lost, every) in counts.items())
            events = next(iter(methods.values()))["events"]
            head = ["", *(f"{title}, {span}" for span in after.values() for title in METRICS.values()), "announced",
                    f"lead, {'ms' if ms else 'steps'}"]  # fmt: skip
            about = f"{setting}, {part.replace('held out', 'held-out')} drives: sight is lost {share}"
            out.append((f"{about} windows that begin in it; losses: {events}", Table(head, rows)))
            out.append(_warned(setting, part, methods, after, ms))
    for setting, why in result["left_out"].items():
        out.append((f"{setting} left out: {why}", Table([""], [])))
    return out


def _warned(
    setting: str, part: str, methods: Mapping[str, Any], after: Mapping[str, str], ms: float | None
) -> tuple[str, Table]:
    """Losses warned of in time, and alarms that none follows."""
    warned = {name: found["warned"] for name, found in methods.items()}
    first = next(iter(warned.values()))
    rows = [
        [name, *("–" if found[h][one] is None else plus_minus(found[h][one]["mean"], found[h][one]["spread"], 2)
                 for h in found for one in EVENTS)]
        for name, found in warned.items()
    ]  # fmt: skip
    asked = ", ".join(f"{found['events']} within {after[h]}" for h, found in first.items()) or "none"
    sudden = min((found["sudden"] for found in first.values()), default=0)
    about = (
        f"{setting}, {part.replace('held out', 'held-out')} drives: losses warned of {1e3 * TIMELY:.0f} ms ahead or "
        f"earlier: that can be {asked}; too sudden for any: {sudden}"
    )
    about += "" if ms else f"; steps are taken for {1e3 * USUAL_STEP:.0f} ms, which the drives do not say"
    return about, Table(["", *(f"{title}, {after[h]}" for h in first for title in EVENTS.values())], rows)


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """Precision against recall at the farthest horizon, a panel for each part of the first and of the last setting."""
    named = list(result["settings"].items())
    shown = list({(s, part): methods for s, parts in (named[0], named[-1]) for part, methods in parts.items()}.items())
    farthest = str(max(result["horizons"]))
    for axes, ((setting, part), methods) in zip(
        figure.subplots(1, len(shown), squeeze=False, sharey=True)[0], shown, strict=True
    ):
        for name, found in methods.items():
            if name == next(iter(KNOWN)):
                axes.axhline(found[farthest]["base_rate"]["mean"], color="grey", ls=":", label=name)
            else:
                curve = found["curve"]
                axes.step(curve["recall"], curve["precision"], where="post", label=name)
        axes.set(title=f"{setting}, {part}", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="x-small")


def run(setup: Setup) -> dict[str, Any]:
    """Everything on the drives that block."""
    drives = tuple(read_folder(setup.folders["blocked"]))
    return BlockageAhead(Comparison(drives, setup.out, setup.budget, setup.seeds)).run()


BLOCKAGE = Benchmark("", ("blocked",), run, tables, draw)
