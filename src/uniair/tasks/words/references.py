"""Which users and stations an instruction names: by number, count, name, or as all, others or the nearest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniair.tasks.scene import Scene
from uniair.tasks.words.marked import ONE_WAY, Marked

_NUMBER = "[N1]"
_NO_COUNT = "(?!m?t?[BCAf]|b?S|U)"  # "user 3, 4 beams" names one user, as "user 3 to two decimals" does
_JOINED = "(?:,?[&|~]|,|-|>)"
_STATION = "(?:b?S)"  # "base station" is one
_SERVING = ("serving", "suited", "possible", "available")  # between "best" and "station"


@dataclass(frozen=True)
class Mention:
    """Users or stations that are named together.

    Attributes:
        start, end: tokens.
        numbers: in the order in which they were named; empty: a doubt.
        asked: "which station": it is the question itself; `best`: "the best station".
        either: they are joined by "or" or "versus".
    """

    start: int
    end: int
    numbers: tuple[int, ...]
    asked: bool = False
    either: bool = False
    best: bool = False


def users(marked: Marked, scene: Scene) -> list[Mention]:
    """The users that are named, and taken."""
    one = f"[UK](?:p?[#:]+)*d?{_NUMBER}"
    found = _counted(marked, f"(?:{one}|V)(?:{_JOINED}p?d?(?:{one}|V|{_NUMBER}{_NO_COUNT}))*", "user", scene.user)
    found += _counted(marked, f"(?<!J)#+{_NUMBER}(?:{_JOINED}d?{_NUMBER}{_NO_COUNT})*", "user", scene.user)
    found += _in_order(marked, "[UK]", "user", scene.users)
    for match in marked.find("aUpN[&>-]N"):  # every user between 3 and 7
        low, high = (scene.user(marked.tokens[at].value or 0) for at in (match.end() - 3, match.end() - 1))
        if isinstance(low, int) and isinstance(high, int):
            found.append(_taken(marked, match, "user", range(low, high + 1)))
    for match in marked.find("a(?:pd|d)?N?U|v"):
        found.append(_all(marked, match, "user", scene.users))
    for match in marked.find("w(?:1?pd)?U(?![xyz]*[#:]*[N1])"):  # which user has …, 3 or 5?
        bare = f"{_NUMBER}(?:{_JOINED}{_NUMBER})+"
        if not any(mention.numbers for mention in found):
            if any(True for _ in marked.find(bare, match.end())):
                found += _counted(marked, bare, "user", scene.user)
            else:
                found.append(Mention(*match.span(), tuple(range(scene.users)), asked=True))
        marked.take(*match.span(), "user")
    found += _at_an_end(marked, "U", range(scene.users))
    found += _compared(marked, "dU(?![#:p]*[N1TV])", "user", scene.users)
    for match in marked.find("(?:d?[oc]|e)d?U|U[xyz](?![:NM])"):
        said = marked.said(*match.span())
        marked.doubt(match.start(), "user", f"{said!r}: which one? I know {scene.said_users}")
        found.append(_taken(marked, match, "user"))
    return sorted(found, key=lambda mention: mention.start)


def stations(marked: Marked, scene: Scene) -> list[Mention]:
    """The stations that are named, and taken."""
    every = range(len(scene.stations))
    one, named = f"{_STATION}(?:p?[#:]+)*d?{_NUMBER}", f"(?:{_STATION}(?:p?[#:]+)*)?T"
    several = f"(?:{one}|{named})(?:{_JOINED}p?d?(?:{one}|{named}|{_NUMBER}{_NO_COUNT}))*"
    found = _counted(marked, several, "station", scene.station, scene.stations)
    found += _in_order(marked, _STATION, "station", len(every))
    for match in marked.find(f"a(?:pd|d)?N?{_STATION}"):
        found.append(_all(marked, match, "station", len(every)))
    for match in marked.find(f"w(?:1?pd)?N?{_STATION}|(?<!O)t(?:r| ?{_STATION})"):
        if " " in match[0] and marked.tokens[match.end() - 2].text not in _SERVING:
            continue
        if len(every) < 2:
            said = f"{marked.said(*match.span())!r}: there are no several to choose from; I know {scene.said_stations}"
            marked.doubt(match.start(), "station", said)
        marked.take(*match.span(), "station")
        found.append(Mention(*match.span(), tuple(every), asked=True, best="t" in match[0]))
    found += _at_an_end(marked, _STATION, every)
    found += _compared(marked, "db?S(?![#:p]*[N1TV])", "station", len(every))
    for match in marked.find(f"d?[ERWe]{_STATION}|d?Ot ?{_STATION}"):
        _which(marked, match, scene)
        found.append(_taken(marked, match, "station"))
    for match in marked.find(f"d?od?{_STATION}|d?c{_STATION}"):
        others = [number for number in every if number != scene.here[0]]
        meant = [0] if "c" in match[0] and len(every) == 1 else others if "o" in match[0] and len(others) == 1 else []
        if not meant:
            _which(marked, match, scene)
        found.append(_taken(marked, match, "station", meant))
    return sorted(found, key=lambda mention: mention.start)


def _at_an_end(marked: Marked, noun: str, every: range) -> list[Mention]:
    """The best, the worst, or the one with the most or least of something, which a comparison tells."""
    found = []
    for match in marked.find(f"{noun}(?![#:p]*[N1TV])"):
        start, end = match.span()
        stop = next((at for at in range(end, len(marked.tags)) if marked.tags[at] in ".,"), len(marked.tags))
        told = marked.has("telling", end, end + 1) and marked.has("bests", end + 1, stop)
        extreme = start and not marked.roles[start - 1] and marked.has("extremes", start - 1, start)
        kind = "user" if noun == "U" else "station"
        if extreme and marked.has("asked"):  # where is the weakest user?
            marked.doubt(start - 1, kind, f"{marked.said(start - 1, end)!r}: which {kind} is that?")
            marked.take(start - 1, end, kind)
            continue
        if told and marked.has("asked"):
            continue  # see `relations.descriptions`
        if start and not marked.roles[start - 1] and _is_unknown_end(marked, start - 1):  # the oldest user
            marked.doubt(start - 1, kind, f"{marked.said(start - 1, end)!r}: which {kind} is that?")
            marked.take(start - 1, end, kind)
            continue
        if told or (extreme and marked.tags[start - 2 : start - 1] != "O"):
            marked.take(start, end, kind)
            found.append(Mention(start, end, tuple(every), asked=True, best=True))
    return found


def _is_unknown_end(marked: Marked, at: int) -> bool:
    """Whether a word looks like the end of an order that nothing here tells."""
    text, words = marked.tokens[at].text, marked.words
    return text.endswith("est") and text not in words.allowed and text not in words.orders and marked.tags[at] == " "


def _compared(marked: Marked, pattern: str, kind: str, count: int) -> list[Mention]:
    """All of them, where "the stations" are compared or ranked."""
    if count < 2 or not marked.has("ranking"):
        return []
    return [
        _taken(marked, match, kind, range(count))
        for match in marked.find(pattern)
        if marked.has("plurals", match.end() - 1, match.end())
    ]


def _taken(marked: Marked, match: re.Match[str], kind: str, numbers: range | list[int] | None = None) -> Mention:
    marked.take(*match.span(), kind)
    return Mention(*match.span(), tuple(numbers or ()))


def _which(marked: Marked, match: re.Match[str], scene: Scene) -> None:
    """Asks back which station is meant."""
    said = f"{marked.said(*match.span())!r}: which one? I know {scene.said_stations}"
    marked.doubt(match.start(), "station", said, scene.stations)


def _counted(
    marked: Marked, pattern: str, kind: str, resolve: Callable[[float], int | str], choices: Sequence[str] = ()
) -> list[Mention]:
    """Lists of numbers and names."""
    found = []
    for match in marked.find(pattern):
        numbers: list[int] = []
        front = marked.tokens[match.start() - 1].text if match.start() else ""
        for at in range(*match.span()):
            token, before = marked.tokens[at], marked.tags[match.start() : at]
            if token.name is not None:
                if before.endswith(">"):
                    marked.refuse(*match.span(), ONE_WAY, take=False)
                numbers.append(token.name[1])
            elif token.value is not None:
                number = resolve(token.value)
                noun = before.rstrip("UKSbdp#:")
                if noun != before and noun.endswith(">") and front in ("from", "between"):
                    marked.refuse(*match.span(), ONE_WAY, take=False)
                if isinstance(number, str):
                    marked.doubt(at, kind, number, choices)
                    continue
                if numbers and before[-1] in "->":
                    step = 1 if number > numbers[-1] else -1
                    numbers.extend(range(numbers[-1] + step, number, step))
                numbers.append(number)
        alone = not set(marked.tags) & set("TS" if kind == "user" else "UVK")
        if front == "between" and len(numbers) == 2 and alone and not marked.has("choices"):
            marked.refuse(*match.span(), ONE_WAY, take=False)
        either = any(token.text in ("or", "vs", "versus") for token in marked.tokens[match.start() : match.end()])
        found.append(Mention(*match.span(), tuple(dict.fromkeys(numbers)), either=either))
        marked.take(*match.span(), kind)
    return found


def _in_order(marked: Marked, noun: str, kind: str, count: int) -> list[Mention]:
    """The first, second, … and last, counted from 1, and the first or last so many."""
    found = []
    for match in marked.find(f"(?<![aN])[OL]N{noun}"):
        many = min(round(marked.tokens[match.start() + 1].value or 0), count)
        first = 0 if match[0][0] == "O" else count - many
        found.append(_taken(marked, match, kind, range(first, first + many)))
    for match in marked.find(f"(?<!a)[OL](?:(?:,?[&|]|,)d?[OL])*{noun}"):
        numbers = []
        for at in range(*match.span()):
            if marked.tags[at] not in "OL":
                continue
            value = marked.tokens[at].value
            number = count - 1 if value is None else round(value) - 1
            if 0 <= number < count:
                numbers.append(number)
            else:
                marked.doubt(at, kind, f"{marked.said(*match.span())!r}: there are {count} {kind}s")
        either = any(token.text == "or" for token in marked.tokens[match.start() : match.end()])
        found.append(Mention(*match.span(), tuple(numbers), either=either))
        marked.take(*match.span(), kind)
    return found


def _all(marked: Marked, match: re.Match[str], kind: str, count: int) -> Mention:
    """All, or both where there are two."""
    counts = [token.value for token in marked.tokens[match.start() : match.end()] if token.value is not None]
    if counts and counts != [count]:
        marked.refuse(*match.span(), "name them by their numbers", take=False)
    if marked.tokens[match.start()].text == "both" and count != 2:
        marked.doubt(match.start(), kind, f"{marked.said(*match.span())!r}: there are {count} {kind}s; name the two")
    return _taken(marked, match, kind, range(count))
