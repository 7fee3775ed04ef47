"""The code of a channel as a bit string of any length, of which every beginning is a code too.

A linear transform turns the embedding into coordinates whose errors count alike for the decoder. The first bits are
stages of 8: each names the word of a book that is nearest to what the stages before left over. What is then left of
each coordinate is told by halvings: a bit says on which side of a node's mean it lies, and the mean of the training
values on that side stands for it. Halvings are sent in the order in which they save most error. Books come first, since
on validation places they do with fewer bits; bits are evenly 0 and 1, so that they are not coded further.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from uniair import metrics
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio

SHORTEST, LONGEST = 24, 512  # bits
WORD, STAGES = 8, 12  # bits of a stage; how many are learned
LEAST = 512  # channels to learn from: two for each word of a book
DEPTH = 7  # most halvings of a coordinate
FEWEST = 16  # training values in a node, below which it is not halved
RATE, BETAS = 0.01, (0.7, 0.9)  # of Adam in the search (validation places)
CHUNK = 128  # channels that are searched for together
SOFT = 0.01  # share of the mean sensitivity that every direction of the code is taken to have


class BitString(NamedTuple):
    """What a user sends.

    Attributes:
        bits: uint8 [N, length] of 0 and 1.
        code: digest of the quantiser, and so of the weights, that wrote them; it travels beside the bits.
    """

    bits: Tensor
    code: str

    def prefix(self, length: int) -> BitString:
        """Its beginning.

        Raises:
            InputError: longer than it is.
        """
        if not SHORTEST <= length <= self.bits.shape[1]:
            raise InputError(f"a beginning of {length} bits: give {SHORTEST} to {self.bits.shape[1]}")
        return BitString(self.bits[:, :length], self.code)

    def to_bytes(self) -> list[bytes]:
        """A message each: 8 bytes of the digest, 2 of the length in bits, and the bits."""
        head = bytes.fromhex(self.code) + self.bits.shape[1].to_bytes(2, "big")
        return [head + row.tobytes() for row in np.packbits(self.bits.numpy(), axis=1)]

    @classmethod
    def from_bytes(cls, messages: list[bytes]) -> BitString:
        """What `to_bytes` wrote.

        Raises:
            InputError: cut off or torn messages, or of several digests or lengths.
        """
        heads = {message[:10] for message in messages}
        if len(heads) != 1 or len(head := heads.pop()) < 10:
            raise InputError(f"{len(messages)} bit strings of {len(heads) + 1} kinds: give one or more of one kind")
        length = int.from_bytes(head[8:], "big")
        if any(len(message) != 10 + -(-length // 8) for message in messages):
            raise InputError(f"a bit string is not as long as the {length} bits that it says")
        rows = np.frombuffer(b"".join(message[10:] for message in messages), np.uint8).reshape(len(messages), -1)
        return cls(torch.from_numpy(np.unpackbits(rows, axis=1, count=length)), head[:8].hex())


class Words(NamedTuple):
    """A code before it is written as bits.

    Attributes:
        chosen: int64 [N, stages] word of each book.
        node: int64 [N, E] of each coordinate's tree.
    """

    chosen: Tensor
    node: Tensor


@dataclass(frozen=True, eq=False)
class BitCode:
    """A quantiser of embeddings of E numbers, learned on training places.

    Attributes:
        weights: digest of the model whose embeddings it learned from.
        mean: float32 [E]; axes: [E, E] embedding less mean → coordinates, a column each; back: [E, E] and back.
        books: [STAGES, 2^WORD, E] words in coordinates.
        split: [E, 2^DEPTH − 1] where each node of a coordinate's tree is halved: root, its two children, and so on.
        value: [E, 2^(DEPTH + 1) − 1] what stands for each node.
        order: int64 coordinate that each bit after the stages tells of.
    """

    weights: str
    mean: Tensor
    axes: Tensor
    back: Tensor
    books: Tensor
    split: Tensor
    value: Tensor
    order: Tensor

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits."""
        found = hashlib.sha256(self.weights.encode())
        for tensor in self.tensors().values():
            found.update(tensor.numpy().tobytes())
        return found.hexdigest()[:16]

    def tensors(self) -> dict[str, Tensor]:
        """What it is made of beside the weights' digest, by the names of the attributes."""
        names = ("mean", "axes", "back", "books", "split", "value", "order")
        return {name: getattr(self, name).contiguous() for name in names}

    @property
    def longest(self) -> int:
        """Most bits of a code."""
        return WORD * len(self.books) + len(self.order)

    def stages(self, length: int) -> int:
        """How many whole stages so many bits hold; what is left of them before the halvings begin says nothing.

        Raises:
            InputError: fewer than `SHORTEST` bits, or more than the code has.
        """
        if not SHORTEST <= length <= self.longest:
            raise InputError(f"a code of {length} bits: give {SHORTEST} to {self.longest}")
        return min(length // WORD, len(self.books))

    def _told(self, length: int) -> Tensor:
        """The coordinate that each halving of so many bits tells of."""
        return self.order[: max(length - WORD * len(self.books), 0)]

    def words(self, z: Tensor, length: int) -> Words:
        """The nearest code of so many bits to embeddings [N, E]."""
        rest, chosen = (z - self.mean) @ self.axes, []
        for book in self.books[: self.stages(length)]:
            chosen.append(torch.cdist(rest, book).argmin(1))
            rest = rest - book[chosen[-1]]
        depth = torch.bincount(self._told(length), minlength=len(self.mean))
        node = torch.zeros(rest.shape, dtype=torch.int64)
        for level in range(int(depth.max())):
            split = self.split.expand(len(z), -1, -1).gather(2, node[..., None].clamp_max(self.split.shape[1] - 1))
            node = torch.where(depth > level, 2 * node + 1 + (rest > split[..., 0]), node)
        return Words(torch.stack(chosen, 1), node)

    def embedding(self, words: Words) -> Tensor:
        """What stands for words: embeddings float32 [N, E] of unit norm."""
        value = self.value.expand(len(words.node), -1, -1).gather(2, words.node[..., None])[..., 0]
        for book, chosen in zip(self.books, words.chosen.unbind(1), strict=False):
            value = value + book[chosen]
        return normalize(value @ self.back + self.mean, dim=-1)

    def encode(self, z: Tensor, length: int) -> BitString:
        """Embeddings [N, E] → bit strings.

        Raises:
            InputError: see `stages`.
        """
        words, told = self.words(z, length), self._told(length)
        depth = torch.bincount(told, minlength=len(self.mean))
        # a node's number less 2^depth − 1 is its path from the root, the first bit on top
        path = words.node + 1 - 2**depth
        halvings = (path[:, told] >> (depth[told] - 1 - _rank(told))) & 1
        named = (words.chosen[..., None] >> torch.arange(WORD - 1, -1, -1)) & 1
        bits = torch.cat([named.flatten(1), halvings], 1)
        return BitString(torch.nn.functional.pad(bits, (0, length - bits.shape[1])).to(torch.uint8), self.digest)

    def decode(self, sent: BitString) -> Tensor:
        """Bit strings → embeddings float32 [N, E] of unit norm.

        Raises:
            InputError: written by another quantiser or with other weights, of another length, or not of bits.
        """
        if sent.code != self.digest:
            raise InputError(f"bit string of code {sent.code}, this is {self.digest}: both ends need the same weights")
        bits = torch.as_tensor(sent.bits).long()
        if bits.ndim != 2 or ((bits != 0) & (bits != 1)).any():
            raise InputError(f"bits have shape {tuple(bits.shape)} or other values than 0 and 1, expected [N, length]")
        stages, told = self.stages(bits.shape[1]), self._told(bits.shape[1])
        named = bits[:, : WORD * stages].view(len(bits), stages, WORD)
        depth = torch.bincount(told, minlength=len(self.mean))
        path = torch.zeros(len(bits), len(depth), dtype=torch.int64)
        path.index_add_(1, told, bits[:, bits.shape[1] - len(told) :] << (depth[told] - 1 - _rank(told)))
        return self.embedding(Words((named << torch.arange(WORD - 1, -1, -1)).sum(-1), path + 2**depth - 1))


def _rank(order: Tensor) -> Tensor:
    """How many entries before each are the same: int64 as `order`."""
    same = (order[:, None] == order).tril(-1)
    return same.sum(1)


def learn(z: Tensor, weights: str, sensitivity: Tensor | None = None, stages: int = STAGES) -> BitCode:
    """A code from embeddings of training places.

    Args:
        z: float32 [N, E].
        weights: digest of the model that gave them.
        sensitivity: float64 [E, E], see `decoder_sensitivity`; None: every direction counts alike.
        stages: of `WORD` bits before the halvings.

    Raises:
        InputError: fewer than `LEAST` channels.
    """
    from sklearn.cluster import MiniBatchKMeans  # which takes a second to import, and only learning needs

    if len(z) < LEAST:
        raise InputError(f"a bit code from {len(z)} channels: give {LEAST} or more")
    z = z.double()
    metric = torch.eye(z.shape[1], dtype=torch.float64) if sensitivity is None else sensitivity.double()
    metric = metric + SOFT * metric.diagonal().mean() * torch.eye(len(metric), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(metric)
    root, inverse = ((vectors * values**power) @ vectors.mT for power in (0.5, -0.5))
    mean = z.mean(0)
    turned = torch.linalg.eigh(torch.cov(((z - mean) @ root).mT))[1].flip(1)
    axes = root @ turned
    rest, books = (z - mean) @ axes, []
    for stage in range(stages):
        found = MiniBatchKMeans(2**WORD, batch_size=4096, n_init=1, max_iter=30, random_state=stage).fit(rest.numpy())
        books.append(torch.from_numpy(found.cluster_centers_))
        rest = rest - books[-1][torch.from_numpy(found.labels_).long()]
    split, value, gain = _trees(rest)
    return BitCode(
        weights, mean.float(), axes.float(), (turned.mT @ inverse).float(), torch.stack(books).float(),
        split.float(), value.float(), _ordered(gain, LONGEST - WORD * stages),
    )  # fmt: skip


def _trees(coordinate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Halvings of [N, E] at the nodes' means: splits, values, and the error that each level saves [E, DEPTH]."""
    count, width = coordinate.shape
    value = torch.zeros(width, 2 ** (DEPTH + 1) - 1, dtype=torch.float64)
    value[:, 0] = coordinate.mean(0)
    node, error = torch.zeros(count, width, dtype=torch.int64), [coordinate.var(0, correction=0)]
    for _ in range(DEPTH):
        here = value.mT.gather(0, node)
        node = 2 * node + 1 + (coordinate > here)
        for child in np.unique(node.numpy()).tolist():
            inside = node == child
            total = inside.sum(0)
            mean = (coordinate * inside).sum(0) / total.clamp_min(1)
            value[:, child] = torch.where(total >= FEWEST, mean, value[:, (child - 1) // 2])
        error.append((coordinate - value.mT.gather(0, node)).square().mean(0))
    return value[:, : 2**DEPTH - 1].clone(), value, -torch.stack(error, 1).diff(dim=1)


def _ordered(gain: Tensor, count: int) -> Tensor:
    """The coordinate that saves most with its next bit, so many times: int64 [count]."""
    gain = torch.cummin(gain, 1).values  # what a level saves is not more than what the one before did
    best = gain.flatten().argsort(descending=True, stable=True)[:count]
    return best // gain.shape[1]


def decoder_sensitivity(decode: Callable[[Tensor], Tensor], z: Tensor, draws: int = 4, seed: int = 0) -> Tensor:
    """Mean of JᵀJ, J the slopes of the decoded CSI by the embedding: float64 [E, E].

    From products of Jᵀ with random vectors, whose mean square is that.

    Args:
        decode: embeddings of unit norm [N, E] → complex [N, ports, subcarriers].
        z: float32 [N, E] of training places.
    """
    total = torch.zeros(z.shape[1], z.shape[1], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        for part in torch.split(z.clone(), CHUNK):
            part = part.clone().requires_grad_()
            out = torch.view_as_real(decode(normalize(part, dim=-1)))
            for _ in range(draws):
                noise = torch.randn(out.shape, generator=generator)
                (slope,) = torch.autograd.grad((out * noise).sum(), part, retain_graph=True)
                total += slope.mT.double() @ slope.double()
    return total / (len(z) * draws)


def search_bits(
    model: UniversalModel, csi: Any, code: BitCode, length: int, steps: int, radio: Radio | None = None
) -> BitString:
    """The bit string that CRNN restores each CSI best from, sought from its embedding on with the rounding in the loop.

    The slope is taken where the rounded code is and moves what is rounded (straight-through); the best code on the way
    is sent.

    Args:
        csi: complex [N, ports, subcarriers].
        steps: how far each search goes; 0 rounds the embedding.
        radio: that measured them; None: the weights' own.

    Raises:
        InputError: negative steps; see `UniversalModel.check_csi` and `BitCode.stages`.
    """
    if steps < 0:
        raise InputError(f"search of {steps} steps: give 0 (the embedding as it is) or more")
    radio = model.own_or(radio)
    start = model.encode_channel(csi, radio)
    if not steps:
        return code.encode(start, length)
    truth = model.normalise_channel(csi, radio)
    parts = zip(torch.split(start, CHUNK), torch.split(truth, CHUNK), strict=True)
    found = [_search(model, *part, code, length, steps, radio) for part in parts]
    return code.encode(torch.cat(found), length)


def _search(
    model: UniversalModel, start: Tensor, truth: Tensor, code: BitCode, length: int, steps: int, radio: Radio
) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        truth, best, least = truth.clone(), start.clone(), torch.full((len(start),), math.inf)
        z = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([z], RATE, BETAS)
        for step in range(steps + 1):
            rounded = code.embedding(code.words(z.detach(), length)).requires_grad_()
            error = metrics.relative_error(model.crnn(rounded, radio)[0], truth).clamp_min(1e-12)
            better = error.detach() < least
            best, least = torch.where(better[:, None], z.detach(), best), torch.where(better, error.detach(), least)
            if step == steps:
                break
            optimiser.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
            (z.grad,) = torch.autograd.grad(error.log().sum(), rounded)
            optimiser.step()
        return best
