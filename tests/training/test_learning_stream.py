"""Streets that are new, that come back, and that are noise; bad steps; and a state that survives any kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.data.drives.moving import BEAMS, drive, drives

from uniair.data.drives.drive import Drive
from uniair.data.drives.passages import Augmentation, Passages
from uniair.errors import InputError
from uniair.models.forecast import WMLM, ForecastPreset
from uniair.training import learning_state
from uniair.training.checkpoint import read_header
from uniair.training.forecast_adaptation import OnSite, adapt_on_site
from uniair.training.learning_state import KeptStream, open_stream, save_stream
from uniair.training.learning_stream import Event, LearningStream, StreamLearning
from uniair.training.score_history import ScoreHistory

# knows beams by number alone, so that a street whose beams are others is new to it
PRESET = ForecastPreset(width=32, beams=BEAMS, past=3, future=2, context=6, around=False)
PLAIN = Augmentation(0.0, 0.0, 0.0)
QUICK = StreamLearning(batch=8, length=4, augmentation=PLAIN, memory=6, replay=0.0, recent=40)
QUICK = replace(QUICK, optimisation=replace(QUICK.optimisation, learning_rate=1e-2))
REPLAYED = replace(QUICK, replay=0.25, level=0.5)  # a test that a few steps pass


@cache
def begun() -> WMLM:
    """Has learned one street."""
    torch.manual_seed(0)
    model = WMLM(PRESET).eval()
    plan = OnSite(part="all", batch=16, length=4, augmentation=PLAIN, replay=0.0)
    plan = replace(plan, optimisation=replace(plan.optimisation, steps=60, learning_rate=3e-2))
    return adapt_on_site(model, Passages(tuple(drives(6)), 6, PLAIN), plan)[0]


@pytest.fixture(scope="module")
def model() -> WMLM:
    return begun()


def shifted(count: int, by: int = 6) -> list[Drive]:
    """A street whose beams are numbered otherwise."""
    street = [drive(f"new/{n:05d}", 24, 50 + n, back=bool(n % 2)) for n in range(count)]
    return [replace(one, power=np.roll(one.power, by, 1), beam=((one.beam + by) % BEAMS).astype(np.int32))
            for one in street]  # fmt: skip


def events(street: list[Drive]) -> Iterator[Event]:
    for one in street:
        for t in range(len(one)):
            yield one.name, {"power": one.power[t], "time": float(one.time[t])}
        yield one.name, None


def take(stream: LearningStream, street: list[Drive]) -> list[float]:
    """Streams; right forecasts of the next beam over these steps by begun, answering and shadow."""
    before = stream.history.rows.sum(0)
    for session, step in events(street):
        if step is None:
            stream.end(session)
        else:
            stream.push(session, step)
    stream.settle()
    now = stream.history.rows.sum(0) - before
    return [float(now[5 + 2 * m] / now[3]) for m in range(3)]


def test_a_new_street_is_learned_and_the_shadow_answers_once_it_has_won(model: WMLM) -> None:
    stream = LearningStream(model, QUICK)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    take(stream, shifted(18))
    assert stream.counts.promotions >= 1
    assert stream.counts.rollbacks == 0
    begun_right, answered, _ = take(stream, shifted(6))
    assert answered > begun_right + 0.1
    assert stream.status()["answers"] == "learned"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_falls_behind_after_its_promotion_answers_no_more(model: WMLM) -> None:
    stream = LearningStream(model, QUICK)
    worse = WMLM(model.preset).eval()  # says the first beam whatever it hears
    stream.answering, stream.counts.promotions = worse, 1
    begun_right, answered, _ = take(stream, drives(8))
    assert stream.counts.rollbacks == 1
    assert answered < begun_right  # what it took to find out
    assert stream.status()["answers"] == "learned" if stream.promoted else stream.answering is model
    assert stream.answering is not worse


def test_of_noise_nothing_is_promoted(model: WMLM) -> None:
    rng = np.random.default_rng(0)
    noise = []
    for number in range(24):
        power = rng.uniform(0.1, 1.0, (24, BEAMS))
        noise.append(replace(drive(f"noise/{number}"), power=power, beam=power.argmax(1).astype(np.int32)))
    stream = LearningStream(model, QUICK)
    begun_right, answered, shadow = take(stream, noise)
    assert stream.counts.promotions == 0
    assert answered == begun_right != shadow
    assert stream.shadow.updates == 24 * 24 // QUICK.every


def test_a_step_is_forecast_before_anything_is_learned_from_it(model: WMLM) -> None:
    """The forecasts of a block come from the weights before its update, whatever its own steps teach."""
    street, stream = shifted(6), LearningStream(model, QUICK)
    other = [*street[:5], replace(street[5], power=street[5].power[:, ::-1].copy(), beam=BEAMS - 1 - street[5].beam)]
    mirror = LearningStream(model, QUICK)
    for one, its in ((stream, street), (mirror, other)):
        for number, (session, step) in enumerate(e for e in events(its) if e[1] is not None):
            assert step is not None
            if number < 5 * 24:
                one.push(session, step)
    assert all(torch.equal(a, b) for a, b in zip(stream.shadow.model.parameters(), mirror.shadow.model.parameters(),
                                                 strict=True))  # fmt: skip


def test_windows_whose_next_steps_never_come_are_counted(model: WMLM) -> None:
    stream = LearningStream(model, QUICK)
    one = drive(steps=10)
    for t in range(10):
        stream.push("a", {"power": one.power[t]} if t != 6 else {})
    stream.push("silent", {})
    stream.end("a")
    stream.settle()
    # eight windows, from step 3 on: two look at the lost step, and two beyond the end
    assert (stream.counts.windows, stream.counts.unscored) == (4, 4)
    stream.settle()
    assert (stream.counts.windows, stream.counts.unscored) == (4, 4)
    assert stream.history.figures()["scored"] == [6, 5]
    for t in range(30):
        stream.push("nothing", {"time": float(t)})
    assert stream.shadow.updates == 0
    assert (stream.counts.steps, stream.counts.measured) == (41, 9)


def test_a_gap_begins_the_session_anew_and_the_oldest_of_many_ends(model: WMLM) -> None:
    stream = LearningStream(model, replace(QUICK, sessions=2))
    for t in (0.0, 0.1, 0.2, 0.3, 2.0, 2.1):
        stream.push("a", {"beam": 3, "time": t})
    stream.push("a", {"beam": 3})  # without a time: another clock
    assert [(len(log), log.ended) for log in stream.logs.values()] == [(4, True), (2, True), (1, False)]
    stream.push("b", {"beam": 3})
    stream.push("c", {"beam": 3})
    assert list(stream.open) == ["b", "c"]
    stream.settle()
    assert stream.counts.unscored == 2


@pytest.mark.parametrize(
    ("step", "line"),
    [({"power": np.ones(8)}, "give 16 linear powers"), ({"power": np.full(BEAMS, -1.0)}, "not dB"),
     ({"camera": 0}, "step with camera: the model has power, beam"), ({"beam": 3, "time": 0.5}, "in their order")],
)  # fmt: skip
def test_of_a_wrong_step_nothing_is_taken(model: WMLM, step: dict[str, object], line: str) -> None:
    stream = LearningStream(model, QUICK)
    stream.push("a", {"beam": 3, "time": 1.0})
    before = stream.status(), stream.chain, len(stream.logs[0])
    with pytest.raises(InputError, match=line):
        stream.push("a", step)
    assert (stream.status(), stream.chain, len(stream.logs[0])) == before


def test_nothing_that_a_log_can_not_remember_is_learned() -> None:
    model = WMLM(ForecastPreset(width=32, beams=BEAMS, modalities=("power", "lidar")))
    with pytest.raises(InputError, match="a forecaster that reads lidar: learning on a stream remembers power"):
        LearningStream(model)
    for wrong, line in (({"longest": 20}, "longest 20"), ({"every": 0}, "every 0"), ({"replay": 1.0}, "replay 1"),
                        ({"level": 2.0}, "level 2")):  # fmt: skip
        with pytest.raises(InputError, match=line):
            LearningStream(WMLM(ForecastPreset(width=32)), StreamLearning(**wrong))  # type: ignore[arg-type]


def test_no_model_wins_by_what_another_had_forecast(
    model: WMLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many sessions at once much is not scored yet when the shadow takes over, which is no better than itself."""
    stream, rng = LearningStream(model, replace(QUICK, sessions=100)), np.random.default_rng(0)

    def said(steps: dict[str, torch.Tensor]) -> np.ndarray:
        right = [0.4, 0.6 if stream.promoted else 0.4, 0.6]  # begun, answering, shadow
        shape = (len(steps["beam"]), 2)
        return np.stack([np.where(rng.random(shape) < share, 1, 2) for share in right], axis=1)

    monkeypatch.setattr(stream, "_said", said)
    monkeypatch.setattr(stream, "_learn", lambda: setattr(stream, "fresh", 0))
    seen = []
    for _ in range(30):
        for number in range(100):
            stream.push(str(number), {"beam": 1})
            seen.append(stream.counts.promotions)
    assert (max(seen), stream.counts.rollbacks) == (1, 0)
    waiting = [log.said for log in stream.logs.values()]
    assert sum(map(len, waiting)) > 100  # and is scored none the less
    save_stream(stream, tmp_path / "state")
    again = open_stream(tmp_path / "state", model, stream.config)
    assert [log.replaced for log in again.logs.values()] == [log.replaced for log in stream.logs.values()]
    assert max(log.replaced for log in again.logs.values()) > 0


def test_a_loss_that_is_not_finite_begins_the_shadow_anew(model: WMLM) -> None:
    stream = LearningStream(model, QUICK)
    with torch.no_grad():
        next(iter(stream.shadow.model.parameters())).fill_(torch.nan)
    take(stream, shifted(2))
    assert stream.counts.restarts == 1
    assert all(torch.isfinite(p).all() for p in stream.shadow.model.parameters())


def test_a_stream_that_was_killed_goes_on_to_the_same_state(tmp_path: Path) -> None:
    """A process that is killed as −9 at no chosen moment, the rest here; and one that ran through."""
    root = Path(__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    broken, whole = tmp_path / "broken.safetensors", tmp_path / "whole.safetensors"
    with subprocess.Popen([sys.executable, __file__, str(broken)], env=environment) as process:
        try:
            while not broken.exists() and process.poll() is None:
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    run(broken)
    run(whole)
    assert any(name.startswith("answering/") for name in load_file(whole))
    assert broken.read_bytes() == whole.read_bytes()
    run(broken)  # once more: all was taken
    assert broken.read_bytes() == whole.read_bytes()
    with pytest.raises(InputError, match="steps that are not the first of these"):
        open_stream(broken, fresh(), REPLAYED, old()).resume(events(drives(30)))


def test_a_state_of_something_else_is_refused(model: WMLM, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    stream = LearningStream(model, QUICK)
    take(stream, shifted(2))
    save_stream(stream, path)
    whole = path.read_bytes()
    assert open_stream(path, model, QUICK).chain == stream.chain
    other = WMLM(model.preset).eval()
    with pytest.raises(InputError, match="learned from a forecaster of other weights"):
        open_stream(path, other, QUICK)
    with pytest.raises(InputError, match=r"learned with other settings \(level\)"):
        open_stream(path, model, replace(QUICK, level=0.01))
    with pytest.raises(InputError, match=r"other settings \(earlier\)"):
        open_stream(path, model, QUICK, old())
    for damaged, line in ((whole[:-1], "truncated"), (whole[:100], "truncated"), (b"", "truncated"),
                          (whole[:-1] + bytes([whole[-1] ^ 1]), "checksum")):  # fmt: skip
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=line):
            open_stream(path, model, QUICK)
        assert path.read_bytes() == damaged
    save_file({"a": torch.zeros(1)}, path, {"uniair": '{"format": "uniair-learning/0"}'})
    with pytest.raises(InputError, match="not a state of format 'uniair-learning/2'"):
        open_stream(path, model, QUICK)
    with pytest.raises(InputError, match="a folder; give a file"):
        open_stream(tmp_path, model, QUICK)


def test_a_node_with_a_key_goes_on_from_its_own_states_alone(model: WMLM, tmp_path: Path) -> None:
    path, key = tmp_path / "state.safetensors", bytes(range(32))
    stream = LearningStream(model, QUICK)
    take(stream, shifted(2))
    save_stream(stream, path, key)
    assert open_stream(path, model, QUICK, key=key).chain == stream.chain
    assert open_stream(path, model, QUICK).chain == stream.chain
    save_stream(stream, tmp_path / "open.safetensors")
    save_stream(stream, tmp_path / "other.safetensors", bytes(32))
    held, about = load_file(path), read_header(path, "")
    held["history"][0] += 1  # by somebody who knows the format, with a checksum that fits
    changed = about | {"checksum": learning_state._checksum(held)}
    save_file(held, tmp_path / "arrays.safetensors", {"uniair": json.dumps(changed)})
    more = about | {"counts": about["counts"] | {"promotions": 9}}
    save_file(load_file(path), tmp_path / "header.safetensors", {"uniair": json.dumps(more)})
    for name in ("open", "other", "arrays", "header"):
        with pytest.raises(InputError, match="not written by this node"):
            open_stream(tmp_path / f"{name}.safetensors", model, QUICK, key=key)


def old() -> Passages:
    """What is replayed."""
    return Passages(tuple(drives(3)), QUICK.length + 2, PLAIN)


def fresh() -> WMLM:
    """Says the first beam whatever it hears, so that the shadow wins soon."""
    torch.manual_seed(1)
    return WMLM(PRESET).eval()


def run(path: Path) -> None:
    """A stream over a street in a file, from where it stopped."""
    kept = KeptStream(open_stream(path, fresh(), REPLAYED, old()), path, every=2)
    steps = events(shifted(8))
    kept.stream.resume(steps)
    for session, step in steps:
        if step is None:
            kept.stream.end(session)
        else:
            kept.push(session, step)
    kept.close()


if __name__ == "__main__":
    run(Path(sys.argv[1]))


def test_gains_of_stretches_and_what_came_after() -> None:
    history = ScoreHistory(1, 10)
    for step in range(40):  # begun is right in the first half, what answers in the second
        history.add(0.1, np.array([[step < 20], [step >= 20], [1]], dtype=np.int64), 0)
    assert history.gains(20)[:, 0].tolist() == [-1, 0, 1]
    assert history.gains(10)[:, 0].tolist() == [-1, -1, 1, 1]
    assert history.gains(500)[:, 0].tolist() == [0]
    assert history.behind() == [20]
    later = history.after(20)
    assert later is not None
    assert (later["steps"], later["top1"]["begun"], later["top1"]["answering"]) == (20, [0.0], [1.0])
    assert history.after(40) is None
    history.add(0.1, np.full((3, 1), -1), 0)
    assert np.isnan(history.gains(1)[-1, 0])
