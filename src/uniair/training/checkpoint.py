"""Weights and training state on disk: safetensors and JSON, never pickles."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.models.learned import Learned
from uniair.models.presets import Preset
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.releases.node import located
from uniair.training.distributed import whole

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MODEL_FORMAT = "uniair-model/2"  # the first one had no name, and no radio: paper 1's
# what the first version called it
RENAMED = {"antennas": "beams", "subcarriers": "delays", "corridor": "line_window"}
NOTES = ("format", "radio", "tower", "learned")  # beside the preset
STATE, FORMAT = "state.safetensors", "uniair-training/1"
Shape = TypeVar("Shape", Preset, ForecastPreset)


def save_model(model: UniversalModel | WMLM, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors`; what `load_model` and `load_forecaster` read.

    All processes gather what is split among them, the first one writes.
    """
    weights = {name: whole(value) for name, value in model.named_parameters()}
    if not dist.is_initialized() or dist.get_rank() == 0:
        write_text(folder / CONFIG, json.dumps(config_of(model), indent=1) + "\n")
        with atomic_path(folder / WEIGHTS) as temporary:
            save_file(weights, temporary)


def config_of(model: UniversalModel | WMLM) -> dict[str, Any]:
    """What stands beside a model's weights: its preset, and the radio that it knows or the towers that it reads."""
    config: dict[str, Any] = {"format": MODEL_FORMAT} | asdict(model.preset)
    if isinstance(model, UniversalModel):
        config["radio"] = model.radio.to_json()
        return config if model.learned is None else config | {"learned": model.learned.to_json()}
    return config | ({"tower": digest(model.tower)} if model.tower else {})


def load_model(folder: Path, expect: str | None = None) -> UniversalModel:
    """The model in a folder, in eval mode.

    Args:
        folder: or `registry:NAME@VERSION`.
        expect: name of the preset that the caller needs, if any.

    Raises:
        InputError: no checkpoint there, a broken one, one of another preset, or as `located`.
    """
    folder, release = located(folder)
    preset, notes = read_preset(folder, Preset, f"{folder} is not a checkpoint folder")
    if expect is not None and preset.name != expect:
        raise InputError(
            f"{folder}: a checkpoint of preset {preset.name!r}, not {expect!r}; give the folder of a {expect!r} run"
        )
    radio = Radio.from_json(notes.get("radio", {}), f"{folder / CONFIG}: radio")
    learned = Learned.from_json(notes["learned"], f"{folder / CONFIG}: learned") if "learned" in notes else None
    model = UniversalModel(preset, radio, learned)
    path, other = folder / WEIGHTS, f"another preset than {preset.name!r}"
    fill(dict(model.named_parameters()), read_tensors(path), path, other)
    if release is not None:
        release.require_weights(digest(model))
    return model.eval()


def read_preset(folder: Path, kind: type[Shape], advice: str) -> tuple[Shape, dict[str, Any]]:
    """The preset in a checkpoint folder's `config.json`, and what else is noted there, see `NOTES`.

    Args:
        advice: what to do where there is no checkpoint.

    Raises:
        InputError: no checkpoint there, or a config that is broken or of something else.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; {advice}")
    try:
        entries = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        notes = {name: entries.pop(name) for name in NOTES if name in entries}
        if notes.get("format", MODEL_FORMAT) != MODEL_FORMAT:
            raise InputError(f"{folder / CONFIG}: of format {notes['format']!r}, this version reads {MODEL_FORMAT!r}")
        entries = {RENAMED.get(name, name): value for name, value in entries.items()}
        if unknown := set(entries) - {f.name for f in fields(kind)}:
            raise InputError(f"{folder / CONFIG}: unknown entries {sorted(unknown)}; it is of something else")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        return kind(**getattr(kind, "OLDER", {}) | values), notes
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / CONFIG}: not a model's config ({error})") from error


def digest(model: nn.Module) -> str:
    """Tells the weights of one training run from another's: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for values in model.parameters():
        found.update(values.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def fill(named: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path, other: str) -> None:
    """Fills tensors from those of a file, whose names and shapes must fit exactly.

    Args:
        other: what the file's weights are of if they don't fit, for the message.

    Raises:
        InputError: of something else, or not finite.
    """
    if named.keys() != tensors.keys() or any(named[k].shape != v.shape for k, v in tensors.items()):
        odd = sorted(named.keys() ^ tensors.keys()) or [k for k, v in tensors.items() if named[k].shape != v.shape]
        raise InputError(
            f"{path}: weights of {other} (first difference: {odd[0]}); "
            "give the checkpoint that its config.json came with"
        )
    with torch.no_grad():
        for name, values in tensors.items():
            if not torch.isfinite(values).all():
                raise InputError(f"{path}: {name} holds NaN or infinite values; the checkpoint is damaged")
            named[name].copy_(_like(values, named[name]))


@torch.no_grad()
def begin_from(model: UniversalModel, other: UniversalModel) -> None:
    """Fills a model with the weights of one that reads less: what it reads beside them starts at 0.

    Raises:
        InputError: it reads more, or its layers are of other sizes.
    """
    have = dict(other.named_parameters())
    for name, values in model.named_parameters():
        if name not in have:
            continue
        old = have.pop(name)
        if old.ndim != values.ndim or any(a > b for a, b in zip(old.shape, values.shape, strict=True)):
            raise InputError(f"weights to begin from: {name} is {list(old.shape)}, here {list(values.shape)}")
        if old.shape != values.shape:
            values.zero_()
        values[tuple(slice(0, size) for size in old.shape)].copy_(old)
    if have:
        raise InputError(f"weights to begin from: nothing here is like {next(iter(have))}; give those of this preset")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file.

    Raises:
        InputError: missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error}); copy or train it again") from error


@dataclass
class State:
    """All that a run goes on from, as `state.safetensors` with a JSON header.

    Attributes:
        trained: parameters by name; split among processes or not.
        optimisers: of these.
        step: steps done.
        lowest: the best value of the figure that chooses parameters.
        best: parameters then.
    """

    trained: Mapping[str, Tensor]
    optimisers: Sequence[torch.optim.Optimizer]
    step: int = 0
    lowest: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, figures: Mapping[str, float], chooses: str | None) -> None:
        """Remembers the parameters where the figure that chooses is lower than ever."""
        if chooses is not None and figures[chooses] < self.lowest:
            self.lowest = figures[chooses]
            self.best = {name: value.detach().clone() for name, value in self.trained.items()}

    @torch.no_grad()
    def finish(self) -> None:
        """Puts the best parameters back, where some were chosen."""
        for name, value in self.best.items():
            self.trained[name].copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """`trained/…`, `best/…` and the optimisers' `moments/…` by name."""
        named = {f"trained/{name}": value for name, value in self.trained.items()}
        named |= {f"best/{name}": value for name, value in self.best.items()}
        names = {value: name for name, value in self.trained.items()}
        for parameter, moments in ((p, m) for optimiser in self.optimisers for p, m in optimiser.state.items()):
            named |= {f"moments/{names[parameter]}/{key}": value for key, value in moments.items()}
        return named

    def save(self, out: Path, settings: Mapping[str, Any], write: bool = True) -> None:
        """Replaces the state in `out` in one step.

        Args:
            write: False on all processes but one, which help to gather what is split.
        """
        gathered = {name: value for name, value in ((n, whole(v)) for n, v in self.tensors().items()) if write}
        if write:
            about = {"format": FORMAT, "step": self.step, "lowest": self.lowest, "settings": settings}
            with atomic_path(out / STATE) as temporary:
                save_file(gathered, temporary, {"uniair": json.dumps(about)})

    def load(self, out: Path, settings: Mapping[str, Any]) -> None:
        """Restores the state in `out`, where there is one.

        Raises:
            InputError: as `check_state`, or it is of another model.
        """
        about = check_state(out, settings)
        if about is None:
            return
        self.restore(read_tensors(out / STATE), out / STATE)
        self.step, self.lowest = int(about["step"]), float(about["lowest"])

    def restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Fills the parameters and moments from what `tensors` gave.

        Raises:
            InputError: they are of another model; `path` is named.
        """
        found: dict[str, dict[str, Tensor]] = {"trained": {}, "best": {}}
        for name, value in tensors.items():
            kind, rest = name.split("/", 1)
            found.setdefault(kind, {})[rest] = value
        fill(self.trained, found["trained"], path, "another model")
        self.best = {name: _like(value, self.trained[name]) for name, value in found["best"].items()}
        owner = {p: o for o in self.optimisers for group in o.param_groups for p in group["params"]}
        for name, value in found.get("moments", {}).items():
            of, key = name.rsplit("/", 1)
            parameter = self.trained[of]
            owner[parameter].state[parameter][key] = value if key == "step" else _like(value, parameter)


def check_state(out: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The header of the state in `out`; None where there is none.

    Raises:
        InputError: the state is damaged, of another version, or of a run with other settings.
    """
    path = next(iter(sorted(out.glob("step-*"))), out / STATE)  # folders of that name were an older format
    if not path.exists():
        return None
    about = {} if path.is_dir() else read_header(path, "remove it to start again")
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: the state of another version of uniair; remove it, or give another --out")
    if changed := differences(about["settings"], json.loads(json.dumps(settings))):
        raise InputError(f"{out}: holds a run with other settings ({', '.join(changed)}); give another --out")
    return about


def read_header(path: Path, advice: str) -> dict[str, Any]:
    """What is said about the tensors of a file that `uniair` wrote; empty where that is nothing.

    Raises:
        InputError: truncated or not safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {}).get("uniair", "{}")))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error}); {advice}") from error


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """Names of the settings in which two nested ones differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [name]
    keys = dict.fromkeys([*new, *old])
    return [found for key in keys for found in differences(old.get(key), new.get(key), f"{name}.{key}".lstrip("."))]


def _like(value: Tensor, other: Any) -> Tensor:
    """A whole tensor where another is: on its device, and split as it is."""
    value = value.to(other.device)
    if hasattr(other, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        value = distribute_tensor(value, other.device_mesh, other.placements)
    return value
