"""Multi-modal foundation models of the wireless air interface.

import uniair

model = uniair.load("small")
z = model.encode_channel(csi)
p = uniair.zero_shot.los(model, csi, uniair.Environment(map=..., bs=..., ue=..., size=...))
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniair.errors import InputError

if TYPE_CHECKING:
    from uniair.data.importing import import_data
    from uniair.environment import Environment
    from uniair.explanation.calibrated import Calibration
    from uniair.explanation.explain import explain
    from uniair.link_budget import excess_loss
    from uniair.models.universal import RadioWarning, UniversalModel
    from uniair.radio import OFDM, ULA, UPA, Array, Radio, Subcarriers
    from uniair.tasks import zero_shot
    from uniair.tasks.asking import Assistant

__version__ = "0.1.0"
__all__ = [
    "OFDM", "ULA", "UPA", "Array", "Environment", "InputError", "Radio", "RadioWarning", "Subcarriers", "build",
    "excess_loss", "explain", "import_data", "load", "load_calibration", "load_instruct", "zero_shot",
]  # fmt: skip


def load(name: str) -> UniversalModel:
    """A trained model in eval mode: a packaged preset's name (`small`), a folder, or `registry:NAME@VERSION`.

    Raises:
        InputError: none of these; or the checkpoint is broken.
    """
    from uniair.training.checkpoint import load_model

    folder = _weights(name)
    return load_model(folder, expect=None if folder == Path(name) else name)


def load_calibration(name: str, model: UniversalModel) -> Calibration | None:
    """What validation places taught of a model's answers, where that is kept beside its weights; else None.

    Args:
        name: as for `load`.
        model: that was loaded.

    Raises:
        InputError: neither a packaged model nor a checkpoint folder; a calibration of other weights, or a broken one.
    """
    from uniair.explanation.calibrated import FILE, Calibration
    from uniair.releases.node import located
    from uniair.training.checkpoint import digest

    path = located(_weights(name))[0] / FILE
    return Calibration.read(path, digest(model)) if path.exists() else None


def _weights(name: str) -> Path:
    """The folder of a packaged preset, a checkpoint folder, or a release's name.

    Raises:
        InputError: none of these.
    """
    from uniair.models.presets import PRESETS
    from uniair.releases.release import PREFIX

    packaged = Path(__file__).parent / "weights" / name
    if name in PRESETS and packaged.is_dir():
        return packaged
    if not name.startswith(PREFIX) and not Path(name).is_dir():
        have = ", ".join(preset for preset in PRESETS if (packaged.parent / preset).is_dir())
        raise InputError(f"{name}: neither a packaged model ({have}) nor a checkpoint folder")
    return Path(name)


def load_instruct(name: str = "instruct", model: str = "small", backbone: str | None = None) -> Assistant:
    """AI²MMUM that is asked in plain English: `load_instruct().ask("Where is this user?", csi=csi)`.

    Args:
        name: `instruct`, the packaged one, a folder that `uniair instruct train` wrote, or `registry:NAME@VERSION`.
        model: its towers, as for `load`.
        backbone: where its language model lies here, if not where it lay in training.

    Raises:
        InputError: no such folder, a broken one, other towers, or the language model is missing.
    """
    from uniair.training.instruction import folder_of, load_assistant

    return load_assistant(folder_of(name), load(model), backbone)


def build(name: str) -> UniversalModel:
    """An untrained model of a preset: `base`, `small` or `tiny`.

    Raises:
        InputError: no such preset.
    """
    from uniair.models.presets import preset
    from uniair.models.universal import UniversalModel

    return UniversalModel(preset(name)).eval()


# torch takes seconds to import; nothing that can do without it should wait
LAZY = {
    "Environment": "environment",
    "excess_loss": "link_budget",
    "explain": "explanation.explain",
    "import_data": "data.importing",
    "RadioWarning": "models.universal",
    **dict.fromkeys(("OFDM", "ULA", "UPA", "Array", "Radio", "Subcarriers"), "radio"),
}


def __getattr__(name: str) -> Any:
    if name == "zero_shot":
        return import_module("uniair.tasks.zero_shot")
    if name in LAZY:
        return getattr(import_module(f"uniair.{LAZY[name]}"), name)
    raise AttributeError(f"module 'uniair' has no attribute {name!r}")
