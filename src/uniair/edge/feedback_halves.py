"""A feedback code for devices: a folder with the encoder for a user, and one with the decoder for a base station."""

from __future__ import annotations

import importlib.util
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniair.data.links.loader import batch_of
from uniair.data.links.store import SAMPLE, Store
from uniair.edge.export import CARD, LINKS, TOLERANCE, card_of, copy_runner, replaced, varied, write_channel, write_crnn
from uniair.edge.quantisation import quantise
from uniair.errors import InputError
from uniair.files import sha256, write_text
from uniair.models.universal import RadioWarning
from uniair.tasks.bit_code import BitString
from uniair.tasks.feedback_code import LENGTHS, FeedbackCode

HALVES = {"ue": "cfenn", "base_station": "crnn"}  # folder → its network
TRIES = 4  # with other noise, before bit strings count as different: see `_parity`


@dataclass(frozen=True)
class FeedbackPackage:
    """What goes into the two halves.

    Attributes:
        code: quantiser, encoder and decoder.
        name: of the model.
        int8: whether the networks are there in 8 bits too.
    """

    code: FeedbackCode
    name: str
    int8: bool = False

    def write(self, folder: Path) -> dict[str, Any]:
        """Writes `ue` and `base_station` in one step and returns a card of both; an older package is replaced.

        Raises:
            InputError: onnx or onnxruntime is missing, the folder holds something else, the model can't be written for
                this radio, or an answer differs from the library's.
        """
        for needed in ("onnx", "onnxruntime"):
            if importlib.util.find_spec(needed) is None:
                raise InputError(f"export needs {needed}: pip install 'uniair[serve]'")
        with replaced(folder) as here:
            half = card_of(self.code.model, self.name, self.code.radio) | {
                "weights": self.code.code.weights, "code": self.code.code.digest, "tuned": self.code.tuned,
                "longest": self.code.code.longest, "int8": [],
            }  # fmt: skip
            for name, network in HALVES.items():
                self._fill(here / name, network)
                mine = half | {"half": name, "int8": [network] if self.int8 else []}
                write_text(here / name / CARD, json.dumps(mine, indent=1) + "\n")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RadioWarning)  # the card has the remarks
                parity = self._parity(here)
            if parity["differ"] or not all(value <= TOLERANCE for value in parity["largest"].values()):
                raise InputError(f"{folder}: the halves differ from the library ({json.dumps(parity)}); nothing was "
                                 "written. Please report it with the versions of torch and onnxruntime")  # fmt: skip
            sizes = {
                name: {str(path.relative_to(here / name)): round(path.stat().st_size / 1e6, 3)
                       for path in sorted((here / name).rglob("*.*")) if path.suffix in (".onnx", ".npz", ".npy")}
                for name in HALVES
            }  # fmt: skip
            card = half | {"halves": list(HALVES), "parity": parity, "megabytes": sizes, "sha256": {
                str(path.relative_to(here)): sha256(path) for path in sorted(here.rglob("*.onnx"))
            }}  # fmt: skip
            write_text(here / CARD, json.dumps(card, indent=1) + "\n")
        return card

    def _fill(self, here: Path, network: str) -> None:
        model, radio = self.code.model, self.code.radio
        here.mkdir()
        (write_channel if network == "cfenn" else write_crnn)(model, radio, here)
        if self.int8:
            quantise(here / f"{network}.onnx", here / "int8" / f"{network}.onnx")
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in self.code.code.tensors().items()}
        np.savez_compressed(here / "code.npz", **arrays)
        copy_runner(here, feedback=True)

    @torch.inference_mode()
    def _parity(self, here: Path) -> dict[str, Any]:
        """How far the halves are from the library on packaged links.

        Where two words, or two sides of a mean, are as near, rounding alone decides between them, and what comes after
        follows: bit strings that differ are asked for again, of channels with other noise.
        """
        from uniair.edge.feedback_runner import FeedbackRunner

        code, radio, model = self.code.code, self.code.radio, self.code.model
        user, station = (FeedbackRunner(here / name, threads=torch.get_num_threads()) for name in HALVES)
        found, strings, again, left = {"embedding": 0.0, "csi": 0.0}, 0, 0, 0
        draw = torch.Generator().manual_seed(0)
        for number, links in enumerate(Store(SAMPLE)[:3]):
            links = links.select(np.flatnonzero((links.bs == links.bs[0]).all(1))[:LINKS])
            whole = batch_of(varied(links, number), radio).csi
            for length in (length for length in LENGTHS if length <= code.longest):
                csi, strings = whole, strings + len(whole)
                for attempt in range(TRIES):
                    mine = BitString.from_bytes(user.send(csi.numpy(), length))
                    sent = code.encode(model.encode_channel(csi, radio), length)
                    odd = (mine.bits != sent.bits).any(1)
                    if not attempt:
                        wanted, told = code.decode(mine), torch.from_numpy(station.embedding(mine.bits.numpy()))
                        there = model.reconstruct_channel(wanted, radio)
                        gap = np.abs(station.restore(mine.to_bytes()) - there.numpy()).max()
                        found["embedding"] = max(found["embedding"], float((told - wanted).abs().max()))
                        found["csi"] = max(found["csi"], float(gap) / float(there.abs().max()))
                        again += int(odd.sum())
                    if not odd.any():
                        break
                    csi = csi[odd]
                    csi = csi * (1 + 1e-3 * torch.randn(csi.shape, dtype=csi.dtype, generator=draw))
                left += int(odd.sum())
        return {"tolerance": TOLERANCE, "strings": strings, "asked_again": again, "differ": left, "largest": found}
