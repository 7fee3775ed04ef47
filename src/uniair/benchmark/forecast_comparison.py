"""Beam forecasting on drives: WMLM beside its baselines, in scenarios it knows and in ones it never saw (Fig. 4d, 4e).

Trained on some scenarios, a method is tested on whole drives of them that were held out, and on every drive of a site
that was left out. Figures are means over scenarios, then over seeds.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from uniair.benchmark.benchmark import Benchmark, Setup, check_budget
from uniair.benchmark.runs import Runs
from uniair.data.digest import data_digest
from uniair.data.drives.drive import Drive, carrier
from uniair.data.drives.passages import Augmentation
from uniair.data.drives.sensing import Sensing
from uniair.data.drives.windows import codebook, cut, read_folder
from uniair.data.import_report import ImportReport
from uniair.errors import InputError
from uniair.evaluation.tables import Table
from uniair.files import atomic_path, write_text
from uniair.models.backbone import Backbone
from uniair.models.forecast import MODALITIES, WMLM, ForecastPreset
from uniair.models.sequence_baselines import GRU, NearestPositions, Persistence, ReprogrammedLM
from uniair.models.universal import UniversalModel
from uniair.progress import track
from uniair.tasks.beam_forecast import Forecasting, SensorAlignment, figures, forecasts
from uniair.training.checkpoint import digest
from uniair.training.distributed import World
from uniair.training.forecast_adaptation import OnlineLearning, adapt_online
from uniair.training.forecast_split import FUTURE, PAST, Setting, sensing, settings
from uniair.training.forecasting import ForecastTraining, tensors, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RETIMED = "GRU, drives reversed and retimed too"
MAIN = ("persistence", "nearest positions", "GRU", RETIMED, f"{RETIMED}, adapted online", "reprogrammed LM", "WMLM",
        "WMLM, adapted online")  # fmt: skip
METRICS = {"top1": "top-1", "top2": "top-2", "top3": "top-3", "dba": "DBA", "share": "power", "nmse_db": "NMSE dB"}


@dataclass(frozen=True)
class Comparison:
    """One run of the benchmark.

    Attributes:
        drives: all that were measured.
        out: folder for the runs, the JSON and the figures.
        budget: `quick` shows the shape in minutes; `full` is what is reported.
        seeds: of weights and batches.
        preset, training: of WMLM; the baselines are trained with the same loop.
        online: how a method is adapted to a site that it does not know.
        language: backbone of the reprogrammed LM; None leaves it out.
        ablations: whether WMLM is also trained without each of its parts, on all scenarios and with the first site
            left out.
        tower: the universal model that WMLM reads CSI through, where it does.
        anchors: of stage 1 that are compared, see `SensorAlignment`, and `none`; if empty, where there are pictures:
            none, the power, the pictures, and both. The model reads power, beam, position, pictures and all of these.
        align_steps: of stage 1; 0: as many as of stage 2.
        named: settings by name, of which every method is measured; if empty, the first two of a quick budget and all of
            a full one, with ablations and anchors in the first two alone.
    """

    drives: tuple[Drive, ...]
    out: Path
    budget: str = "quick"
    seeds: int = 3
    preset: ForecastPreset = ForecastPreset(width=64)
    training: ForecastTraining = field(default_factory=ForecastTraining)
    online: OnlineLearning = field(default_factory=OnlineLearning)
    language: Backbone | None = None
    ablations: bool = False
    tower: UniversalModel | None = None
    anchors: tuple[str, ...] = ()
    align_steps: int = 0
    named: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_budget(self.budget, self.seeds)
        aligned = [anchor for anchor in self.anchored if anchor != "none"]
        for anchor in aligned:
            SensorAlignment(anchor, steps=self.align_steps).pairs(self.seen.modalities)
        if self.align_steps and not aligned:
            raise InputError(f"--align_steps {self.align_steps}: there is no stage 1; give --anchors")
        for sensor in self.sensing.sensors:
            if not any(drive.has(sensor).any() for drive in self.drives):
                raise InputError(f"no drive has {sensor} files; leave it out of the anchors")
        if "csi" in self.sensing.sensors and self.tower is None:
            raise InputError("csi among the anchors is read through a universal model; give one")

    @property
    def trained(self) -> ForecastTraining:
        """The training of this budget: a quick one takes a fifth of the steps."""
        if self.budget == "full":
            return self.training
        plan = self.training.optimisation
        return replace(self.training, optimisation=replace(
            plan, steps=max(plan.steps // 5, 1), save_every=max(plan.save_every // 5, 1)
        ))  # fmt: skip

    @cached_property
    def codebook(self) -> ForecastPreset:
        """The preset for the drives' codebook."""
        return replace(self.preset, beams=codebook(self.drives), past=PAST, future=FUTURE)

    @cached_property
    def told(self) -> str:
        """Tells the language model from others in the names of its runs, and those that begin with a token of its own
        from older ones, which began with the prompt.
        """
        assert self.language is not None
        model = self.language.model
        return f"-begun-{model.config.num_hidden_layers}-layers-{digest(model)}"

    @property
    def cameras(self) -> bool:
        """Whether the drives have pictures."""
        return any(drive.has("camera").any() for drive in self.drives)

    @property
    def anchored(self) -> tuple[str, ...]:
        """The anchors that are compared."""
        return self.anchors or (("none", "power", "camera", "power+camera") if self.cameras else ())

    @cached_property
    def seen(self) -> ForecastPreset:
        """The preset of models that are aligned."""
        names = {"power", "beam", "position", *(("camera",) if self.cameras else ()),
                 *(name for anchor in self.anchored for name in anchor.split("+"))}  # fmt: skip
        read = tuple(name for name in MODALITIES if name in names)
        told = carrier(self.drives, self.preset.carrier) if "csi" in read else self.preset.carrier
        return replace(self.codebook, modalities=read, carrier=told)

    @property
    def sensing(self) -> Sensing:
        """The sensors that these read; none where none is aligned."""
        return sensing(self.seen) if self.anchored else Sensing()

    def methods(self) -> dict[str, Callable[[Setting, int], dict[str, Any]]]:
        """Name → figures of a setting and seed: part → scenario → horizon → metric."""
        wmlm = self.wmlm
        kept: dict[tuple[str, str, int], nn.Module] = {}

        def plain(name: str, s: Setting, seed: int) -> nn.Module:
            """The method as it is by default: trained once, for what is measured as it is and what adapts."""
            if (name, s.name, seed) not in kept:
                kept[name, s.name, seed] = self.wmlm(s, seed) if name == "WMLM" else self.gru(s, seed, Augmentation())
            return copy.deepcopy(kept[name, s.name, seed])

        out: dict[str, Callable[[Setting, int], dict[str, Any]]] = {
            "persistence": lambda s, seed: measured(Persistence(self.codebook.beams, FUTURE), s),
            "nearest positions": lambda s, seed: measured(self.nearest(s), s),
            "GRU": lambda s, seed: measured(self.gru(s, seed), s),
            RETIMED: lambda s, seed: measured(plain(RETIMED, s, seed), s),
            # from the better of the two on held-out drives of sites that are known
            f"{RETIMED}, adapted online": lambda s, seed: self.adapted(plain(RETIMED, s, seed), s),
            "WMLM": lambda s, seed: measured(plain("WMLM", s, seed), s),
            "WMLM, adapted online": lambda s, seed: self.adapted(plain("WMLM", s, seed), s),
        }
        if self.language is not None:
            out["reprogrammed LM"] = lambda s, seed: measured(self.reprogrammed(s, seed), s)
        if self.ablations:
            preset = self.codebook
            out |= {
                "WMLM, adapted online without replay": lambda s, seed: self.adapted(
                    plain("WMLM", s, seed), s, replay=False),
                "WMLM, beams by number alone": lambda s, seed: measured(
                    wmlm(s, seed, preset=replace(preset, around=False)), s),
                "WMLM, beams by distance alone": lambda s, seed: measured(
                    wmlm(s, seed, preset=replace(preset, by_beam=False)), s),
                "WMLM, drives as they were": lambda s, seed: measured(
                    wmlm(s, seed, augmentation=Augmentation(0.0, 0.0, 0.0)), s),
                "WMLM, not retimed": lambda s, seed: measured(
                    wmlm(s, seed, augmentation=Augmentation(retimed=0.0)), s),
                "WMLM, not reversed": lambda s, seed: measured(
                    wmlm(s, seed, augmentation=Augmentation(reverse=0.0)), s),
                "WMLM, mirrored too": lambda s, seed: measured(
                    wmlm(s, seed, augmentation=Augmentation(mirror=0.5)), s),
                "WMLM, best beam alone as target": lambda s, seed: measured(
                    wmlm(s, seed, task=replace(self.trained.task, soft=0.0)), s),
                "WMLM, position alone": lambda s, seed: measured(
                    wmlm(s, seed, preset=replace(preset, modalities=("position",))), s),
                "WMLM, beam and position": lambda s, seed: self.with_losses(
                    wmlm(s, seed, preset=replace(preset, modalities=("power", "beam", "position"))), s),
            }  # fmt: skip
        return out | {
            f"anchor {anchor}": partial(
                lambda anchor, s, seed: measured(wmlm(s, seed, preset=self.seen, anchor=anchor), s), anchor
            )
            for anchor in self.anchored
        }

    def wmlm(
        self,
        setting: Setting,
        seed: int,
        preset: ForecastPreset | None = None,
        augmentation: Augmentation = Augmentation(),
        task: Forecasting | None = None,
        anchor: str = "none",
        only: str = "",
    ) -> nn.Module:
        """WMLM trained on a setting; stage 1 first where there is an anchor.

        Args:
            only: the task whose loss alone chooses the weights, see `validation`.
        """
        torch.manual_seed(seed)
        model: nn.Module = WMLM(preset or self.codebook, self.tower)
        if anchor != "none":
            steps = self.align_steps if self.budget == "full" else -(-self.align_steps // 5)
            model = self._fit(model, setting, seed, augmentation, task, SensorAlignment(anchor, steps=steps))
        return self._fit(model, setting, seed, augmentation, task, only=only)

    def gru(
        self,
        setting: Setting,
        seed: int,
        augmentation: Augmentation = Augmentation(0.0, 0.0, 0.0),
        warning: int = 0,
        only: str = "",
    ) -> nn.Module:
        """The recurrent baseline trained on a setting; arguments as of `wmlm` and `GRU`."""
        torch.manual_seed(seed)
        task = Forecasting(soft=0.0, hidden=0.0, lost=0.0)
        return self._fit(GRU(setting.power, FUTURE, warning=warning), setting, seed, augmentation, task, only=only)

    def reprogrammed(self, setting: Setting, seed: int) -> nn.Module:
        """The language model reprogrammed on a setting."""
        assert self.language is not None
        torch.manual_seed(seed)
        task = Forecasting(soft=0.0, hidden=0.0, lost=0.0)
        model = ReprogrammedLM(self.language, setting.power, FUTURE)
        return self._fit(model, setting, seed, Augmentation(0.0, 0.0, 0.0), task)

    def nearest(self, setting: Setting) -> nn.Module:
        """Nearest positions of a setting's training windows."""
        steps = tensors(setting.cut(setting.train).steps())
        return NearestPositions(steps["position"][:, PAST - 1], steps["beam"][:, PAST:], self.codebook.beams)

    def adapted(self, model: nn.Module, setting: Setting, replay: bool = True) -> dict[str, Any]:
        """Figures of the unseen scenarios, one after the other, when the model learns while it forecasts there; and of
        what it knew before, afterwards.
        """
        earlier = setting.passages(self.online.length, self.online.augmentation) if replay else None
        unseen = {
            scenario: figures(adapt_online(model, windows, self.online, earlier), steps, PAST)
            for scenario, (windows, steps) in setting.parts.get("unseen", {}).items()
        }
        after = measured(model, setting).get("held out") if unseen else None
        return {part: found for part, found in (("unseen", unseen), ("held out, afterwards", after)) if found}

    def with_losses(self, model: nn.Module, setting: Setting) -> dict[str, Any]:
        """Figures with every modality, and `… without X` with X missing at test time."""
        found = measured(model, setting)
        for gone in (("power", "beam"), ("position",)):
            hidden = measured(model, setting, gone)
            found |= {f"{part}, without {gone[0]}": values for part, values in hidden.items()}
        return found

    def _fit(
        self,
        model: nn.Module,
        setting: Setting,
        seed: int,
        augmentation: Augmentation,
        task: Forecasting | None,
        alignment: SensorAlignment | None = None,
        only: str = "",
    ) -> nn.Module:
        config = self.trained
        config = replace(config, task=task or config.task, optimisation=replace(config.optimisation, seed=seed))
        passages = setting.passages(config.length, augmentation)
        checked = None if alignment else setting.checked(only)
        return train(model, passages, config, World.alone(), None, checked, alignment)

    def kept(self, **more: Any) -> Runs:
        """The runs in `out`.

        Args:
            more: what else they are made with.

        Raises:
            InputError: they were made with something else.
        """
        runs = Runs(self.out)
        runs.note({"training": asdict(self.trained), "preset": asdict(self.codebook), "online": asdict(self.online),
                   "drives": data_digest(self.drives),
                   "tower": None if self.tower is None else digest(self.tower)} | more)  # fmt: skip
        return runs

    def run(self, only: Sequence[str] = ()) -> dict[str, Any]:
        """Every method, setting and seed; writes `result.json`, `fig4d.svg` and `fig4e.svg`.

        Args:
            only: names of methods; all by default.

        Raises:
            InputError: no such method or setting, or `out` holds other runs.
        """
        methods = self.methods()
        if odd := set(only) - set(methods):
            raise InputError(f"no method {min(odd)!r}; choose from {', '.join(methods)}")
        names = [name for name in methods if not only or name in only]
        aligned = any(name.startswith("anchor ") for name in names)  # only these look at pictures
        chosen = self.settings(self.sensing if aligned else Sensing())
        kept = self.kept()
        report = ImportReport()
        cut(self.drives, PAST, FUTURE, report)
        jobs = [
            (s, name) for number, s in enumerate(chosen) for name in names
            if name in MAIN or number < 2 or self.named
        ]  # fmt: skip
        cells: dict[str, Any] = {}
        for setting, name in track(jobs, "method"):
            told = self.told if name == "reprogrammed LM" else ""
            if name.startswith("anchor "):  # what is read beside it hangs on the other anchors
                told = f"-{'-'.join(self.seen.modalities)}-{self.align_steps}-steps"
            key = f"{setting.name}-{name}{told}".replace(" ", "_").replace(",", "").replace("→", "to")
            runs = [kept.once(f"{key}-{seed}", partial(methods[name], setting, seed)) for seed in range(self.seeds)]
            for part in runs[0]:
                cells.setdefault(setting.name, {}).setdefault(part, {})[name] = summary([run[part] for run in runs])
        result = {"budget": self.budget, "seeds": self.seeds, "windows": report.as_json(), "settings": cells}
        write_text(self.out / "result.json", json.dumps(result, indent=1) + "\n")
        for name, draw in (("fig4d", draw_accuracy), ("fig4e", draw_error)):
            from matplotlib.figure import Figure

            figure = Figure(figsize=(9, 6), layout="constrained")
            draw(result, figure)
            with atomic_path(self.out / f"{name}.svg") as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None})
        return result

    def settings(self, sensing: Sensing = Sensing()) -> list[Setting]:
        """The settings by name, or of the budget.

        Raises:
            InputError: no such setting.
        """
        every = {setting.name: setting for setting in settings(self.drives, sensing)}
        wanted = [name.replace("->", "→") for name in self.named]
        if odd := set(wanted) - set(every):
            raise InputError(f"no setting {min(odd)!r}; choose from {', '.join(map(repr, every))}")
        if wanted:
            return [every[name] for name in dict.fromkeys(wanted)]
        return list(every.values())[: None if self.budget == "full" else 2]


def measured(model: nn.Module, setting: Setting, without: Sequence[str] = ()) -> dict[str, Any]:
    """Part → scenario → horizon → metric, with some modalities missing at test time."""
    return {
        part: {
            scenario: figures(forecasts(model, {k: v for k, v in steps.items() if k not in without}, PAST), steps, PAST)
            for scenario, (_, steps) in scenarios.items()
        }
        for part, scenarios in setting.parts.items()
    }


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Seeds → scenario → horizon → metric as horizon → metric → mean over scenarios and seeds, spread over seeds, and
    the mean of each scenario.
    """
    scenarios = list(runs[0])
    out: dict[str, Any] = {}
    for horizon, found in runs[0][scenarios[0]].items():
        for metric in found:
            grid = np.array([[run[s][horizon].get(metric, np.nan) for run in runs] for s in scenarios])
            means = grid.mean(0)
            out.setdefault(horizon, {})[metric] = {
                "mean": float(means.mean()),
                "spread": float(means.std()),
                "by_scenario": dict(zip(scenarios, grid.mean(1).tolist(), strict=True)),
            }
    return out


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """A heading and a table for each setting and part: rows are methods, cells the horizons."""
    out = []
    for setting, parts in result["settings"].items():
        for part, methods in parts.items():
            rows = []
            for name, horizons in methods.items():
                cells = [
                    " / ".join(f"{found[metric]['mean']:.{1 if metric == 'nmse_db' else 3}f}"
                               for found in horizons.values() if metric in found)
                    for metric in METRICS
                ]  # fmt: skip
                spread = max(found["top1"]["spread"] for found in horizons.values())
                rows.append([name, *cells, f"{spread:.3f}"])
            named = part.replace("held out", "held-out drives").replace("unseen", "unseen drives")
            out.append((f"{setting}, {named}", Table(["", *METRICS.values(), "± top-1"], rows)))
    return out


def draw_accuracy(result: Mapping[str, Any], figure: Figure) -> None:
    """Fig. 4d: top-1 and DBA of each horizon, on held-out drives of all scenarios and on a site that was left out."""
    found = result["settings"]
    shown = [
        (s, part) for part in ("held out", "unseen") for s in [next((s for s in found if part in found[s]), "")] if s
    ]
    for number, (setting, part) in enumerate(shown):
        methods = {name: horizons for name, horizons in found[setting][part].items() if name in MAIN}
        for place, metric in enumerate(("top1", "dba")):
            axes = figure.add_subplot(len(shown), 2, 2 * number + place + 1)
            _bars(axes, {n: [h[metric] for h in horizons.values()] for n, horizons in methods.items()})
            axes.set_xticks(range(FUTURE), [f"step {h}" for h in range(1, FUTURE + 1)])
            axes.set_title(f"{METRICS[metric]}, {setting}, {part} drives", fontsize="medium")
    if shown:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)


def draw_error(result: Mapping[str, Any], figure: Figure) -> None:
    """Fig. 4e: NMSE of the power forecast for the next step, by setting; anchors where there were pictures."""
    found = result["settings"]
    groups = [(setting, part) for setting in found for part in ("held out", "unseen") if part in found[setting]]
    names = list(dict.fromkeys(name for setting, part in groups for name in found[setting][part]))
    names = [name for name in names if name.startswith("anchor")] or [name for name in names if name in MAIN]
    axes = figure.add_subplot()
    _bars(axes, {n: [found[s][part].get(n, {}).get("1", {}).get("nmse_db") for s, part in groups] for n in names})
    axes.set_xticks(range(len(groups)), [f"{setting}\n{part}" for setting, part in groups], fontsize="small")
    axes.set_ylabel("NMSE of the next step's power, dB")
    axes.legend(fontsize="small")


def _bars(axes: Axes, rows: Mapping[str, Sequence[Mapping[str, float] | None]]) -> None:
    """A group of bars for each place in the rows, with their spread; None leaves a gap."""
    width = 1 / (len(rows) + 1)
    for place, (name, cells) in enumerate(rows.items()):
        kept = [(at, cell) for at, cell in enumerate(cells) if cell is not None]
        axes.bar(
            [at + (place - (len(rows) - 1) / 2) * width for at, _ in kept], [cell["mean"] for _, cell in kept], width,
            yerr=[cell["spread"] for _, cell in kept], label=name,
        )  # fmt: skip


def run(setup: Setup) -> dict[str, Any]:
    """WMLM as it is by default beside its baselines and ablations."""
    drives = tuple(read_folder(setup.folders["drives"]))
    return Comparison(drives, setup.out, setup.budget, setup.seeds, ablations=True).run()


FORECAST = Benchmark(
    "paper 3, Fig. 4d and 4e: bars without figures, WMLM ahead of an RNN and reprogrammed language models in and out "
    "of the scenarios that it was trained on.",
    ("drives",), run, tables, draw_accuracy,
)  # fmt: skip
