"""How well instructions are understood: the task, every argument, what is declined by name and what is asked back."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from uniair.models.backbone import load_backbone
from uniair.models.router import OUT_OF_SCOPE, PACKAGED, Route, Router, load_router, packaged_phrases
from uniair.radio import Radio
from uniair.tasks.answers import Declined, Question
from uniair.tasks.registry import TASKS
from uniair.tasks.scene import Scene
from uniair.tasks.words import foreign
from uniair.tasks.words.reader import Routes, Understood, understand
from uniair.tasks.words.requests import Request

# of instructions with arguments: the grammar was decided on the first two; the others were written apart
SETS = ("dev", "limits", "test", "adversarial")
KINDS = {"requests": "to be answered", "declined": "not to be honoured", "question": "to be asked back"}
# what is done with words that are not known
WORDS = {
    "weighed": "words that are not known weighed by the language model",
    "refused": "words that are not known all refused",
    "passed": "words that are not known all passed over",
}


# words that two phrases share by chance
_SAYS_LITTLE = {"a", "an", "the", "of", "in", "at", "on", "to", "for", "from", "by", "with", "is", "are", "be", "user"}


class _Reader:
    """A router that does with words that are not known what is said."""

    def __init__(self, route: Callable[[str], Route], weigh: Callable[..., list[float]], words: str) -> None:
        self.route, self.weigh, self.words = route, weigh, words

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        """The language model's weights, or all alike."""
        if self.words == "weighed":
            return self.weigh(instruction, words)
        return [1.0 if self.words == "refused" else 0.0] * len(words)


def run(backbone: str = "smollm2-135m", router: str = "") -> dict[str, Any]:
    """Reads the packaged sets of instructions and prints how many are understood, and each that is not.

    Args:
        backbone: language model, name or folder.
        router: file that belongs to it; the packaged one if not given.
    """
    reads = load_router(load_backbone(backbone), Path(router) if router else PACKAGED)
    found: dict[str, Any] = {"tasks": {name: routed(reads, name) for name in ("dev", "test")}}
    for name, counts in found["tasks"].items():
        print(f"task alone, {name} set: {_share(counts)} right; out of scope {_share(counts[OUT_OF_SCOPE])}")
    route = cache(reads.route)
    every = {words: _Reader(route, reads.limits, words) for words in WORDS}
    found["arguments"] = {name: with_arguments(every["weighed"], name) for name in SETS}
    found["words"] = {
        name: {words: with_arguments(reader, name) for words, reader in every.items() if words != "weighed"}
        for name in SETS
    }
    for name, counts in found["arguments"].items():
        print(f"task and every argument, {name} set: {_share(counts)} right")
        for kind, about in KINDS.items():
            print(f"  {about:20} {_share(counts[kind])}")
        print(f"  answered though not to be honoured, or to be asked back: {counts['answered']}")
        for words, others in found["words"][name].items():
            print(f"  {WORDS[words]}: {_share(others)} right, {others['answered']} answered")
        for failure in counts["failures"]:
            print(f"  - {failure['text']}\n      {failure['said']}")
    found["languages"] = languages(reads)
    for name, counts in found["languages"].items():
        told = _share(counts["told"])
        print(f"{name}: told {told} times; the router alone would be right in {_share(counts['routed'])}")
    return found


def routed(router: Router, name: str) -> dict[str, Any]:
    """How often the router alone is right about the task, on instructions without arguments."""
    if name == "test":
        labelled = [(entry["text"], entry["task"]) for entry in packaged(name)["instructions"]]
    else:
        phrases = packaged_phrases(name)
        labelled = [(text, label) for label, styles in phrases.items() for texts in styles.values() for text in texts]
    routes = router.routes([text for text, _ in labelled])
    right = [(route.task or OUT_OF_SCOPE) == label for route, (_, label) in zip(routes, labelled, strict=True)]
    outside = [good for good, (_, label) in zip(right, labelled, strict=True) if label == OUT_OF_SCOPE]
    return _counted(right) | {OUT_OF_SCOPE: _counted(outside)}


def with_arguments(router: Routes, name: str, every: int = 1) -> dict[str, Any]:
    """How many of a packaged set of instructions with arguments are understood as they are meant.

    Args:
        every: one of so many is read.
    """
    document = packaged(f"arguments-{name}")
    scenes = {key: scene_of(entries) for key, entries in document["scenes"].items()}
    right: dict[str, list[bool]] = {kind: [] for kind in KINDS}
    failures, answered = [], 0
    for entry in document["instructions"][::every]:
        said = understand(entry["text"], scenes[entry["scene"]], list(TASKS.values()), router)
        kind = next(kind for kind in KINDS if kind in entry)
        right[kind].append(as_meant(entry, said))
        answered += kind != "requests" and isinstance(said, Understood)
        if not right[kind][-1]:
            failures.append({"text": entry["text"], "scene": entry["scene"], "said": str(said)})
    all_of_them = [good for goods in right.values() for good in goods]
    parts = {kind: _counted(goods) for kind, goods in right.items()}
    return _counted(all_of_them) | parts | {"answered": answered, "failures": failures}


def as_meant(entry: Mapping[str, Any], said: Understood | Declined | Question) -> bool:
    """Whether an instruction was understood as its label says.

    Args:
        entry: with `requests`, each of a task and arguments; or `declined`, the phrase that can't be honoured, or
            `out_of_scope`; or `question`, the argument that is asked back.
    """
    if "question" in entry:
        return isinstance(said, Question) and said.about == entry["question"]
    if "declined" in entry:
        if not isinstance(said, Declined):
            return False
        if entry["declined"] == OUT_OF_SCOPE:
            return said.reason == OUT_OF_SCOPE
        return any(_overlap(entry["declined"], phrase) for phrase in said.refused)
    requests = said.requests if isinstance(said, Understood) else ()
    same = len(requests) == len(entry["requests"])
    return same and all(_same(found, meant) for found, meant in zip(requests, entry["requests"], strict=True))


def _overlap(meant: str, said: str) -> bool:
    """Whether two phrases share a word that says something, whole: "rain" is not in "train"."""
    one, other = (set(re.findall(r"[^\W_]+(?:'[^\W_]+)?", phrase.lower())) - _SAYS_LITTLE for phrase in (meant, said))
    return bool(one & other)


def _same(found: Request, meant: Mapping[str, Any]) -> bool:
    carrier = meant.get("carrier")
    return (
        found.task == meant["task"]
        and list(found.users) == meant.get("users", [])
        and list(found.stations) == meant.get("stations", [])
        and [list(position) for position in found.positions] == meant.get("positions", [])
        and (found.candidates or 1) == meant.get("candidates", 1)
        and found.compare == meant.get("compare")
        and found.worst_first == meant.get("worst_first", found.worst_first)
        and ((found.carrier is None) == (carrier is None))
        and math.isclose(found.carrier or 0.0, carrier or 0.0, rel_tol=1e-6)
    )


def languages(router: Router) -> dict[str, Any]:
    """How often a question in another language is told as such, and how the router alone would do on it."""
    found = {}
    for name, labels in packaged("languages").items():
        labelled = [(text, label) for label, texts in labels.items() for text in texts]
        routes = router.routes([text for text, _ in labelled])
        right = [(route.task or OUT_OF_SCOPE) == label for route, (_, label) in zip(routes, labelled, strict=True)]
        told = [foreign.language(text) == name for text, _ in labelled]
        found[name] = {"told": _counted(told), "routed": _counted(right)}
    return found


def packaged(name: str) -> Any:
    """A packaged file of instructions."""
    return json.loads(resources.files("uniair").joinpath("instructions", f"{name}.json").read_text(encoding="utf-8"))


def scene_of(entries: Mapping[str, Any]) -> Scene:
    """The scene that a file of instructions is about."""
    station, user = entries["here"]
    radio = Radio.from_json(entries["radio"])
    return Scene(tuple(entries["stations"]), entries["users"], radio, entries["size"], (station, user))


def _counted(right: Sequence[bool]) -> dict[str, Any]:
    return {"right": sum(right), "of": len(right)}


def _share(counts: Mapping[str, Any]) -> str:
    return f"{counts['right']} of {counts['of']} ({counts['right'] / max(1, counts['of']):.1%})"
