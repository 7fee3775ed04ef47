"""A forecaster that answers step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.data.drives.session_log import beams_of, goes_on, time_of
from uniair.errors import InputError
from uniair.models.forecast import WMLM, State
from uniair.models.sight_loss import lost_within


@dataclass(frozen=True)
class NextBeams:
    """The answer to one step.

    Attributes:
        beams: int64 [F] likeliest best beam of each of the next F steps.
        probability: float32 [F, B] of every beam.
        power: float32 [F, B] forecast power, linear, in the unit of what was measured.
        los: probability that BS and UE see each other now; 0.5 of a model that was trained without such labels.
        position: float32 [F, 2] where the UE will be, metres across and along the site's frame; None of a model that
            was not trained to say so.
        lost: float32 [H] probability that sight is lost within 1 … H steps, if it is there now; None as `position`.
        begins: whether no step before this one counts: it is the first, or the first after a gap in the times.
    """

    beams: NDArray[np.int64]
    probability: NDArray[np.float32]
    power: NDArray[np.float32]
    los: float
    position: NDArray[np.float32] | None = None
    lost: NDArray[np.float32] | None = None
    begins: bool = False


class Stream:
    """Takes one step after another and says the next beams; a step costs the same however long the stream is.

    Args:
        model: in eval mode.
    """

    def __init__(self, model: WMLM) -> None:
        self.model = model.eval()
        self._state: State | None = None
        self._place: NDArray[np.float64] | None = None
        self._times: deque[float] = deque(maxlen=model.preset.context)  # none of steps that have no time
        self._heard: deque[dict[str, Tensor]] = deque(maxlen=model.preset.context)

    def push(self, step: Mapping[str, Any]) -> NextBeams:
        """The next beams after one more step.

        After a gap in the times (`session_log.goes_on`), or where some steps have a time and others none, the stream
        begins anew, and the answer says so.

        Args:
            step: any of `power` [B], linear; `beam`; `position` [2], metres across and along the site's frame;
                `camera` [3, H, W] from 0 to 1; `lidar` [P, 3]; `radar`; `csi` complex [32, 64]. What is absent, or NaN,
                is missing. An empty step says that nothing was measured. `time`, s, may stand beside them.

        Raises:
            InputError: a modality that the model does not have, or of another shape; a time before that of the last.
                Nothing of such a step is taken.
        """
        time, place = time_of(step, self._times[-1] if self._times else None), _place(step)
        goes = bool(self._times) == (time is not None) and (time is None or goes_on(self._times, time))
        begins = not self._heard or not goes
        steps = self._checked(step, place, None if begins else self._place)
        if begins:
            self.reset()
        with torch.inference_mode():
            said, state = self.model.advance(steps, self._state)
            logits, level = said.logits[0, -1, 1:], said.power[0, -1, 1:]
            probability = torch.softmax(logits, dim=-1)
        self._state, self._place = state, place
        if time is not None:
            self._times.append(time)
        self._heard.append(steps)
        return NextBeams(
            logits.argmax(-1).numpy(), probability.numpy(), (10 ** (level / 10)).numpy().astype(np.float32),
            float(torch.sigmoid(said.los[0, -1])),
            None if said.position is None else said.position[0, -1].numpy(),
            None if said.hazard is None else lost_within(said.hazard[0, -1]).numpy(),
            begins,
        )  # fmt: skip

    def answer_by(self, model: WMLM) -> None:
        """Goes on with another model of the same shape, which hears the last `context` steps anew."""
        self.model, self._state = model.eval(), None
        with torch.inference_mode():
            for steps in self._heard:
                _, self._state = model.advance(steps, self._state)

    def reset(self) -> None:
        """Forgets the steps so far: another vehicle."""
        self._state, self._place = None, None
        self._times.clear()
        self._heard.clear()

    def _checked(
        self, step: Mapping[str, Any], place: NDArray[np.float64] | None, last: NDArray[np.float64] | None
    ) -> dict[str, Tensor]:
        """The step as the model takes it; `last`: where the UE was before, metres across and along."""
        preset = self.model.preset
        if odd := set(step) - set(preset.modalities) - {"power", "beam", "time"}:
            raise InputError(f"step with {min(odd)}: the model has {', '.join(preset.modalities)}")
        power, beam = beams_of(step, preset.beams)
        steps: dict[str, Any] = {"power": power.astype(np.float32), "beam": np.int64(beam)}
        steps |= {name: np.asarray(step[name]) for name in set(step) - {"power", "beam", "time"}}
        if "position" in preset.modalities:
            here = np.full(2, np.nan) if place is None else place
            steps["position"] = np.concatenate([here, np.nan_to_num(here - (here if last is None else last))])
        shapes = {"camera": (3, *preset.image), "radar": preset.cube, "lidar": (None, 3), "csi": (None, None)}
        for name, want in shapes.items():
            if name in steps and (
                len(steps[name].shape) != len(want)
                or any(w is not None and w != s for w, s in zip(want, steps[name].shape, strict=True))
            ):
                raise InputError(f"{name} of shape {steps[name].shape}: give {want}")
        kinds = {"beam": np.int64, "csi": np.complex64}
        return {
            name: torch.from_numpy(np.asarray(values, dtype=kinds.get(name, np.float32))[None, None])
            for name, values in steps.items()
        }


def _place(step: Mapping[str, Any]) -> NDArray[np.float64] | None:
    """Where the UE is, [2] m; None where that is not known."""
    place = np.asarray(step.get("position", (np.nan, np.nan)), dtype=np.float64)
    if place.shape != (2,):
        raise InputError(f"position of shape {place.shape}: give metres across and along, [2]")
    return place if np.isfinite(place).all() else None
