"""An instruction as tokens: words in one spelling, numbers in figures or words with their units, names that exist."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from uniair.tasks.words.lexicon import Lexicon

# unit → what a number is multiplied by, and of what it is: SI, or dB and its kin
UNITS: dict[str, tuple[float, str]] = {
    name: (scale, what)
    for names, scale, what in (
        ("m metre metres meter meters", 1.0, "m"), ("ft feet foot", 0.3048, "m"),
        ("km kilometre kilometres kilometer kilometers", 1e3, "m"), ("cm centimetre centimetres", 1e-2, "m"),
        ("hz hertz", 1.0, "Hz"), ("khz kilohertz", 1e3, "Hz"), ("mhz megahertz", 1e6, "Hz"),
        ("ghz gigahertz", 1e9, "Hz"),
        ("° deg degree degrees", 1.0, "°"), ("rad radian radians", 57.29577951308232, "°"),
        ("s sec secs seconds", 1.0, "s"), ("ms msec milliseconds", 1e-3, "s"), ("ns nanoseconds", 1e-9, "s"),
        ("min mins minute minutes", 60.0, "s"), ("h hr hrs hour hours am pm", 3600.0, "s"), ("day days", 86400.0, "s"),
        ("week weeks", 604800.0, "s"), ("month months", 2.6e6, "s"), ("year years", 3.2e7, "s"),
        ("km/h kmh kph", 1 / 3.6, "m/s"), ("mph", 0.44704, "m/s"), ("m/s mps", 1.0, "m/s"),
        ("db", 1.0, "dB"), ("dbm", 1.0, "dBm"), ("dbi", 1.0, "dBi"), ("w watt watts", 1.0, "W"), ("mw", 1e-3, "W"),
        ("bit bits", 1.0, "bit"), ("mbit mbps gbit gbps kbit kbps", 1e6, "bit/s"), ("% percent", 1.0, "%"),
    )
    for name in names.split()
}  # fmt: skip
LEAST = 4  # letters of a word whose spelling is mended
_PLAIN = str.maketrans("’‘“”–—−‑×·_º", "''\"\"----x  °")
_REGARDING = re.compile(r"\bw\.? ?r\.? ?t\b\.?", re.IGNORECASE)
_TOKEN = re.compile(
    r"(?P<clock>(?<![\d:])\d{1,2}:\d{2}(?![\d:]))"
    r"|(?P<number>(?<![\w.)\]])-?\d+(?:[.,]\d+)*|\d+(?:[.,]\d+)*)(?P<ordinal>st|nd|rd|th)?(?!\d)"
    r"|(?P<speed>km/h|m/s)\b"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)*'?)|(?P<mark>[^\w\s])"
)
# words that hold figures: 5G, n78, x in x=3 or x3, 38.901
_WHOLE = re.compile(r"\b(?:[2-6][gd]|3gpp|n\d{1,3}|[xyz](?=\d))\b|(?<![\w.])\d\d\.\d{3}(?![\w])", re.IGNORECASE)
_POSSESSIVE = re.compile(r"'s?(?![^\W_])")


@dataclass(frozen=True)
class Token:
    """A word, number, mark or name.

    Attributes:
        text: as it is compared: lower case, without 's.
        start, end: where it stands in the text.
        value: of a number, in SI units where it has one; None: it is none.
        unit: of the number; empty: none was said.
        ordinal: it counts from 1.
        name: what it names, `station` or `user`, and its number.
        as_word: a number that was written as a word, which may mean no number ("this one").
    """

    text: str
    start: int
    end: int
    value: float | None = None
    unit: str = ""
    ordinal: bool = False
    name: tuple[str, int] | None = None
    as_word: bool = False

    @property
    def is_word(self) -> bool:
        """Neither a number nor a name nor a mark."""
        return self.value is None and self.name is None and self.text[0].isalpha()


def plain(text: str) -> str:
    """The text with one form of quotes, dashes, spaces and compatibility characters."""
    text = unicodedata.normalize("NFKC", _REGARDING.sub("regarding", text))
    return " ".join(text.translate(_PLAIN).split())


def tokens(text: str, names: Mapping[str, tuple[str, int]], words: Lexicon) -> list[Token]:
    """The tokens of a text that `plain` made.

    Args:
        names: those of stations and users that exist, and what they name.
    """
    found: list[Token] = []
    named = _names(text, names)
    at = 0
    while at < len(text):
        whole = _WHOLE.match(text, at) if at == 0 or not text[at - 1].isalnum() else None
        match = _TOKEN.match(text, at)
        if at in named:
            token = named[at]
        elif whole is not None:
            token = Token(whole[0].lower(), at, whole.end())
        elif match is not None:
            token = _token(match)
        else:
            at += 1
            continue
        at = token.end
        short = token.text == "." and bool(found) and found[-1].text in words.sets["abbreviated"]
        if token.text in "\"'`" or (token.text in "-." and _joins(text, token)) or short:
            continue
        if (token.value is not None or token.name is not None) and (mine := _POSSESSIVE.match(text, at)):
            at = mine.end()
        found.append(token)
    parts = [part for token in found for part in _spelt(token, words)]
    parts = [
        replace(part, text="loss") if part.text == "los" and at and parts[at - 1].text == "path" else part
        for at, part in enumerate(parts)
    ]
    return _with_units(_counted(_glued(parts, words.known), words))


def _names(text: str, names: Mapping[str, tuple[str, int]]) -> dict[int, Token]:
    """Names where they stand; spaces, dashes and case in them do not matter."""
    out: dict[int, Token] = {}
    taken = [False] * (len(text) + 1)
    for name in sorted(names, key=len, reverse=True):
        parts = re.findall(r"[^\W\d_]+|\d+", plain(name))
        if not parts or "".join(parts).isdecimal():
            continue  # a number is no name, but counts
        pattern = r"(?<!\w)" + r"[\s-]*".join(map(re.escape, parts)) + r"(?!\w|[.,]\d)"
        for match in re.finditer(pattern, text, re.IGNORECASE):
            if not any(taken[match.start() : match.end()]):
                taken[match.start() : match.end()] = [True] * (match.end() - match.start())
                out[match.start()] = Token(match[0].lower(), match.start(), match.end(), name=names[name])
    return out


def _joins(text: str, mark: Token) -> bool:
    """Whether a dash or dot makes one of two: line-of-sight, top-3, 64-port, L.O.S."""
    before, after = text[max(0, mark.start - 1) : mark.start], text[mark.end : mark.end + 1]
    return before.isalnum() and after.isalnum() and not (before.isdigit() and after.isdigit())


def _token(match: re.Match[str]) -> Token:
    start, end = match.span()
    if match["clock"] is not None:
        hours, minutes = match[0].split(":")
        return Token(match[0], start, end, 3600.0 * int(hours) + 60.0 * int(minutes), "s")
    if match["number"] is None:
        return Token(match[0].lower(), start, end)
    return Token(match[0].lower(), start, end, _value(match["number"]), ordinal=match["ordinal"] is not None)


def _value(figures: str) -> float:
    """1,200 is a thousand and more; 3,5 has a decimal comma, as no space follows it."""
    if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", figures):
        return float(figures.replace(",", ""))
    first, *rest = figures.replace(",", ".").split(".")
    return float(f"{first}.{''.join(rest)}" if rest else first)


def _spelt(token: Token, words: Lexicon) -> list[Token]:
    """A word in its usual spelling, and as several where it stands for several."""
    if not token.is_word:
        return [token]
    text = token.text.removesuffix("'").removesuffix("'s") or token.text
    text = words.aliases.get(text, text)
    if text not in words.known and len(text) >= LEAST and text.isalpha():
        text = _mended(text, words.mended) or text
    first, *rest = text.split()
    return [replace(token, text=first), *(Token(word, token.end, token.end) for word in rest)]


def _mended(word: str, known: Collection[str]) -> str | None:
    """The word that differs by one slip of the pen, or by two in a long one; None: none does."""
    most = 1 if len(word) < 8 else 2
    near = []
    for other in known:
        turned = sorted(other) == sorted(word)
        if abs(len(other) - len(word)) > most or not (turned or other[0] == word[0]):
            continue
        if (turned or len(word) > LEAST or other[-1] == word[-1]) and (slips := _slips(word, other)) <= most:
            near.append((slips, other))
    return min(near)[1] if near else None


def _slips(a: str, b: str) -> int:
    """Letters that were added, left out, changed, or swapped with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        two, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, two[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _glued(parts: list[Token], known: Collection[str]) -> list[Token]:
    """A number that is glued to letters which are no word belongs to them: A9, C4."""
    out: list[Token] = []
    for token in parts:
        before = out[-1] if out else None
        glued = token.value is not None and not token.ordinal and before is not None and before.end == token.start
        if glued and before is not None and before.is_word and (before.text not in known or before.text == "a"):
            out[-1] = Token(before.text + token.text, before.start, token.end)
        else:
            out.append(token)
    return out


def _counted(parts: list[Token], words: Lexicon) -> list[Token]:
    """Numbers that are written as words, as numbers."""
    out: list[Token] = []
    at = 0
    while at < len(parts):
        token, after = parts[at], [part.text for part in parts[at + 1 : at + 3]]
        count, ordinal = words.numbers.get(token.text), words.ordinals.get(token.text)
        used = 1
        hundred = token.text == "a" and after[:1] == ["hundred"]
        if not token.is_word or (count is None and ordinal is None and not hundred):
            out.append(token)
        elif ordinal is not None:
            out.append(replace(token, value=float(ordinal), ordinal=True, as_word=True))
        else:
            value = 1.0 if count is None else float(count)
            if value >= 20 and after and 0 < words.numbers.get(after[0], 10) < 10:
                value, used = value + words.numbers[after[0]], 2
            elif value >= 20 and after and words.ordinals.get(after[0], 10) < 10:
                value, used, ordinal = value + words.ordinals[after[0]], 2, 1
            elif 0 < value < 10 and after[:1] == ["hundred"]:
                value, used, ordinal = _hundreds(value, [part.text for part in parts[at + 2 :]], words)
            elif after[:1] == ["point"] and words.numbers.get(after[-1], 10) < 10:
                value, used = value + words.numbers[after[-1]] / 10, 3
            end = parts[at + used - 1].end
            out.append(replace(token, end=end, value=value, ordinal=ordinal is not None, as_word=True))
        at += used
    return out


def _hundreds(hundreds: float, after: list[str], words: Lexicon) -> tuple[float, int, int | None]:
    """Hundreds and what follows, "and five" or "twenty-first": the number, its words, and 1 where it is ordinal."""
    value, used = 100 * hundreds, 2
    joined = after[:1] == ["and"]
    rest = after[joined : joined + 2]
    for word in rest:
        room = 100 if value % 100 == 0 else 10 if value % 100 >= 20 and value % 10 == 0 else 0
        more, nth = words.numbers.get(word, 0), words.ordinals.get(word, 0)
        if not 0 < (more or nth) < room:
            break
        value, used = value + (more or nth), used + 1 + (joined and value % 100 == 0)
        if nth:
            return value, used, 1
    return value, used, None


def _with_units(parts: list[Token]) -> list[Token]:
    """Numbers with the unit that follows, which is a word of its own no longer."""
    out: list[Token] = []
    at = 0
    while at < len(parts):
        token, used = parts[at], 1
        if token.value is not None and not token.ordinal and not token.unit:
            after = parts[at + 1] if at + 1 < len(parts) else token
            if after.text in UNITS:
                scale, what = UNITS[after.text]
                said = f"{token.text} {after.text}"
                token, used = replace(token, text=said, end=after.end, value=token.value * scale, unit=what), 2
        out.append(token)
        at += used
    return out
