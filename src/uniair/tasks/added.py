"""Tasks that a trained AI²MMUM learns later, of any modality: a class of several, or numbers with their units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from uniair.environment import Batch
from uniair.errors import InputError
from uniair.models.router import OUT_OF_SCOPE, packaged_phrases
from uniair.tasks.answers import Answer
from uniair.tasks.registry import TASKS
from uniair.tasks.task import Metric, Task
from uniair.tasks.words.lexicon import lexicon
from uniair.tasks.words.tokens import plain, tokens

WORD = re.compile(r"[^\W\d_]+")
CLASSES = Metric("accuracy", "right", "%")
VALUES = Metric("error_median", "median error", digits=2, less_is_better=True)


@dataclass(frozen=True, eq=False)
class Classes(Answer):
    """Which of several classes it is.

    Attributes:
        task: its name.
        about: the same in words.
        names: of the K classes.
        probabilities: float32 [N, K], calibrated.
    """

    record: ClassVar[Mapping[str, Any]] = {"class": str, "probabilities": dict}
    task: str  # type: ignore[misc]
    about: str
    names: tuple[str, ...]
    probabilities: Tensor

    def records(self) -> list[dict[str, Any]]:
        """The likeliest, and the probability of each."""
        return [
            {"class": self.names[row.argmax()], "probabilities": dict(zip(self.names, row.tolist(), strict=True))}
            for row in self.probabilities
        ]

    def sentences(self) -> list[str]:
        """The likeliest, and its probability."""
        return [
            f"{self.about[:1].upper()}{self.about[1:]}: {self.names[row.argmax()]} (probability {row.max():.0%})."
            for row in self.probabilities
        ]


@dataclass(frozen=True, eq=False)
class Values(Answer):
    """Numbers.

    Attributes:
        task: its name.
        about: the same in words.
        names: of the K numbers, with their units.
        values: float32 [N, K].
    """

    record: ClassVar[Mapping[str, Any]] = {"values": dict}
    task: str  # type: ignore[misc]
    about: str
    names: tuple[str, ...]
    values: Tensor

    def records(self) -> list[dict[str, Any]]:
        """By name."""
        return [{"values": dict(zip(self.names, row.tolist(), strict=True))} for row in self.values]

    def sentences(self) -> list[str]:
        """By name, with four figures."""
        said = (", ".join(f"{n} {v:.4g}" for n, v in zip(self.names, row.tolist(), strict=True)) for row in self.values)
        return [f"{self.about[:1].upper()}{self.about[1:]}: {numbers}." for numbers in said]


@dataclass(frozen=True)
class AddedTask:
    """A task as a model that learned it keeps it.

    Attributes:
        name: an identifier.
        modality: that it reads.
        parts: the modalities that this one joins, or itself.
        form: `classes` or `values`.
        names: of the classes, or of the values with their units.
        keywords: the fixed words of its instruction.
        phrases: that ask for it, as its name and keywords do. It is found by these words alone: the router, and with it
            what asks for other tasks, stays as it is.
        labels: the registered task whose labels of links it learned; empty: those of a file.
    """

    name: str
    modality: str
    parts: tuple[str, ...]
    form: Literal["classes", "values"]
    names: tuple[str, ...]
    keywords: str
    phrases: tuple[str, ...] = ()
    labels: str = ""

    def __post_init__(self) -> None:
        if self.form not in ("classes", "values") or len(self.names) < (2 if self.form == "classes" else 1):
            raise InputError(
                f"task {self.name}: {self.form} {', '.join(self.names)}; give classes, two or more, or values"
            )
        if len(set(self.names)) < len(self.names):
            raise InputError(f"task {self.name}: names {', '.join(self.names)}; give each another name")
        if self.labels and self.labels not in TASKS:
            raise InputError(
                f"task {self.name}: no task {self.labels!r} to take labels of; choose of {', '.join(TASKS)}"
            )

    @property
    def asked_by(self) -> tuple[str, ...]:
        """Name, keywords and phrases, as the grammar compares words."""
        return tuple(" ".join(_words(text)) for text in (self.name.replace("_", " "), self.keywords, *self.phrases))

    def check_words(self, others: tuple[AddedTask, ...] = ()) -> None:
        """Raises `InputError` where its words ask for another task, or would take a packaged instruction from one."""
        if self.name in TASKS or self.name in {other.name for other in others}:
            raise InputError(f"task {self.name}: is there already; give another name")
        cues = lexicon([*TASKS.values(), *(other.task(1) for other in others)]).cues
        packaged = [
            (" ".join(["", *WORD.findall(text.lower()), ""]), f"{label}, as in {text!r}")
            for label, styles in packaged_phrases("train").items()
            if label != OUT_OF_SCOPE  # of which it may take what it answers
            for texts in styles.values()
            for text in texts
        ]
        for said in self.asked_by:
            taken = cues.get(tuple(said.split())) or next(
                (label for text, label in packaged if f" {said} " in text), ""
            )
            if taken:
                raise InputError(f"task {self.name}: {said!r} asks for {taken}; give other --keywords or --phrases, "
                                 "or another name")  # fmt: skip

    def task(self, length: int) -> Task:
        """The same as other tasks are defined.

        Args:
            length: of its modality's representation.
        """
        classes = self.form == "classes"
        return Task(
            name=self.name,
            title=self.keywords,
            about=self.keywords,
            inputs=(self.modality,),
            widths=(length, len(self.names)),
            form=self.form,
            target=self._target,
            loss=functional.cross_entropy if classes else functional.mse_loss,
            measure=lambda out, batch: figures(self.form, out, self._target(batch)),
            metrics=(CLASSES if classes else VALUES,),
            headline=(CLASSES if classes else VALUES).key,
            answers=Classes if classes else Values,
            answer=self._answer,
            words=self._said,
            tool=f"tell_{self.name}",
            tells=f"{self.keywords} ({' or '.join(self.names) if classes and len(self.names) < 5 else self.form})",
            keywords=self.keywords,
            read=self.modality,
            phrases=(self.keywords, *self.phrases),
            known_from=TASKS[self.labels].known_from if self.labels else (),
            parts=self.parts,
            asked_by=self.asked_by,
        )

    def _target(self, batch: Batch) -> Tensor:
        if not self.labels:
            raise InputError(f"task {self.name}: learned from a file; links do not tell its labels")
        return TASKS[self.labels].target(batch)

    def _answer(self, out: Tensor) -> Answer:
        if self.form == "classes":
            return Classes(self.name, self.keywords, self.names, out.softmax(1))
        return Values(self.name, self.keywords, self.names, out)

    def _said(self, truth: Tensor) -> str:
        if self.form == "classes":
            return self.names[int(truth)]
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(self.names, truth.tolist(), strict=True))


def figures(form: str, out: Tensor, truth: Tensor) -> dict[str, float]:
    """How well N outputs tell the truth, beside what the most frequent class or the mean of these N would score.

    Returns:
        Of classes the shares `accuracy` and `majority`; of values the root mean square of all errors, that of the mean,
        and median and 90th percentile of the Euclidean norm of each row's errors, in the values' own units.
    """
    if form == "classes":
        right = (out.argmax(1) == truth).float().mean()
        return {"accuracy": float(right), "majority": float(torch.bincount(truth).max() / len(truth))}
    error = (out - truth).double()
    norm = error.norm(dim=1)
    return {
        "rmse": float(error.square().mean().sqrt()),
        "rmse_of_mean": float((truth - truth.mean(0)).double().square().mean().sqrt()),
        "error_median": float(norm.quantile(0.5)),
        "error_p90": float(norm.quantile(0.9)),
    }


def _words(text: str) -> list[str]:
    """A phrase's words in the spelling in which instructions are compared.

    Raises:
        InputError: no word, or a number, which is an argument.
    """
    words, text = lexicon(()), plain(text)
    found = tokens(text, {}, replace(words, plain=words.plain | set(text.lower().split())))  # none of them is misspelt
    if any(token.value is not None for token in found) or not any(token.is_word for token in found):
        raise InputError(f"{text!r}: give words to ask by, and no numbers")
    return [token.text for token in found if token.is_word]
