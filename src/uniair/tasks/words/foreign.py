"""German, French, Spanish and Chinese instructions are declined in their own language: the router reads English alone.

Of 168 translated questions it would get 21 to 29 % right (`uniair bench instructions`), which is too few to answer by.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from uniair.tasks.answers import Declined

EXAMPLE = "Where is this user?"
_SAYING = {
    "German": f"Ich verstehe nur Englisch. Bitte fragen Sie auf Englisch, zum Beispiel: {EXAMPLE}",
    "French": f"Je ne comprends que l'anglais. Posez la question en anglais, par exemple : {EXAMPLE}",
    "Spanish": f"Solo entiendo inglés. Haga la pregunta en inglés, por ejemplo: {EXAMPLE}",
    "Chinese": f"我只懂英语。请用英语提问，例如：{EXAMPLE}",
    "": f"I understand English only. Please ask in English, such as: {EXAMPLE}",
}
# words of grammar that are none in the other languages, nor abbreviations of the field (los, es, en …)
_WORDS = {
    "German": "der das den dem des ein eine einen einem einer und oder ist sind nicht wo wie wer warum welche "
    "welcher welches welchem welchen was für von vom zu zum zur mit auf aus bei nach über unter im am ich "
    "mir mich du wir uns er sie es diese dieser dieses diesen dass gib nenne bitte kann soll sollen wird "
    "steht liegt hat haben viel hoch stark beste bester besten",
    "French": "le la les du un une et ou est sont pas où quel quelle quels quelles qui que quoi pour avec dans sur "
    "vers par ce cet cette ces il elle on nous vous je tu donne donnez doit doivent faut entre depuis "
    "meilleur meilleure combien comment aux",
    "Spanish": "el la las lo del un una unos está están dónde cuál cuáles qué quién cómo cuánto cuánta cuántos para "
    "con por sobre hacia desde entre este esta ese esa dame debe deben hay tiene mejor mejores hola "
    "gracias cuéntame dime de donde cual que",
    "English": "the a an is are were be of to in on at for from by with and or what which where who how does do did "
    "can could would should will this that these it its i me my we you your give tell show please has "
    "have there between than if when not no",
}  # fmt: skip
_GRAMMAR = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_LETTERS = {"German": "äöüß", "French": "àâçèéêëîïôùûœ", "Spanish": "ñ¿¡áéíóú"}
_ELIDED = re.compile(r"(?<!\w)(?:[ldcjns]|qu)['’](?=[^\W\d_]{2})")


def language(text: str, names: Collection[str] = ()) -> str | None:
    """Which of the languages a text is in: `German`, `French`, `Spanish` or `Chinese`; empty: in another script.

    Args:
        names: of stations, which may be in any language.

    Returns:
        None where it is in English or none of these.
    """
    for name in names:
        text = re.sub(re.escape(name), " ", text, flags=re.IGNORECASE)
    text = unicodedata.normalize("NFKC", text).lower()
    words = re.findall(r"[^\W\d_]+", text)
    english = sum(word in _GRAMMAR["English"] for word in words)
    scripts = [unicodedata.name(letter, "NONE").split()[0] for letter in text if letter.isalpha()]
    strange = [script for script in scripts if script not in ("LATIN", "GREEK", "MICRO", "FEMININE", "MASCULINE")]
    if len(strange) > 1 and not english:
        return "Chinese" if set(strange) == {"CJK"} else ""
    hits = {
        tongue: sum(word in _GRAMMAR[tongue] for word in words) + any(letter in text for letter in letters)
        for tongue, letters in _LETTERS.items()
    }
    hits["French"] += len(_ELIDED.findall(text))
    best = max(hits, key=hits.__getitem__)
    return best if hits[best] > english else None


def declined(text: str, names: Collection[str] = ()) -> Declined | None:
    """Why an instruction in another language is not answered, in that language; None: it may be English."""
    tongue = language(text, names)
    return None if tongue is None else Declined("language", _SAYING[tongue])
