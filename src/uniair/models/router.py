"""The task of an instruction, and words that limit it, by the backbone's own hidden states (paper 2, III-D)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from uniair.errors import InputError
from uniair.files import atomic_path
from uniair.models.backbone import Backbone, blocks_of, first_blocks

FORMAT, WITHOUT_WORDS = "uniair-router/3", "uniair-router/2"  # the latter is read too
PACKAGED = Path(__file__).parents[1] / "weights" / "instruct" / "router.safetensors"
OUT_OF_SCOPE = "out_of_scope"
LONGEST = 512  # tokens of an instruction
# after which shares of the backbone's blocks its states are read besides the start: 4, 8 and 12 of 30; leaving out one
# batch of phrases at a time decided on these, THRESHOLD and REGULARISATION
DEPTHS = (0.13, 0.27, 0.4)
THRESHOLD = 0.4  # least probability of a task
REGULARISATION = 0.01  # inverse strength C of the classifier's L2 penalty
WORDS = 1e-3  # the same, of the classifier of words
LEAST = 4  # letters of a word that it learns from
# the first token of a decoder's input collects attention and looks alike in all texts, so it is none of the user's
OPENING = "Instruction:"
PROBE = "Where is this user, and is the direct path blocked?"
DRIFT = 0.1  # relative change of the probe's features that rounding to bfloat16 does not reach

Phrases = Mapping[str, Mapping[str, Sequence[str]]]
Clauses = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Route:
    """What an instruction asks for.

    Attributes:
        task: one of the router's tasks; None: none of them, or too doubtful.
        probabilities: of each task and of `out_of_scope`; they sum to 1.
    """

    task: str | None
    probabilities: dict[str, float]


@dataclass(frozen=True, eq=False)
class Router:
    """A multinomial logistic regression over tasks and `out_of_scope`, and one over words.

    Attributes:
        backbone: whose hidden states are read; LoRA layers in it are switched off meanwhile.
        labels: L of them, in the order of the rows below.
        weight: float32 [L, features].
        bias: float32 [L].
        words: weight, float32 [states], half as many as features, and bias, float32 [1], of a word that limits what is
            asked; None: any word may.
    """

    backbone: Backbone
    labels: tuple[str, ...]
    weight: Tensor
    bias: Tensor
    words: tuple[Tensor, Tensor] | None = None

    def route(self, instruction: str) -> Route:
        """The task of one instruction in free English.

        Raises:
            InputError: no text, an empty one, or more than 512 tokens.
        """
        return self.routes([instruction])[0]

    def routes(self, instructions: Sequence[str]) -> list[Route]:
        """As `route`, many at once."""
        logits = self._features.of(instructions) @ self.weight.T + self.bias
        return [self._decide(row) for row in logits.double().softmax(1).tolist()]

    def limits(self, instruction: str, words: Sequence[tuple[int, int]]) -> list[float]:
        """The probability of each of some words that it limits what is asked, as a condition or another place does.

        Args:
            words: where each starts and ends in the instruction.

        Raises:
            InputError: see `route`.
        """
        if self.words is None:
            return [1.0] * len(words)
        weight, bias = self.words
        return (self._features.of_words([instruction], [words]) @ weight + bias).double().sigmoid().tolist()

    def _decide(self, row: list[float]) -> Route:
        probabilities = dict(zip(self.labels, row, strict=True))
        best = max(self.labels, key=probabilities.__getitem__)
        return Route(best if best != OUT_OF_SCOPE and probabilities[best] >= THRESHOLD else None, probabilities)

    @cached_property
    def _features(self) -> _Features:
        return _Features(self.backbone)

    def save(self, path: Path) -> None:
        """Writes a safetensors file of some hundred kB, which `load_router` takes with the same backbone alone."""
        tensors = {"weight": self.weight.contiguous(), "bias": self.bias, "probe": self._features.of([PROBE])[0]}
        if self.words is not None:
            tensors |= dict(zip(("word_weight", "word_bias"), self.words, strict=True))
        header = {
            "format": WITHOUT_WORDS if self.words is None else FORMAT,
            "backbone": self.backbone.name,
            "labels": self.labels,
        }
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"uniair": json.dumps(header)})


def load_router(backbone: Backbone, path: Path = PACKAGED) -> Router:
    """The router in a file; the packaged one belongs to the default backbone.

    Raises:
        InputError: missing or broken, or fitted on another backbone: then make one with `fit_router`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["uniair"])
            weight, bias, probe = (file.get_tensor(name) for name in ("weight", "bias", "probe"))
            words = None
            if header["format"] != WITHOUT_WORDS:
                words = file.get_tensor("word_weight"), file.get_tensor("word_bias")
        router = Router(backbone, tuple(header["labels"]), weight, bias, words)
        known, fitted_on = header["format"] in (FORMAT, WITHOUT_WORDS), str(header["backbone"])
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: missing or not a router of uniair ({error}); make it with fit_router") from error
    sizes = [(len(router.labels), len(probe)), weight.shape[:1], (len(probe) // 2,), (1,)]
    if not known or any(part.shape != size for part, size in zip((weight, bias, *(words or ())), sizes, strict=False)):
        raise InputError(f"{path}: a router of another version; make it again with fit_router")
    found = router._features.of([PROBE])[0]
    # the same name may stand for other weights, and other names for the same, so what the backbone does decides
    if found.shape != probe.shape or float((found - probe).norm()) > DRIFT * float(probe.norm()):
        raise InputError(f"{path}: fitted on backbone {fitted_on}, which differs from {backbone.name}; use fit_router")
    return router


def fit_router(backbone: Backbone, phrases: Phrases | None = None, clauses: Clauses | None = None) -> Router:
    """Fits a router; on the packaged phrases in some two minutes.

    Args:
        backbone: any.
        phrases: label → style → instructions, with `out_of_scope` among the labels; the packaged ones where None.
        clauses: `restricting` and `harmless` → what may stand beside an instruction, and `examples`, instructions with
            the phrase that limits each, or none; the packaged ones where None.

    Raises:
        InputError: no out-of-scope phrases, or none of anything else.
    """
    from sklearn.linear_model import LogisticRegression

    phrases = packaged_phrases("train") if phrases is None else phrases
    labelled = [(text, label) for label, styles in phrases.items() for texts in styles.values() for text in texts]
    if OUT_OF_SCOPE not in phrases or len(phrases) < 2:
        raise InputError(f"phrases: labels {', '.join(phrases)}; give {OUT_OF_SCOPE} and at least one task")
    features = _Features(backbone).of([text for text, _ in labelled]).double().numpy()
    mean, spread = features.mean(0), features.std(0) + 1e-6
    model = LogisticRegression(C=REGULARISATION, max_iter=1000)
    model.fit((features - mean) / spread, [label for _, label in labelled])
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # of two classes, scikit-learn gives the second one's logit
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    weight = weight / spread
    asked = [text for text, label in labelled if label != OUT_OF_SCOPE]
    words = _fit_words(backbone, asked, packaged_clauses() if clauses is None else clauses)
    return Router(
        backbone, tuple(str(label) for label in model.classes_),
        torch.from_numpy(weight).float(), torch.from_numpy(bias - weight @ mean).float(), words,
    )  # fmt: skip


def _fit_words(backbone: Backbone, instructions: Sequence[str], clauses: Clauses) -> tuple[Tensor, Tensor]:
    """Weight and bias of what tells a word that limits an instruction from one that does not."""
    from sklearn.linear_model import LogisticRegression

    examples = [(text, "") for text in instructions[:: max(1, len(instructions) // 600)]]
    for number, clause in enumerate((*clauses["restricting"], *clauses["harmless"])):
        text = _beside(instructions[(7 * number) % len(instructions)], clause, number)
        examples.append((text, clause if number < len(clauses["restricting"]) else ""))
    examples += [(text, phrase) for text, phrase in clauses["examples"]]
    spans, labels = [], []
    for text, phrase in examples:
        start = text.lower().index(phrase.lower()) if phrase else len(text)
        found = [match.span() for match in re.finditer(rf"[^\W\d_]{{{LEAST},}}", text)]
        spans.append(found)
        labels += [start <= first < start + len(phrase) for first, _ in found]
    states = _Features(backbone).of_words([text for text, _ in examples], spans).double().numpy()
    mean, spread = states.mean(0), states.std(0) + 1e-6
    model = LogisticRegression(C=WORDS, max_iter=2000).fit((states - mean) / spread, labels)
    weight = model.coef_[0] / spread
    return torch.from_numpy(weight).float(), torch.from_numpy(model.intercept_ - weight @ mean).float()


def _beside(instruction: str, clause: str, number: int) -> str:
    """An instruction with a clause before or after it, as a sentence of its own where it is one."""
    if clause[0].isupper() and clause.endswith((".", "?")):
        return f"{clause} {instruction}" if number % 3 else f"{instruction} {clause}"
    if number % 4 == 0:
        return f"{clause}, {instruction}"
    bare = instruction.rstrip("?.!")
    return f"{bare} {clause}" if number % 4 < 3 else f"{bare}, {clause}{instruction[len(bare) :]}"


def packaged_phrases(split: str) -> Phrases:
    """Instructions by label and style: `train` fits the router, `dev` checks it."""
    text = resources.files("uniair").joinpath("instructions", f"{split}.json").read_text(encoding="utf-8")
    phrases: Phrases = json.loads(text)
    return phrases


def packaged_clauses() -> Clauses:
    """What words are learned from: `restricting` and `harmless` clauses, and `examples` with what limits them."""
    text = resources.files("uniair").joinpath("instructions", "clauses.json").read_text(encoding="utf-8")
    clauses: Clauses = json.loads(text)
    return clauses


class _Features:
    """Mean (gist) and maximum (detail) over the words of hidden states: from the words themselves to an early block."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.opening = backbone.tokens(OPENING)
        self.decoder, self.read = _first_blocks(backbone.model.base_model)

    def of(self, instructions: Sequence[str]) -> Tensor:
        """float32 [N, features]."""
        return torch.stack(
            self._each(
                instructions,
                lambda hidden, _: torch.cat([hidden.mean(0), hidden.amax(0)]),
            )
        )

    def of_words(self, instructions: Sequence[str], words: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
        """States at the last token of each word, float32 [words, states].

        Args:
            words: of each instruction, where they start and end.
        """

        def states(hidden: Tensor, i: int) -> Tensor:
            ends = [len(self.backbone.tokens(" " + instructions[i][:end].lower())) - 1 for _, end in words[i]]
            return hidden[[min(end, len(hidden) - 1) for end in ends]]

        return torch.cat(self._each(instructions, states))

    @torch.no_grad()
    def _each(self, instructions: Sequence[str], read: Callable[[Tensor, int], Tensor]) -> list[Tensor]:
        """What is read of each instruction's hidden states [tokens, states]; given their number too."""
        rows = [self._tokens(instruction) for instruction in instructions]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out: list[Tensor] = [torch.empty(0)] * len(rows)
        with _without_lora(self.decoder):
            for start in range(0, len(order), 32):
                part = order[start : start + 32]
                for i, hidden in zip(part, self._hidden([rows[i] for i in part]), strict=True):
                    out[i] = read(hidden[: len(rows[i])], i).cpu()
        return out

    def _tokens(self, instruction: str) -> list[int]:
        if not isinstance(instruction, str) or not instruction.strip():
            raise InputError("instruction: empty; ask for something, such as: where is this user?")
        tokens = self.backbone.tokens(" " + " ".join(instruction.lower().split()))
        if len(tokens) > LONGEST:
            raise InputError(f"instruction: {len(tokens)} tokens; ask in {LONGEST} or fewer")
        return tokens

    def _hidden(self, rows: list[list[int]]) -> Tensor:
        """[N, tokens, states], with what follows a shorter row's end."""
        start, width = len(self.opening), max(map(len, rows))
        tokens = torch.tensor([self.opening + row + [0] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * (start + len(row)) + [0] * (width - len(row)) for row in rows])
        tokens, mask = tokens.to(self.decoder.device), mask.to(self.decoder.device)
        states: list[Tensor] = [self.decoder.get_input_embeddings()(tokens)]

        def keep(_block: Any, _inputs: Any, output: Any) -> None:
            states.append(output if isinstance(output, Tensor) else output[0])

        hooks = [block.register_forward_hook(keep) for block in self.read]
        try:
            self.decoder(input_ids=tokens, attention_mask=mask, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(states, dim=-1)[:, start:].float()


def _first_blocks(decoder: Any) -> tuple[Any, list[Any]]:
    """The decoder up to the last of DEPTHS, and the blocks whose output is read."""
    blocks = blocks_of(decoder)
    depths = sorted({max(1, round(share * len(blocks))) for share in DEPTHS})
    return first_blocks(decoder, depths[-1]), [blocks[depth - 1] for depth in depths]


@contextmanager
def _without_lora(decoder: Any) -> Iterator[None]:
    """Switches LoRA off in the block: it was trained to read radio tokens, and changes with every training."""
    layers = [m for m in decoder.modules() if hasattr(m, "lora_A") and not m.disable_adapters]
    trained = {id(p) for layer in layers for p in layer.parameters() if p.requires_grad}
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
            for parameter in layer.parameters():  # peft's switch also sets what is trained
                parameter.requires_grad_(id(parameter) in trained)
