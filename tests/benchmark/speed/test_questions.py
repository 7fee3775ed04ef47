"""The forms of an answer agree, and each batch size and stage is timed."""

from __future__ import annotations

import pytest

import uniair
from uniair.benchmark.speed.questions import BATCHES, FORMS, question_speed

pytest.importorskip("peft")


def test_every_form_answers_the_same() -> None:
    found = question_speed(uniair.build("small"), "tiny", repeats=1)
    assert set(found["answers_per_s"]) == set(FORMS)
    assert set(found["answer_ms"]) == {*FORMS, "tower", "head"}
    assert all(ms > 0 for took in found["answer_ms"].values() for ms in took.values())
    assert list(found["answer_ms"]["cached"]) == [str(n) for n in BATCHES]
    assert found["differs"]["merged"] < 1e-4
    assert found["differs"]["int8"] < 0.2
    assert found["training_per_s"]["cached"] > 0
