"""Users and stations that are left out of others: all but user 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from uniair.tasks.words.clauses import clauses
from uniair.tasks.words.lexicon import longest
from uniair.tasks.words.marked import Marked
from uniair.tasks.words.references import Mention

_LONGEST = 3  # words of "but not from"


def applied(marked: Marked, mentions: Sequence[Mention], kind: str) -> list[Mention]:
    """The mentions without those that words such as "but" leave out, which are taken with these words."""
    kept: list[Mention] = []
    for mention in mentions:
        start = _start(marked, mention.start)
        base = kept[-1] if kept else None
        if start == mention.start or base is None or not mention.numbers:
            kept.append(mention)
            continue
        asks_between = any(marked.is_cue(at) or marked.tags[at] == "." for at in range(base.end, start))
        left = tuple(number for number in base.numbers if number not in mention.numbers)
        contrast = not _asks_for_sight(marked, start) and "not" in marked.texts[start : mention.start]
        if asks_between or not base.numbers or (len(left) == len(base.numbers) and not contrast):
            kept.append(mention)
            continue
        if not left:
            said = marked.said(base.start, mention.end)
            marked.doubt(base.start, kind, f"{said!r}: that leaves none; which of them?")
        kept[-1] = replace(base, numbers=left, either=base.either and len(left) > 1)
        marked.take(start, mention.end, kind)
    return kept


def _asks_for_sight(marked: Marked, at: int) -> bool:
    """Whether what is not so may be asked for as well: "is user 3 in sight of bs1 but not of bs2?"."""
    return any(cue.task == "los" and cue.start < at for clause in clauses(marked) for cue in clause.cues)


def _start(marked: Marked, at: int) -> int:
    """Where the words that leave out start which lead up to a mention; the mention itself where none do."""
    stop = at
    while stop and not marked.roles[stop - 1] and marked.tags[stop - 1] in "dp,b":
        stop -= 1
    for start in range(max(0, stop - _LONGEST), at):
        length = longest(marked.words.excluding, marked.texts[:at], start, _LONGEST)
        if length and start + length >= stop and not any(marked.roles[start:stop]):
            return start
    return at
