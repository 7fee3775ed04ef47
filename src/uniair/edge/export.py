"""Edge packages: the models of a site as ONNX, with a runner and a card that says how well they agree with torch."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uniair import __version__
from uniair.angle_delay import filters
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import SAMPLE, Store
from uniair.edge.graphs import PIXELS, ChannelGraph, EnvironmentGraph, ForecastGraph, ReconstructionGraph
from uniair.edge.quantisation import quantise
from uniair.environment import Environment
from uniair.errors import InputError
from uniair.files import sha256, write_text
from uniair.models.forecast import HEAD, WMLM
from uniair.models.head import Head
from uniair.models.ray_launching import FEATURES, FEATURES_3D
from uniair.models.universal import RadioWarning, UniversalModel
from uniair.radio import Radio
from uniair.site.frame import view
from uniair.site.site import Site
from uniair.tasks.registry import TASKS
from uniair.training.checkpoint import digest

FORMAT = "uniair-edge/2"
CARD = "card.json"
TOLERANCE = 1e-4
LINKS = 32  # a place that parity is measured on
OPSET = 17
STATE = ("time", "last_beam", "last_power", "cache")
RUNNER = "uniair_edge"
EMBEDDED = {"embedding": {0: "n"}}  # axes of embeddings of any number


@dataclass(frozen=True)
class Package:
    """What goes into an edge package.

    Attributes:
        model: the towers.
        name: of the model.
        site: whose stations and heads go along; None: the models alone.
        forecaster: None: none.
        int8: whether the models are there in 8 bits too.
        radio: whose CSI it takes and restores; None: the weights' own. A site's is its own.
    """

    model: UniversalModel
    name: str
    site: Site | None = None
    forecaster: WMLM | None = None
    int8: bool = False
    radio: Radio | None = None

    @property
    def takes(self) -> Radio:
        """The radio whose CSI it takes and restores."""
        return self.model.radio if self.radio is None else self.radio

    @classmethod
    def of(cls, site: Site, forecaster: WMLM | None = None, int8: bool = False) -> Package:
        """The package of a site.

        Raises:
            InputError: no model was asked, a plan, or the weights are not those that its heads learned on.
        """
        import uniair

        site.require_model()
        if site.planned:
            raise InputError(
                f"{site.folder}: of a file of sites, whose sectors have radios of their own; edge packages are of one "
                "radio: make a site with uniair site --bs"
            )
        model = uniair.load(site.model)
        site.require_weights(digest(model))
        return cls(model, site.model, site, forecaster, int8, site.radio)

    def heads(self) -> dict[str, Head]:
        """The site's heads by `TASK-INPUTS-STATION`."""
        if self.site is None:
            return {}
        return {
            self.site.head(*pair, number).stem: saved.head
            for number in range(len(self.site.stations))
            for pair, saved in self.site.saved_heads(number, self.model).items()
        }

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes the package in one step and returns its card; an older package there is replaced.

        Raises:
            InputError: onnx or onnxruntime is missing, the folder holds something else, the model can't be written for
                this radio, or an answer differs from torch's by more than `TOLERANCE`.
        """
        for needed in ("onnx", "onnxruntime"):
            if importlib.util.find_spec(needed) is None:
                raise InputError(f"export needs {needed}: pip install 'uniair[serve]'")
        with replaced(folder) as here:
            card = self._fill(here)
            write_text(here / CARD, json.dumps(card) + "\n")
            from uniair.edge.runner import Runner

            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RadioWarning)  # the card has the remarks
                card["parity"] = self._parity(Runner(here, threads=torch.get_num_threads()))
            if odd := {name: value for name, value in card["parity"]["largest"].items() if not value <= TOLERANCE}:
                worst = max(odd, key=odd.__getitem__)
                raise InputError(
                    f"{folder}: {worst} differs from torch by {odd[worst]:.1e}, above {TOLERANCE:g}; nothing was "
                    "written. Please report it with the versions of torch and onnxruntime"
                )
            card["sha256"] = {str(p.relative_to(here)): sha256(p) for p in sorted(here.rglob("*.onnx"))}
            write_text(here / CARD, json.dumps(card, indent=1) + "\n")
        return card

    def _fill(self, here: Path) -> dict[str, Any]:
        model, z = self.model, _some_code(self.model)
        write_channel(model, self.takes, here)
        write_crnn(model, self.takes, here)
        place = {
            "map": torch.zeros(PIXELS, PIXELS), "bs": torch.zeros(2, 3), "ue": torch.ones(2, 3), "los": torch.zeros(2),
            "size": torch.full((2,), 100.0), "known": torch.ones(2, 4, dtype=torch.bool),
            "features": torch.zeros(3, FEATURES_3D if model.epnn.solid else FEATURES),
            "owner": torch.tensor([0, 1, 1]), "clock": torch.zeros(2), "downtilt": torch.zeros(2),
        }  # fmt: skip
        axes = {name: {0: "n"} for name in ("bs", "ue", "los", "size", "known", "clock", "downtilt")}
        axes |= {"features": {0: "paths"}, "owner": {0: "paths"}}
        write_onnx(EnvironmentGraph(model, self.takes), place, EMBEDDED, here / "epnn.onnx", axes)
        heads = self.heads()
        tasks = {name.split("-")[0] for name in heads}
        for name, head in heads.items():
            write_onnx(head, {"embedding": z}, {"answer": {0: "n"}}, here / "heads" / f"{name}.onnx", EMBEDDED)
        forecaster = None if self.forecaster is None else write_forecaster(self.forecaster, here / "forecaster.onnx")
        names = ["cfenn", "epnn", "crnn", *(["forecaster"] if forecaster else [])]
        if self.int8:
            for name in names:
                quantise(here / f"{name}.onnx", here / "int8" / f"{name}.onnx")
        copy_runner(here)
        if self.site is not None:
            arrays: dict[str, Any] = _views(self.site)
            np.savez_compressed(here / "site.npz", **arrays)
        card = card_of(model, self.name, self.takes)
        return card | {
            "remarks": [*card["remarks"], *(() if self.site is None else self.site.remarks())],
            "rays": bool(model.preset.rays), "site": None if self.site is None else self.site.area.name,
            "attribution": "" if self.site is None else self.site.area.attribution,
            "stations": [] if self.site is None else [station.name for station in self.site.stations],
            "heads": list(heads), "tasks": {name: {"form": TASKS[name].form} for name in sorted(tasks)},
            "forecaster": forecaster, "int8": names if self.int8 else [],
            "megabytes": {str(p.relative_to(here)): round(p.stat().st_size / 1e6, 3)
                          for p in sorted(here.rglob("*.onnx")) if p.parent.name != "heads"},
        }  # fmt: skip

    @torch.inference_mode()
    def _parity(self, runner: Any) -> dict[str, Any]:
        """Largest differences from torch: absolute for embeddings, of the largest output for the rest."""
        found: dict[str, float] = {}
        links = 0

        def note(name: str, here: NDArray[Any], there: Tensor, scale: float = 1.0) -> None:
            gap = np.abs(here - there.numpy())
            found[name] = max(
                found.get(name, 0.0), float(gap.max(initial=0)) / scale if np.isfinite(gap).all() else np.inf
            )

        heads = self.heads()
        for here, csi, ue, env, station in self._cases(runner):
            links += len(csi)
            if self.model.preset.radios == "any":  # of weights of one radio the clock is searched for, not told
                env = env.without("carrier").seen_by(self.takes)
            embedded, channel = self._embedded(runner, csi)
            place = self.model.encode_environment(env)
            note("cfenn", embedded, channel)
            note("epnn", runner.embed(here, len(ue), ue), place)
            seen = np.arange(len(ue)) % 2
            known = replace(env, los=seen)
            note("epnn", runner.embed(here, len(ue), ue, seen), self.model.encode_environment(known))
            note("epnn", runner.embed(here, len(ue), None, seen), self.model.encode_environment(known.without("ue")))
            again = self.model.reconstruct_channel(channel, self.takes)
            note("crnn", runner.reconstruct(channel.numpy()), again, float(again.abs().max()))
            for name, head in heads.items():
                if name.endswith(f"-{station}"):
                    z = channel if "-channel-" in name else place
                    said = head(z)
                    note(name, runner.run(f"heads/{name}", {"embedding": z.numpy()})[0], said, float(said.abs().max()))
        if self.forecaster is not None:
            found |= self._forecaster_parity(runner)
        return {"tolerance": TOLERANCE, "links": links, "largest": found}

    def _embedded(self, runner: Any, csi: Tensor) -> tuple[NDArray[np.float32], Tensor]:
        """Embeddings of CSI [N, ports, subcarriers] by the runner, and by torch: [N, E] both.

        Where two elevations take in as much, or two peaks may be the first path, rounding alone decides between them:
        what differs is asked again with a little noise.
        """
        here, there = runner.encode(csi.numpy()), self.model.encode_channel(csi, self.takes)
        odd = np.flatnonzero(~(np.abs(here - there.numpy()).max(1) <= TOLERANCE))
        if len(odd):
            noise = torch.randn(csi[odd].shape, dtype=csi.dtype, generator=torch.Generator().manual_seed(0))
            again = csi[odd] * (1 + 1e-3 * noise)
            here[odd], there[odd] = runner.encode(again.numpy()), self.model.encode_channel(again, self.takes)
        return here, there

    def _cases(self, runner: Any) -> Iterator[tuple[Any, Tensor, NDArray[np.float32], Environment, str]]:
        """Views with CSI, positions in the view's site and the same as an environment, and the station's name."""
        if self.site is not None:
            for number, station in enumerate(self.site.stations):
                links = self._links(station.name)
                links = links.select(np.arange(min(LINKS, len(links))))
                ue = links.ue
                if not self.site.traced:  # channels of elsewhere, and outdoor positions of this place
                    ue = self.site.area.drop(len(links), 1.5, np.random.default_rng(number)).astype(np.float32)
                yield (
                    runner.views[number],
                    batch_of(links, self.takes).csi,
                    ue,
                    view(self.site, number).environment(ue),
                    station.name,
                )
            return
        from uniair.edge.runner import View

        for number, links in enumerate(Store(SAMPLE)[:3]):
            links = links.select(np.flatnonzero((links.bs == links.bs[0]).all(1))[:LINKS])
            batch = batch_of(varied(links, number), self.takes)
            env = batch.environment.without("los")
            yield View(env.map[0].numpy(), env.bs[0].numpy(), float(env.size[0])), batch.csi, env.ue.numpy(), env, ""

    def _links(self, station: str) -> Links:
        """A station's links, or packaged ones where the site was made of measurements alone."""
        assert self.site is not None
        if not self.site.traced:
            return Store(SAMPLE)[0]
        name, areas = f"{self.site.area.name}/{station}", self.site.links.areas
        if name not in areas:
            raise InputError(f"{self.site.folder}: no links of {name} to compare answers on; run uniair site again")
        return self.site.links[areas.index(name)]

    def _forecaster_parity(self, runner: Any) -> dict[str, float]:
        """Of a stream of seeded steps, some of them lost, and of the same steps at once."""
        assert self.forecaster is not None
        steps = seeded_steps(self.forecaster, 2 * self.forecaster.preset.context)
        said = self.forecaster(steps)
        start = {name: values.numpy() for name, values in ForecastGraph(self.forecaster).start().items()}
        feed = {name: values.numpy() for name, values in steps.items()}
        logits, power, _, *_ = runner.run("forecaster", {**start, **feed})
        gaps = [np.abs(logits - said.logits.numpy()).max() / float(said.logits.abs().max().clamp_min(1e-9)),
                np.abs(power - said.power.numpy()).max() / float(said.power.abs().max())]  # fmt: skip
        state, one = start, []
        for t in range(len(steps["beam"][0])):
            out = runner.run("forecaster", {**state, **{name: values[:, t : t + 1] for name, values in feed.items()}})
            state = dict(zip(STATE, out[3:], strict=True))
            one.append(np.abs(out[0][:, 0] - logits[:, t]).max() / max(float(np.abs(logits).max()), 1e-9))
        return {"forecaster, window": float(np.max(gaps)), "forecaster, step by step": float(np.max(one))}


def card_of(model: UniversalModel, name: str, radio: Radio) -> dict[str, Any]:
    """What a runner has to know of a model and its radio."""
    return {
        "format": FORMAT, "uniair": __version__, "model": name, "weights": digest(model), "radio": radio.to_json(),
        "radio_text": str(radio), "remarks": list(model.remarks(radio)), "csi": list(radio.shape),
        "ue_antennas": radio.ue.ports, "power_tells": radio.calibrated and radio.isotropic,
        "embedding": model.preset.embedding, "radios": model.preset.radios, "temperature": model.temperature,
        "stations": [], "heads": [], "forecaster": None,
    }  # fmt: skip


def copy_runner(here: Path, feedback: bool = False) -> None:
    """The runner as a Python package.

    Args:
        feedback: of a half that sends or restores feedback.
    """
    folder = here / RUNNER
    folder.mkdir()
    names: dict[str, tuple[str, ...]] = {"runner": ("NextBeams", "Runner", "Stream", "View")}
    names |= {"feedback_runner": ("FeedbackRunner",)} if feedback else {}
    for name in (*names, "candidate_paths", "rays", "receiver"):
        shutil.copyfile(Path(__file__).parent / f"{name}.py", folder / f"{name}.py")
    lines = [f"from .{name} import {', '.join(held)}" for name, held in sorted(names.items())]
    every = ", ".join(f'"{name}"' for name in sorted(one for held in names.values() for one in held))
    write_text(folder / "__init__.py", '"""Runs this package: needs NumPy and ONNX Runtime alone."""\n\n'
               + "\n".join(lines) + f"\n\n__all__ = [{every}]\n")  # fmt: skip


def _some_code(model: UniversalModel) -> Tensor:
    return torch.nn.functional.normalize(torch.ones(2, model.preset.embedding), dim=-1)


def write_channel(model: UniversalModel, radio: Radio, here: Path) -> None:
    """`cfenn.onnx`, and `radio.npy` where the clock starts at the first path, which the runner looks for."""
    graph = ChannelGraph(model, radio)
    csi = {"csi": torch.randn(2, 2, *radio.shape, generator=torch.Generator().manual_seed(0))}
    csi |= {"level": torch.zeros(2)} if graph.reads_level else {}
    write_onnx(graph, csi, EMBEDDED, here / "cfenn.onnx", {name: {0: "n"} for name in csi})
    if radio.clock == "first_path":
        np.save(here / "radio.npy", filters(radio, 32, 64).beams.numpy())


def write_crnn(model: UniversalModel, radio: Radio, here: Path) -> None:
    """`crnn.onnx`."""
    graph = ReconstructionGraph(model, radio)
    write_onnx(graph, {"embedding": _some_code(model)}, {"csi": {0: "n"}}, here / "crnn.onnx", EMBEDDED)


def varied(links: Links, number: int) -> Links:
    """Links of one area with what the packaged ones lack, of no meaning but to compute with: higher stations, buildings
    of all heights, some of them not known, and paths with all polarisations.
    """
    block = 4.0 + 3 * ((5 * np.arange(64) + number) % 11)
    block[number::7] = np.inf
    cells = np.kron(block.reshape(8, 8), np.ones([side // 8 for side in links.maps.shape[1:]]))
    gain = links.paths.gain
    return replace(
        links, maps=np.where(links.maps > 0, cells, 0).astype(np.float32),
        bs=links.bs + np.array([0, 0, 12 * number], np.float32),
        paths=replace(links.paths, cross=np.stack([0.2 * gain, 0.1j * gain, -gain], 1).astype(np.complex64)),
    )  # fmt: skip


def write_onnx(
    graph: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Mapping[int, str]],
    path: Path,
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    """Traces a module on example inputs into an ONNX file.

    Args:
        outputs, axes: free axes of each output and input.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # TorchScript's exporter: torch.export's needs onnxscript and a minute, and its graphs can't be quantised
        warnings.simplefilter("ignore")
        exporter: Any = torch.onnx
        exporter.register_custom_op_symbolic("aten::hypot", _hypot, OPSET)
        torch.onnx.export(
            graph.eval(), tuple(inputs.values()), str(path), dynamo=False, opset_version=OPSET,
            input_names=list(inputs), output_names=list(outputs), dynamic_axes={**axes, **outputs},
        )  # fmt: skip


def _hypot(graph: Any, x: Any, y: Any) -> Any:
    return graph.op("Sqrt", graph.op("Add", graph.op("Mul", x, x), graph.op("Mul", y, y)))


def write_forecaster(model: WMLM, path: Path) -> dict[str, Any]:
    """Writes the streaming forecaster; returns what a runner has to know of it.

    Raises:
        InputError: see `ForecastGraph`.
    """
    graph, preset = ForecastGraph(model), model.preset
    heard = seeded_steps(model, 3)
    inputs = {name: heard[name].repeat(2, *[1] * (heard[name].ndim - 1)) for name in preset.modalities}
    outputs = {name: {0: "n", 1: "t"} for name in ("logits", "power", "los")} | {f"next_{s}": {0: "n"} for s in STATE}
    axes: dict[str, dict[int, str]] = {name: {0: "n", 1: "t"} for name in inputs} | {name: {0: "n"} for name in STATE}
    if "lidar" in axes:
        axes["lidar"][2] = "points"
    outputs = {("power_db" if name == "power" else name): free for name, free in outputs.items()}
    write_onnx(graph, {**graph.start(2), **inputs}, outputs, path, axes)
    shapes = {name: list(values.shape[2:]) for name, values in inputs.items()}
    if "lidar" in shapes:
        shapes["lidar"][0] = -1
    return {
        "beams": preset.beams, "past": preset.past, "future": preset.future, "inputs": shapes,
        "cache": [preset.blocks, 2, preset.heads, preset.context - 1, HEAD],
    }  # fmt: skip


def seeded_steps(model: WMLM, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Steps [1, count, ...] of every modality of a model, a fifth of the powers lost."""
    preset, draw = model.preset, torch.Generator().manual_seed(seed)
    power = torch.rand(1, count, preset.beams, generator=draw) + 0.01
    lost = torch.rand(1, count, generator=draw) < 0.2
    every = {
        "power": power.masked_fill(lost[..., None], torch.nan),
        "beam": power.argmax(2).masked_fill(lost, -1),
        "position": 20 * torch.randn(1, count, 4, generator=draw),
        "camera": torch.rand(1, count, 3, *preset.image, generator=draw),
        "lidar": 20 * torch.randn(1, count, 64, 3, generator=draw),
        "radar": 5 * torch.randn(1, count, *preset.cube, generator=draw),
    }
    return {name: values for name, values in every.items() if name in (*preset.modalities, "power", "beam")}


def _views(site: Site) -> dict[str, NDArray[Any]]:
    """Of each station: the map, the position and the size of the square in which its array lies along +x."""
    views = [view(site, i) for i in range(len(site.stations))]
    return {
        "maps": np.stack([one.map.numpy() for one in views]),
        "bs": np.stack([one.bs.numpy() for one in views]),
        "sizes": np.array([one.size for one in views], dtype=np.float32),
        "bearings": np.array([station.bearing for station in site.stations]),
        "side": np.array(site.area.size),
    }


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, moved onto it when the block ends well and removed when it does not.

    Raises:
        InputError: something other than a package is there.
    """
    if folder.exists() and not (folder.is_dir() and (_is_package(folder) or not any(folder.iterdir()))):
        raise InputError(f"{folder}: holds something other than an edge package; give another --to")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _is_package(folder: Path) -> bool:
    try:
        return str(json.loads((folder / CARD).read_text(encoding="utf-8"))["format"]).startswith("uniair-edge/")
    except (OSError, ValueError, KeyError, TypeError):
        return False
