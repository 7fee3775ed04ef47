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
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.forecast import ForecastPreset
from uniair.models.presets import Preset
from uniair.models.universal import UniversalModel
from uniair.training.distributed import whole

WEIGHTS, CONFIG = "model.safetensors", "config.json"
STATE, FORMAT = "state.safetensors", "uniair-training/1"
Shape = TypeVar("Shape", Preset, ForecastPreset)


def save_model(model: UniversalModel, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors`; what `load_model` reads."""
    write_text(folder / CONFIG, json.dumps(asdict(model.preset), indent=1) + "\n")
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({k: whole(v) for k, v in model.named_parameters()}, temporary)


def load_model(folder: Path, expect: str | None = None) -> UniversalModel:
    """The model in a folder, in eval mode.

    Args:
        expect: name of the preset that the caller needs, if any.

    Raises:
        InputError: no checkpoint there, a broken one, or one of another preset.
    """
    preset = read_preset(folder, Preset, f"{folder} is not a checkpoint folder")
    if expect is not None and preset.name != expect:
        raise InputError(
            f"{folder}: a checkpoint of preset {preset.name!r}, not {expect!r}; give the folder of a {expect!r} run"
        )
    model = UniversalModel(preset)
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def read_preset(folder: Path, kind: type[Shape], advice: str) -> Shape:
    """The preset in a checkpoint folder's `config.json`.

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
        if unknown := set(entries) - {f.name for f in fields(kind)}:
            raise InputError(f"{folder / CONFIG}: unknown entries {sorted(unknown)}; it is of something else")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        return kind(**values)
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / CONFIG}: not a model's config ({error})") from error


def digest(model: UniversalModel) -> str:
    """Tells the weights of one training run from another's: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for values in model.parameters():
        found.update(values.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def load_weights(model: UniversalModel, path: Path) -> None:
    """Fills the model from a safetensors file whose names and shapes must fit exactly."""
    fill(dict(model.named_parameters()), read_tensors(path), path, f"another preset than {model.preset.name!r}")


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

    def save(self, out: Path, settings: Mapping[str, Any], write: bool = True) -> None:
        """Replaces the state in `out` in one step.

        Args:
            write: False on all processes but one, which help to gather what is split.
        """
        named = {f"trained/{name}": value for name, value in self.trained.items()}
        named |= {f"best/{name}": value for name, value in self.best.items()}
        names = {value: name for name, value in self.trained.items()}
        for parameter, moments in ((p, m) for optimiser in self.optimisers for p, m in optimiser.state.items()):
            named |= {f"moments/{names[parameter]}/{key}": value for key, value in moments.items()}
        gathered = {name: value for name, value in ((n, whole(v)) for n, v in named.items()) if write}
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
        parts: dict[str, dict[str, Tensor]] = {"trained": {}, "best": {}, "moments": {}}
        for name, value in read_tensors(out / STATE).items():
            kind, rest = name.split("/", 1)
            parts[kind][rest] = value
        fill(self.trained, parts["trained"], out / STATE, "another model")
        self.best = {name: _like(value, self.trained[name]) for name, value in parts["best"].items()}
        moments: dict[str, dict[str, Tensor]] = {}
        for name, value in parts["moments"].items():
            parameter, key = name.rsplit("/", 1)
            like = value if key == "step" else _like(value, self.trained[parameter])
            moments.setdefault(parameter, {})[key] = like
        names = {value: name for name, value in self.trained.items()}
        for optimiser in self.optimisers:
            for p in (p for group in optimiser.param_groups for p in group["params"] if names[p] in moments):
                optimiser.state[p] = moments[names[p]]
        self.step, self.lowest = int(about["step"]), float(about["lowest"])


def check_state(out: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The header of the state in `out`; None where there is none.

    Raises:
        InputError: the state is damaged, of another version, or of a run with other settings.
    """
    path = out / STATE
    if old := next(iter(sorted(out.glob("step-*"))), None):
        raise InputError(f"{old}: the state of another version of uniair; remove it, or give another --out")
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
        about: dict[str, Any] = json.loads(header.get("uniair", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: truncated or not a training state ({error}); remove it to start again") from error
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: the state of another version of uniair; remove it, or give another --out")
    if changed := differences(about["settings"], json.loads(json.dumps(settings))):
        raise InputError(f"{out}: holds a run with other settings ({', '.join(changed)}); give another --out")
    return about


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
