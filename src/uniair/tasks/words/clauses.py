"""The clauses of an instruction: which ask for something, and for what, by the words that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from uniair.tasks.words.lexicon import longest
from uniair.tasks.words.marked import ADDED, Marked

_JOINTS = ("then", "also", "well")  # as well as


@dataclass(frozen=True)
class Cue:
    """Words that ask for a task, and their tokens."""

    start: int
    end: int
    task: str


@dataclass(frozen=True)
class Clause:
    """A stretch of tokens, and what is asked for in it."""

    start: int
    end: int
    cues: tuple[Cue, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Of the cues, each once."""
        return tuple(dict.fromkeys(cue.task for cue in self.cues))


def clauses(marked: Marked) -> list[Clause]:
    """Sentences, and their parts where each asks for something else."""
    found: list[Clause] = []
    start = 0
    for end in [at for at, tag in enumerate(marked.tags) if tag == "." and not marked.roles[at]] + [len(marked.tags)]:
        if end > start:
            found.extend(_parts(marked, start, end, _cues(marked, start, end)))
        start = end + 1
    return found


def _cues(marked: Marked, start: int, end: int) -> list[Cue]:
    free = ("", "candidates", "radio", "refused", ADDED)  # "top 3 beams" and "which of 32 beams" ask for beams
    pairs = zip(marked.tokens[:end], marked.roles, strict=False)
    texts = [token.text if role in free else "" for token, role in pairs]
    found = []
    at = start
    while at < end:
        length = longest(marked.words.cues, texts, at, marked.words.longest_cue)
        if length:
            task = marked.words.cues[tuple(texts[at : at + length])]
            if task != "position" or marked.has("asked", at, at + 1) or not _is_given(marked, at, start):
                found.append(Cue(at, at + length, task))
        at += length or 1
    return found


def _is_given(marked: Marked, at: int, start: int) -> bool:
    """Whether a position is what one has ("from the map and the coordinates"), and not what one asks for."""
    if "position" in marked.roles[at + 1 : at + 4]:
        return True
    for before in range(at - 1, max(start, at - 6) - 1, -1):
        if marked.tags[before] != "d" and not marked.has("inputs", before, before + 1):
            return marked.has("given", before, before + 1)
    return False


def _parts(marked: Marked, start: int, end: int, cues: list[Cue]) -> Iterator[Clause]:
    """A sentence as it is cut between cues of different tasks, where something joins them."""
    begin, mine = start, list[Cue]()
    side_by_side = all(after.start == before.end for before, after in pairwise(cues))
    listed = side_by_side and len({cue.task for cue in cues}) > 2  # los pl beam
    for cue in cues:
        main = [one for one in mine if not marked.has("aside", one.start, one.end)] or mine  # what loss does he see
        if mine and cue.task != main[-1].task:
            joints = [
                at for at in range(mine[-1].end, cue.start)
                if (marked.tags[at] in ",&" and not marked.roles[at]) or marked.tokens[at].text in _JOINTS
            ]  # fmt: skip
            if joints or listed:
                stop = joints[-1] if joints else cue.start
                yield Clause(begin, stop, tuple(mine))
                begin, mine = stop + len(joints[-1:]), []
        mine.append(cue)
    yield Clause(begin, end, tuple(mine))
