from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.data.drives.moving import drives, hidden

from uniair.data.drives.windows import cut
from uniair.errors import InputError
from uniair.evaluation.blockage_figures import (
    Watch,
    always,
    blocked_lately,
    power_drop,
    require_losses,
)
from uniair.training.forecasting import tensors


def watch(count: int = 4, ahead: int = 3) -> Watch:
    windows = cut([hidden(one) for one in drives(count)], past=5, future=ahead)
    return Watch.of(windows, tensors(windows.steps()), ahead)


def test_windows_begin_in_sight_and_know_what_comes() -> None:
    found = watch()
    los = [found.windows.drives[d].los for d in found.windows.drive]
    last = found.windows.start + 4
    assert all(one[t] == 1 for one, t in zip(los, last, strict=True))
    for row, one, t in zip(found.lost, los, last, strict=True):
        assert row.tolist() == [float((one[t + 1 : t + 1 + h] == 0).any()) for h in (1, 2, 3)]
    assert found.heard["power"].shape[1] == 5
    assert found.counts((1, 3)) == {"1": [int(found.lost[:, 0].sum()), len(last)],
                                    "3": [int(found.lost[:, 2].sum()), len(last)]}  # fmt: skip


def test_a_drop_in_power_announces_what_a_drop_precedes() -> None:
    found = watch()
    score = power_drop(found.heard, 3)
    figures = found.figures(score, found.alarms(score, (1, 3)))
    assert figures["1"]["auprc"] == figures["1"]["precision"] == figures["1"]["recall"] == 1
    assert figures["events"] == int(found.lost[:, 0].sum()) == 3  # one comes before five steps were heard
    assert figures["announced"] == 1
    assert figures["lead"] >= 1
    guess = always(found.heard, 3)
    figures = found.figures(guess, found.alarms(guess, (3,)))
    assert figures["3"]["auprc"] == pytest.approx(figures["3"]["base_rate"]) == pytest.approx(found.lost[:, 2].mean())


def test_losses_are_events_of_the_drives_that_are_watched() -> None:
    found = watch()
    events = found.events(3, 0.1)
    assert (events.horizon, events.lead) == (3, 2)
    drives, last = found.windows.drives, found.windows.start + 4
    assert all(drives[d].los[e - 1] == 1 and drives[d].los[e] == 0 for d, e in events.loss)
    assert len(events.loss) == 4
    told = events.figures(np.isin(last, [e - 2 for _, e in events.loss]))
    assert told["warned"] == told["events"] == 4 - told["sudden"] > 0
    assert events.figures(found.lost[:, 0] == 1)["warned"] == 0  # a step before: too late
    assert events.figures(found.lost[:, 0] == 1)["false"] == 0


def test_persistence_counts_back_to_the_last_blocked_step() -> None:
    heard = {"sight": watch().heard["sight"][:3].clone()}
    heard["sight"][:] = 1
    heard["sight"][1, 3], heard["sight"][2, 0] = 0, 0
    assert blocked_lately(heard, 2).tolist() == [[0, 0], [1, 1], [0.25, 0.25]]


def test_drives_without_a_loss_are_refused_with_their_counts() -> None:
    clear = [replace(one, los=np.ones(len(one), dtype=np.int8)) for one in drives(3)]
    said = "lost 2 times in the training drives, 0 times in the held-out drives; each needs one at least: give drives"
    with pytest.raises(InputError, match=said):
        require_losses({"training": [hidden(one) for one in drives(2)], "held-out": clear})
    windows = cut(clear, past=5, future=3)
    with pytest.raises(InputError, match=r"within 3 steps sight is lost in 0 of \d+ windows .* nothing to find"):
        Watch.of(windows, tensors(windows.steps()), 3).require_both((3,), "held-out drives")
