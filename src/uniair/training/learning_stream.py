"""A stream of served beam forecasts that learns from the powers measured next (paper 3, Section IV, dynamic learning).

Three models forecast every step: the one that it began with, the one that answers, and a shadow that learns. A measured
step first scores what each of them had forecast for it, and is learned from afterwards. The shadow answers once it is
ahead of the answering model by a test; the model that it began with answers again once it is ahead of that one, by the
same test. So nothing answers that has not won, and what was begun with is always beside it.

The state is a function of the steps in their order and of the seed alone; no clock takes part.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uniair.data.drives.passages import Passages
from uniair.data.drives.sensing import Sensing, measured, stack
from uniair.data.drives.session_log import SessionLog, beams_of, time_of
from uniair.data.drives.windows import Frames
from uniair.errors import InputError
from uniair.evaluation.sequential_comparison import Lead
from uniair.models.forecast import WMLM
from uniair.tasks.beam_forecast import forecasts
from uniair.training.checkpoint import digest
from uniair.training.distributed import is_small, threads
from uniair.training.forecast_adaptation import Learner, OnlineLearning
from uniair.training.forecasting import tensors
from uniair.training.score_history import MODELS, ScoreHistory

KEPT = ("power", "beam", "position")  # modalities that a log remembers
BEGUN, ANSWERING, SHADOW = range(len(MODELS))
Event = tuple[str, Mapping[str, Any] | None]  # a session and one more step of it; None: it ended


@dataclass(frozen=True, kw_only=True)
class StreamLearning(OnlineLearning):
    """How a stream learns, and when another model answers.

    Attributes:
        level: share of the rounds at most in which a model that is never ahead wins.
        recent: measured steps that the test's stakes are learned from.
        span: measured steps of a round of the test.
        longest: steps of a session that are remembered, the last ones.
        sessions: that are open at a time; of more, the one that was silent longest ends.
    """

    level: float = 0.05
    recent: int = 400
    span: int = 3000
    longest: int = 256
    sessions: int = 256

    def __post_init__(self) -> None:
        self.lead()
        if min(self.every, self.memory, self.sessions, self.optimisation.steps) < 1:
            raise InputError(f"every {self.every}, memory {self.memory}, sessions {self.sessions}, "
                             f"{self.optimisation.steps} steps an update: give at least 1 each")  # fmt: skip
        if not 0 <= self.replay < 1:
            raise InputError(f"replay {self.replay}: give a share below 1")

    def lead(self) -> Lead:
        """A test that one model is ahead of another, before any step."""
        return Lead(self.level, self.recent, self.span)


@dataclass
class Counts:
    """What happened in a stream.

    Attributes:
        steps: taken.
        measured: of them, with a best beam.
        windows: from which all next steps were measured, and scored.
        unscored: windows of whose next steps at least one never came, or not without a gap, or without a beam.
        promotions, rollbacks: of the shadow, and to the model that it began with.
        restarts: of a shadow whose loss was no longer finite.
    """

    steps: int = 0
    measured: int = 0
    windows: int = 0
    unscored: int = 0
    promotions: int = 0
    rollbacks: int = 0
    restarts: int = 0


@dataclass
class LearningStream:
    """Takes steps, learns, and says which model answers.

    Attributes:
        begun: the model that it began with, in eval mode; never changed.
        config: how it learns.
        earlier: passages of earlier sites, of `config.length` + F steps, for replay.
        answering: the model that answers now.
        shadow: what learns.
        logs: of the sessions, by number; the last `config.memory` that ended and those that are open.
        open: session → number of its log, the one that was silent longest first.
        block: log and step of what came since the last update.
        fresh: measured steps that nothing was learned after.
        promotion, rollback: the bets that shadow, and what was begun with, are ahead of what answers.
        chain: digest of all steps so far, in their order.
    """

    begun: WMLM
    config: StreamLearning = StreamLearning()
    earlier: Passages | None = None
    answering: WMLM = field(init=False)
    shadow: Learner = field(init=False)
    logs: dict[int, SessionLog] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    block: list[tuple[int, int]] = field(default_factory=list)
    fresh: int = 0
    counts: Counts = field(default_factory=Counts)
    promotion: Lead = field(init=False)
    rollback: Lead = field(init=False)
    history: ScoreHistory = field(init=False)
    chain: str = ""

    def __post_init__(self) -> None:
        preset = self.begun.preset
        if odd := [name for name in preset.modalities if name not in KEPT]:
            raise InputError(
                f"a forecaster that reads {odd[0]}: learning on a stream remembers {', '.join(KEPT)} alone"
            )
        least = self.config.every + preset.past + preset.future
        if self.config.longest < least:
            raise InputError(f"longest {self.config.longest}: give {least} or more, every + past and future steps")
        self.answering = self.begun.eval()
        self.shadow = self._learner(self.begun)
        self.promotion, self.rollback = self.config.lead(), self.config.lead()
        self.history = ScoreHistory(preset.future, self.config.every)

    @property
    def promoted(self) -> bool:
        """Whether what answers is not what it began with."""
        return self.answering is not self.begun

    def push(self, session: str, step: Mapping[str, Any]) -> bool:
        """Takes one more step of a session; a name that is not known opens one. Whether an update followed.

        A step with a time after a gap, or without one where those before had times, begins the session anew.

        Args:
            step: any of `power` [B] linear, `beam`, `position` [2] and `time`, s, as for `serve.stream.Stream`.

        Raises:
            InputError: another codebook, powers that are not linear, a modality that the model does not have, a time
                before that of the last step. Nothing of such a step is taken.
        """
        preset = self.begun.preset
        if odd := set(step) - set(preset.modalities) - {"power", "beam", "time"}:
            raise InputError(f"step with {min(odd)}: the model has {', '.join(preset.modalities)}")
        number = self.open.get(session)
        log = None if number is None else self.logs[number]
        time = time_of(step, log.time[-1] if log is not None and log.timed else None)
        if log is None or not log.goes_on(time):
            new = SessionLog(max(self.logs, default=-1) + 1, time is not None)
            new.add(step, time, preset.beams, self.config.longest)
            self.end(session)
            self.logs[new.number] = log = new
        else:
            log.add(step, time, preset.beams, self.config.longest)
        self.open.pop(session, None)
        self.open[session] = log.number
        if len(self.open) > self.config.sessions:
            self.end(next(iter(self.open)))
        self.chain = chained(self.chain, session, step, preset.beams)
        self.counts.steps += 1
        known = log.beam[-1] >= 0
        self.counts.measured += known
        self.fresh += known
        self.block.append((log.number, log.steps - 1))
        if len(self.block) < self.config.every:
            return False
        self._update()
        return True

    def end(self, session: str) -> None:
        """Ends a session, where it is open: what was forecast for steps after its last stays unscored."""
        number = self.open.pop(session, None)
        if number is not None:
            self.logs[number].ended = True

    def settle(self) -> None:
        """Scores what was measured since the last update."""
        preset = self.begun.preset
        here = [(self.logs[number], step) for number, step in self.block]
        asked = [(log, step) for log, step in here if step - log.first + 1 >= preset.past]
        if asked:
            drives = {log.number: log.drive() for log, _ in asked}
            windows = [
                measured(drives[log.number], np.arange(step - preset.past + 1, step + 1) - log.first, np.eye(2),
                         Sensing())
                for log, step in asked
            ]  # fmt: skip
            for (log, step), said in zip(asked, self._said(tensors(stack(windows))), strict=True):
                log.said[step] = said
        for log, step in here:
            self._score(log, step)
        for log in self.logs.values():
            if log.ended:
                self.counts.unscored += len(log.said)
                log.said.clear()
        self.block.clear()

    def resume(self, events: Iterator[Event]) -> None:
        """Passes over the steps that were taken before, as `events` has them.

        Raises:
            InputError: they are others.
        """
        chain, taken = "", 0
        while taken < self.counts.steps:
            session, step = next(events, ("", None))
            if step is None and not session:
                break
            if step is not None:
                chain, taken = chained(chain, session, step, self.begun.preset.beams), taken + 1
        if chain != self.chain:
            raise InputError(f"the state has learned from {self.counts.steps:,} steps that are not the first of these; "
                             "give the drives that it learned from, or another state")  # fmt: skip

    def status(self) -> dict[str, Any]:
        """What answers, its digest, how it compares with the others, all and lately, and what happened."""
        return {
            "answers": "learned" if self.promoted else "begun", "begun": digest(self.begun),
            "answering": digest(self.answering), **vars(self.counts), "updates": self.shadow.updates,
            "level": self.config.level,
            "evidence": {"promotion": self.promotion.wealth, "rollback": self.rollback.wealth},
            "behind": self.history.behind(), "all": self.history.figures(), "recent": self.history.recent(),
        }  # fmt: skip

    def _update(self) -> None:
        self.settle()
        self._decide()
        if self.fresh >= self.config.every:
            self._learn()
        ended = [number for number, log in self.logs.items() if log.ended]
        useless = [n for n in ended if len(self.logs[n]) < 2 or max(self.logs[n].beam) < 0]
        for number in (*useless, *[n for n in ended if n not in useless][: -self.config.memory]):
            del self.logs[number]

    def _said(self, steps: Mapping[str, Tensor]) -> NDArray[np.int64]:
        """The beams [N, models, F] that each model forecasts after windows of past steps."""
        out: list[Tensor] = []
        with threads(1 if is_small(self.begun) else None):
            for model in (self.begun, self.answering, self.shadow.model):
                known = bool(out) and model is self.begun
                said = out[0] if known else forecasts(model, steps, self.begun.preset.past).logits[:, 1:].argmax(-1)
                out.append(said)
        return torch.stack(out, dim=1).numpy()

    def _score(self, log: SessionLog, step: int) -> None:
        """Compares a step with what was forecast for it one to F steps before."""
        future, truth = self.begun.preset.future, log.beam_at(step)
        hits = np.full((len(MODELS), future), -1, dtype=np.int64)
        for ahead in range(1, future + 1):
            said = log.said.get(step - ahead)
            if said is not None and truth >= 0:
                hits[:, ahead - 1] = said[:, ahead - 1] == truth
        if log.said.pop(step - future, None) is not None:
            complete = min(log.beam_at(step - later) for later in range(future)) >= 0
            self.counts.windows += complete
            self.counts.unscored += not complete
        known = hits[0] >= 0
        self.history.add(log.took(step), hits, self.counts.promotions if self.promoted else 0)
        # what a model was ahead by that has been replaced since says nothing of those that are compared now
        known &= step - np.arange(1, future + 1) >= log.replaced
        if known.any():
            # of a step, whose outcome none of these forecasts knew: so the differences may be bet on in this order
            right = hits[:, known].mean(1)
            self.promotion.take(float(right[SHADOW] - right[ANSWERING]))
            if self.promoted:
                self.rollback.take(float(right[BEGUN] - right[ANSWERING]))

    def _decide(self) -> None:
        if self.rollback.won:  # before a promotion: to be ahead of what fell behind is no merit
            self.answering = self.begun
            self.shadow = self._learner(self.begun)
            self.counts.rollbacks += 1
        elif self.promotion.won:
            self.answering = copy.deepcopy(self.shadow.model).eval().requires_grad_(False)  # type: ignore[assignment]
            self.counts.promotions += 1
        else:
            return
        self.promotion, self.rollback = self.promotion.anew(), self.rollback.anew()
        self._replaced()

    def _replaced(self) -> None:
        """Notes that what is not scored yet was forecast by others than those that are compared from now on."""
        for log in self.logs.values():
            log.replaced = log.steps

    def _learn(self) -> None:
        drives = [log.drive() for log in self.logs.values()]
        try:
            self.shadow.update(drives, FRAMES)
        except InputError:  # a loss that is not finite
            self.shadow = self._learner(self.answering)
            self.promotion = self.promotion.anew()
            self._replaced()
            self.counts.restarts += 1
        self.fresh = 0

    def _learner(self, model: WMLM) -> Learner:
        """A shadow that begins from a model."""
        made = getattr(self, "shadow", None)
        return Learner(copy.deepcopy(model), self.config, self.begun.preset.future, self.earlier,
                       updates=0 if made is None else made.updates + 1)  # fmt: skip


FRAMES: Frames = {"stream": np.eye(2)}  # the places of a session are in the site's frame already


def chained(chain: str, session: str, step: Mapping[str, Any], beams: int) -> str:
    """Digest of the steps before, and of one more."""
    power, beam = beams_of(step, beams)
    place = np.asarray(step.get("position", ()) if step.get("position") is not None else (), np.float64)
    found = hashlib.sha256(f"{chain} {session} {step.get('time')} {beam} {step.get('beam')} ".encode())
    found.update(power.tobytes())
    found.update(place.tobytes())
    return found.hexdigest()
