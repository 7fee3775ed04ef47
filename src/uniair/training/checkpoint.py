"""Weights and training state on disk: safetensors and JSON, never pickles."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from uniair.errors import InputError
from uniair.files import atomic_path, write_text
from uniair.models.presets import Preset
from uniair.models.universal import UniversalModel

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_model(model: UniversalModel, folder: Path) -> None:
    """Writes `config.json` and `model.safetensors`; what `load_model` reads."""
    write_text(folder / CONFIG, json.dumps(asdict(model.preset), indent=1) + "\n")
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in unique(model).items()}, temporary)


def unique(model: UniversalModel) -> dict[str, Tensor]:
    """The parameters by name, shared ones once."""
    return dict(model.named_parameters())


def load_model(folder: Path, expect: str | None = None) -> UniversalModel:
    """The model in a folder, in eval mode.

    Args:
        expect: name of the preset that the caller needs, if any.

    Raises:
        InputError: no checkpoint there, a broken one, or one of another preset.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; {folder} is not a checkpoint folder")
    try:
        entries = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        known = {f.name for f in fields(Preset)}
        if unknown := set(entries) - known:
            raise InputError(f"{folder / CONFIG}: unknown entries {sorted(unknown)}; it is from another version")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        preset = Preset(**values)
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder / CONFIG}: not a model's config ({error})") from error
    if expect is not None and preset.name != expect:
        raise InputError(
            f"{folder}: a checkpoint of preset {preset.name!r}, not {expect!r}; give the folder of a {expect!r} run"
        )
    model = UniversalModel(preset)
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def digest(model: UniversalModel) -> str:
    """Tells the weights of one training run from another's: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for values in model.parameters():
        found.update(values.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def load_weights(model: UniversalModel, path: Path) -> None:
    """Fills the model from a safetensors file whose names and shapes must fit exactly."""
    fill(unique(model), path, f"another preset than {model.preset.name!r}")


def fill(named: Mapping[str, Tensor], path: Path, other: str) -> None:
    """Fills tensors from a safetensors file whose names and shapes must fit exactly.

    Args:
        other: what the file's weights are of if they don't fit, for the message.

    Raises:
        InputError: missing, broken, of something else, or not finite.
    """
    tensors = read_tensors(path)
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
            named[name].copy_(values)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file.

    Raises:
        InputError: missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error}); copy or train it again") from error


def save_state(
    named: Mapping[str, Tensor],
    optimisers: Sequence[torch.optim.Optimizer],
    step: int,
    settings: Any,
    out: Path,
    config: Any = None,
) -> None:
    """Everything that resuming needs, as folder `out/step-N`; older ones go once it is whole.

    Args:
        named: what is trained.
        config: written as `config.json` beside it, so that the folder is a checkpoint too.
    """
    final, part = out / f"step-{step:07d}", out / ".step.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    if config is not None:
        write_text(part / CONFIG, json.dumps(config, indent=1) + "\n")
    save_file({k: v.detach().cpu().contiguous() for k, v in named.items()}, part / WEIGHTS)
    names = {p: name for name, p in named.items()}
    moments = {
        f"{names[p]}/{key}": value.detach().cpu().contiguous()
        for optimiser in optimisers
        for p, state in optimiser.state.items()
        for key, value in state.items()
    }
    save_file(moments, part / "optimizer.safetensors")
    write_text(part / "state.json", json.dumps({"step": step, "settings": settings}, indent=1))
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)
    for old in sorted(out.glob("step-*"))[:-1]:
        shutil.rmtree(old)


def load_state(
    named: Mapping[str, Tensor], optimisers: Sequence[torch.optim.Optimizer], settings: Any, out: Path
) -> int:
    """Restores the newest state in `out`; returns its step, or 0 where there is none.

    Raises:
        InputError: the state is from a run with other settings, or broken.
    """
    states = sorted(out.glob("step-*"))
    if not states:
        return 0
    folder = states[-1]
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    if state["settings"] != settings:
        changed = [k for k in settings if state["settings"].get(k) != settings[k]]
        raise InputError(f"{out}: holds a run with other settings ({', '.join(changed)}); give another --out")
    fill(named, folder / WEIGHTS, "another run")
    moments = read_tensors(folder / "optimizer.safetensors")
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in moments.items():
        name, part = key.rsplit("/", 1)
        found.setdefault(name, {})[part] = value
    names = {p: name for name, p in named.items()}
    for optimiser in optimisers:
        for parameter in (p for group in optimiser.param_groups for p in group["params"]):
            if parameter in names and names[parameter] in found:
                optimiser.state[parameter] = {
                    part: value if part == "step" else value.to(parameter.device)
                    for part, value in found[names[parameter]].items()
                }
    return int(state["step"])
