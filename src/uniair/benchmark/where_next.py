"""Where the user will be in the next steps: WMLM by what it senses beside what a tracker does with the positions alone.

Every method answers for the same windows: those with a position in the past, and known places after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.benchmark.benchmark import Benchmark, Setup
from uniair.benchmark.forecast_comparison import Comparison
from uniair.data.drives.drive import Drive, carrier, step_time
from uniair.data.drives.passages import Augmentation
from uniair.data.drives.sensing import Sensing
from uniair.data.drives.windows import read_folder
from uniair.errors import InputError
from uniair.evaluation.tables import Table, plus_minus, spread
from uniair.evaluation.trajectories import KalmanFilter, constant_acceleration, constant_velocity
from uniair.progress import track
from uniair.tasks.beam_forecast import forecasts
from uniair.tasks.position_forecast import figures
from uniair.training.forecast_split import FUTURE, PAST, Setting, settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SENSED = {
    "WMLM, positions": ("position",),
    "WMLM, beams": ("power", "beam"),
    "WMLM, beams and positions": ("power", "beam", "position"),
    "WMLM, camera too": ("power", "beam", "position", "camera"),
    "WMLM, CSI too": ("power", "beam", "position", "csi"),
}
METRICS = {"ade": "ADE", "fde": "FDE", "fde_p90": "FDE, 90 %"}


class Mobility:
    """One run of the benchmark.

    Args:
        comparison: drives, seeds, budget and training; its preset is the shape of WMLM.

    Raises:
        InputError: the drives have no positions.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.drives = comparison, comparison.drives
        if not any(np.isfinite(drive.position).all(1).any() for drive in self.drives):
            raise InputError("no drive has a position; give drives whose UE has GPS")

    @cached_property
    def preset(self) -> Any:
        """WMLM's shape, with the head for positions."""
        preset = self.comparison.codebook
        return replace(preset, tasks=("position",), carrier=carrier(self.drives, preset.carrier))

    def sensed(self) -> dict[str, tuple[str, ...]]:
        """The modalities of each WMLM: pictures and CSI where the drives have them, and at the full budget alone."""
        full = self.comparison.budget == "full"
        there = {"camera": full and self.comparison.cameras,
                 "csi": full and self.comparison.tower is not None
                 and any(drive.has("csi").any() for drive in self.drives)}  # fmt: skip
        return {name: told for name, told in SENSED.items() if all(there.get(one, True) for one in told)}

    def methods(self) -> dict[str, Callable[[Setting, int], dict[str, Any]]]:
        """Name → figures of a setting and seed: part → scenario → figure."""
        out: dict[str, Callable[[Setting, int], dict[str, Any]]] = {
            "the last position": lambda s, seed: measured(s, last_position),
            "constant velocity": lambda s, seed: measured(s, constant_velocity),
            "constant acceleration": lambda s, seed: measured(s, constant_acceleration),
            "Kalman's filter": lambda s, seed: measured(s, tracker(s)),
        }
        return out | {name: partial(self.wmlm, told) for name, told in self.sensed().items()}

    def wmlm(self, modalities: tuple[str, ...], setting: Setting, seed: int) -> dict[str, Any]:
        """Figures of WMLM trained with those modalities."""
        preset = replace(self.preset, modalities=modalities)
        sensing = Sensing(tuple(one for one in ("camera", "csi") if one in modalities), preset.image)
        setting = replace(setting, sensing=sensing)
        model = self.comparison.wmlm(setting, seed, preset, Augmentation(), only="position")
        out: dict[str, Any] = {}
        for part, scenarios in setting.parts.items():
            for scenario, (_, steps) in scenarios.items():
                said = forecasts(model, steps, PAST).position
                assert said is not None
                out.setdefault(part, {})[scenario] = figures_of(said, steps)
        return _told(out)

    def run(self, only: Sequence[str] = ()) -> dict[str, Any]:
        """Every method, setting and seed.

        Args:
            only: names of methods; all by default.

        Raises:
            InputError: no such method, no drive is held out, or the folder holds other runs.
        """
        methods = self.methods()
        if odd := set(only) - set(methods):
            raise InputError(f"no method {min(odd)!r}; choose from {', '.join(methods)}")
        chosen = settings(self.drives)
        chosen = [s for s in (chosen if self.comparison.budget == "full" else chosen[:2]) if s.test]
        if not chosen:
            raise InputError("no drive is held out: those whose number is a multiple of five are; give more drives")
        kept = self.comparison.kept()
        cells: dict[str, Any] = {}
        for setting, name in track([(s, n) for s in chosen for n in methods if not only or n in only], "method"):
            key = f"mobility-{setting.name}-{name}".replace(" ", "_").replace(",", "").replace("→", "to")
            runs = [kept.once(f"{key}-{seed}", partial(methods[name], setting, seed))
                    for seed in range(self.comparison.seeds)]  # fmt: skip
            for part, scenarios in runs[0].items():
                cells.setdefault(setting.name, {}).setdefault(part, {})[name] = {
                    figure: spread([[run[part][scenario][figure] for run in runs] for scenario in scenarios])
                    for figure in next(iter(scenarios.values()))
                }
        seconds = step_time(self.drives)
        return {"settings": cells, "truth": truth(self.drives), "step_ms": seconds and 1e3 * seconds,
                "windows": {s.name: asked(s) for s in chosen}}  # fmt: skip


def usable(steps: Mapping[str, Tensor]) -> Tensor:
    """Windows [N] with a position in the past and known places after it."""
    heard = torch.isfinite(steps["position"][:, :PAST, :2]).all(2).any(1)
    return heard & torch.isfinite(steps["place"][:, PAST : PAST + FUTURE]).all((1, 2))


def figures_of(said: Tensor, steps: Mapping[str, Tensor]) -> dict[str, float]:
    """Figures of the positions said [N, F, 2] about windows; none where none is usable."""
    here = usable(steps)
    return figures(said[here], steps["place"][here, PAST : PAST + FUTURE])


def measured(
    setting: Setting, forecast: Callable[[NDArray[np.floating], int], NDArray[np.float64]]
) -> dict[str, dict[str, dict[str, float]]]:
    """Part → scenario → figures of a forecast from the fixes alone."""
    return _told({
        part: {
            scenario: figures_of(torch.from_numpy(forecast(steps["position"][:, :PAST, :2].numpy(), FUTURE)), steps)
            for scenario, (_, steps) in scenarios.items()
        }
        for part, scenarios in setting.parts.items()
    })  # fmt: skip


def _told(found: dict[str, dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Without scenarios of which no window is usable."""
    kept = {part: {name: one for name, one in scenarios.items() if one} for part, scenarios in found.items()}
    return {part: scenarios for part, scenarios in kept.items() if scenarios}


def last_position(fixes: NDArray[np.floating], future: int) -> NDArray[np.float64]:
    """A UE that stands still where it was seen last: [N, past, 2] → [N, F, 2] m."""
    last = fixes.shape[1] - 1 - np.isfinite(fixes).all(2)[:, ::-1].argmax(1)
    return np.repeat(fixes[np.arange(len(fixes)), last, None].astype(np.float64), future, axis=1)


def tracker(setting: Setting) -> KalmanFilter:
    """Kalman's filter, its noises chosen on the validation drives."""
    steps = setting.validating[1]
    here = usable(steps)
    return KalmanFilter.chosen(
        steps["position"][here, :PAST, :2].numpy(), steps["place"][here, PAST : PAST + FUTURE].numpy()
    )


def truth(drives: Sequence[Drive]) -> str:
    """What the errors are measured against."""
    true = sum(drive.true is not None for drive in drives)
    if true in (0, len(drives)):
        return "where the UE really was" if true else "the position received later, errors of its own included"
    return f"where the UE really was in {true} of {len(drives)} drives, the position received later in the others"


def asked(setting: Setting) -> dict[str, list[int]]:
    """Part → windows that are asked about, and all there are."""
    return {
        part: [sum(int(usable(steps).sum()) for _, steps in scenarios.values()),
               sum(len(windows) for windows, _ in scenarios.values())]
        for part, scenarios in setting.parts.items()
    }  # fmt: skip


def tables(result: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """Errors in m: a table for each setting and part."""
    after = f"{result['step_ms']:.0f} ms apart" if result["step_ms"] else "of unknown length"
    out = []
    for setting, parts in result["settings"].items():
        for part, methods in parts.items():
            first = next(iter(methods.values()))
            columns = METRICS | {name: f"step {name}" for name in first if name.isdigit()}
            rows = [[name, *(plus_minus(found[one]["mean"], found[one]["spread"], 2) for one in columns)]
                    for name, found in methods.items()]  # fmt: skip
            used, every = result["windows"][setting][part]
            about = f"{setting}, {part.replace('held out', 'held-out')} drives, m; steps {after}; against "
            about += f"{result['truth']}; {used:,} of {every:,} windows"
            out.append((about, Table(["", *columns.values()], rows)))
    return out


def draw(result: Mapping[str, Any], figure: Figure) -> None:
    """Mean error at each horizon, a panel for each part of the first and of the last setting."""
    named = list(result["settings"].items())
    shown = list({(s, part): methods for s, parts in (named[0], named[-1]) for part, methods in parts.items()}.items())
    for axes, ((setting, part), methods) in zip(
        figure.subplots(1, len(shown), squeeze=False, sharey=True)[0], shown, strict=True
    ):
        for name, found in methods.items():
            steps = [one for one in found if one.isdigit()]
            axes.plot([int(one) for one in steps], [found[one]["mean"] for one in steps], marker=".", label=name)
        axes.set(title=f"{setting}, {part}", xlabel="steps ahead", ylabel="mean error, m")
        axes.grid(alpha=0.3)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="x-small")


def run(setup: Setup) -> dict[str, Any]:
    """Trackers beside WMLM."""
    drives = tuple(read_folder(setup.folders["drives"]))
    return Mobility(Comparison(drives, setup.out, setup.budget, setup.seeds, tower=setup.model)).run()


MOBILITY = Benchmark("", ("drives",), run, tables, draw)
