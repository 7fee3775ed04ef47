"""CSI feedback in bits on devices: a user's half encodes and packs, a base station's half unpacks and decodes.

    from uniair_edge import FeedbackRunner

    user = FeedbackRunner("ue")                     # of the two folders that uniair export --feedback wrote
    messages = user.send(csi, 96)                   # complex [N, antennas, subcarriers] → N messages of 96 bits
    station = FeedbackRunner("base_station")
    csi = station.restore(messages)                 # normalised, complex64 [N, antennas, subcarriers]

A message is 8 bytes of the code's digest, 2 of the length in bits, and the bits, the first one on top; both ends know
digest and length beforehand, so that only the bits need to go over the air. `uniair.tasks.bit_code` of uniair, restated
in NumPy; that the answers are the same is measured at export. This file is copied into edge packages as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rays import Floats, Integers
from .runner import Runner

WORD, SHORTEST = 8, 24  # bits of a stage, and of the shortest code
HEAD = 10  # bytes before the bits


class FeedbackRunner(Runner):
    """One half of the two ends.

    Args:
        folder: `ue` or `base_station` of what `uniair export --feedback` wrote.
        int8: models to take with weights in 8 bits, `cfenn` or `crnn`.
        threads: of ONNX Runtime; None: as many as it likes.

    Attributes:
        longest: most bits of a code.
        digest: of the quantiser, and so of the weights: 16 hexadecimal digits. Both halves must have the same.
    """

    def __init__(self, folder: str | Path, int8: Sequence[str] = (), threads: int | None = None) -> None:
        super().__init__(folder, int8, threads)
        if "code" not in self.card:
            raise ValueError(f"{folder}: a package without a feedback code; export one with --feedback")
        self.digest: str = self.card["code"]
        with np.load(self.folder / "code.npz", allow_pickle=False) as code:
            self._mean, self._axes, self._back, self._books, self._split, self._value, self._order = (
                code[name] for name in ("mean", "axes", "back", "books", "split", "value", "order")
            )
        self.longest = WORD * len(self._books) + len(self._order)

    def send(self, csi: NDArray[Any], length: int) -> list[bytes]:
        """CSI of the package's radio, complex [N, antennas, subcarriers] → a message of so many bits each.

        Raises:
            ValueError: of another radio, or a length that the code does not have; a base station's half.
        """
        self._check(length, "ue")
        bits = self.bits(self.encode(csi), length)
        head = bytes.fromhex(self.digest) + length.to_bytes(2, "big")
        return [head + row.tobytes() for row in np.packbits(bits, axis=1)]

    def restore(self, messages: Sequence[bytes]) -> NDArray[np.complex64]:
        """Messages of one length → normalised CSI, complex64 [N, antennas, subcarriers].

        Raises:
            ValueError: of another code or other weights, cut off, or of several lengths; a user's half.
        """
        heads = {bytes(message[:HEAD]) for message in messages}
        if len(heads) != 1 or len(head := heads.pop()) < HEAD:
            raise ValueError(f"{len(messages)} messages of {len(heads) + 1} kinds: give one or more of one kind")
        if head[:8].hex() != self.digest:
            raise ValueError(f"message of code {head[:8].hex()}, this is {self.digest}: both halves need the same code")
        length = int.from_bytes(head[8:], "big")
        self._check(length, "base_station")
        if any(len(message) != HEAD + -(-length // 8) for message in messages):
            raise ValueError(f"a message is not as long as the {length} bits that it says")
        packed = np.frombuffer(b"".join(message[HEAD:] for message in messages), np.uint8).reshape(len(messages), -1)
        return self.reconstruct(self.embedding(np.unpackbits(packed, axis=1, count=length)))

    def _check(self, length: int, half: str) -> None:
        if self.card["half"] != half:
            raise ValueError(f"{self.folder}: the half of a {self.card['half']}; this takes that of a {half}")
        if not SHORTEST <= length <= self.longest:
            raise ValueError(f"a code of {length} bits: give {SHORTEST} to {self.longest}")

    def _told(self, length: int) -> Integers:
        """The coordinate that each halving of so many bits tells of."""
        told: Integers = self._order[: max(length - WORD * len(self._books), 0)]
        return told

    def _depth(self, told: Integers) -> Integers:
        return np.bincount(told, minlength=len(self._mean))

    def bits(self, z: Floats, length: int) -> NDArray[np.uint8]:
        """Embeddings [N, E] → bits [N, length] of 0 and 1."""
        rest, columns = (z - self._mean) @ self._axes, []
        for book in self._books[: length // WORD]:
            apart = (rest**2).sum(1, keepdims=True) - 2 * rest @ book.T + (book**2).sum(1)
            chosen = apart.argmin(1)
            rest = rest - book[chosen]
            columns.append((chosen[:, None] >> np.arange(WORD - 1, -1, -1)) & 1)
        told = self._told(length)
        depth, node = self._depth(told), np.zeros(rest.shape, np.int64)
        across = np.arange(rest.shape[1])
        for level in range(int(depth.max(initial=0))):
            split = self._split[across, np.minimum(node, self._split.shape[1] - 1)]
            node = np.where(depth > level, 2 * node + 1 + (rest > split), node)
        path = node + 1 - 2**depth
        columns.append((path[:, told] >> (depth[told] - 1 - _rank(told))) & 1)
        found = np.concatenate(columns, axis=1).astype(np.uint8)
        return np.pad(found, ((0, 0), (0, length - found.shape[1])))

    def embedding(self, bits: NDArray[np.uint8]) -> Floats:
        """Bits [N, length] → embeddings [N, E] of unit norm."""
        count, length = bits.shape
        stages, told = min(length // WORD, len(self._books)), self._told(length)
        named = bits[:, : WORD * stages].astype(np.int64).reshape(count, stages, WORD)
        chosen = (named << np.arange(WORD - 1, -1, -1)).sum(2)
        depth = self._depth(told)
        path = np.zeros((count, len(depth)), np.int64)
        halvings = bits[:, length - len(told) :].astype(np.int64) << (depth[told] - 1 - _rank(told))
        np.add.at(path.T, told, halvings.T)
        value = self._value[np.arange(len(depth)), path + 2**depth - 1]
        for book, words in zip(self._books, chosen.T, strict=False):
            value = value + book[words]
        z = value @ self._back + self._mean
        return np.asarray(z / np.linalg.norm(z, axis=1, keepdims=True), np.float32)


def _rank(order: Integers) -> Integers:
    """How many entries before each are the same."""
    return np.asarray(np.tril(order[:, None] == order, -1).sum(1))
