"""Requests whose answer is a channel, or bits that one is written from: feedback and completion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from fastapi import Request, Response
from numpy.typing import NDArray
from starlette.exceptions import HTTPException
from torch import Tensor

from uniair.errors import InputError
from uniair.radio import Radio
from uniair.serve import schema
from uniair.serve.bodies import reply
from uniair.serve.naming import NotHereError
from uniair.serve.predictor import Received
from uniair.serve.radio_limits import work
from uniair.serve.service import Service
from uniair.serve.views import Hypotheses
from uniair.tasks.bit_code import BitString
from uniair.tasks.completion import complete, part_of
from uniair.tasks.feedback_code import FeedbackCode
from uniair.tasks.path_code import PathCode

ANSWERED = 2**20  # entries of an answer
SOUGHT = 2**21  # links × steps × work of a search; 1,024 links × steps of paper 1's radio
COMPLETED = 2**16  # work of a completion: 32 links of paper 1's radio


@contextmanager
def _unfit() -> Iterator[None]:
    """What can't be encoded, decoded or completed is a body that does not fit: 422."""
    try:
        yield
    except NotHereError:
        raise
    except InputError as error:
        raise HTTPException(422, " ".join(str(error).split())) from error


class ChannelService(Service):
    """All requests with a body: those of `Service`, and those that write channels."""

    async def feedback_encode(self, request: Request) -> Response:
        """CSI feedback: channels as bit strings of any budget, by the station's code or paths; beginnings are codes."""
        fields, csi = await self._read(request, schema.Bits)
        if fields.paths:
            return await self._paths_encode(request, fields, csi)
        code = self.predictor.codes.of(fields.number)
        with _unfit():
            asked = self._given(fields, csi)
            code.check_radio(asked.radio)
            self._bounded(len(asked) * fields.search, work(asked.radio), SOUGHT, "links × steps of search")
            code.code.stages(fields.length)
            if fields.search:
                seek = partial(code.encode, asked.csi, fields.length, fields.search, asked.radio)
                sent: BitString = await self.lanes.slow(seek)
            else:
                sent = code.code.encode(await self._embedding(asked), fields.length)
        return self._sent(request, sent, asked.radio, fields.number)

    async def feedback_decode(self, request: Request) -> Response:
        """CSI feedback: bit strings back as normalised channels, for the code's radio or another one."""
        fields, _ = await self._read(request, schema.Message)
        if by_paths := self._path_code(fields):
            return await self._paths_decode(request, fields, by_paths)
        code = self.predictor.codes.of(fields.number)
        with _unfit():
            radio = code.radio if fields.radio is None else fields.radio.checked()
            sent = self._message(fields, radio)
            place, ue = await self._beside(fields, code, len(sent.bits))
            write = partial(code.decode, sent, radio, fields.beside, place)
            found: Tensor = await self.lanes.slow(write)
        said = self.predictor.said_of(ue)
        if code.tuned and radio != code.radio:
            said.append(f"extrapolated: the decoder was tuned on {code.radio}, and writes for another radio here")
        return reply(request, {"csi": found.numpy()} | self._about(radio, fields.number, said=said), "csi")

    async def _paths_encode(self, request: Request, fields: schema.Bits, csi: NDArray[Any] | None) -> Response:
        with _unfit():
            asked = self._given(fields, csi)
            if fields.search:
                raise InputError("search: a code of paths has none; leave it out, or paths")
            self._bounded(len(asked), work(asked.radio), COMPLETED, "channels of this radio to read paths from")
            encode = partial(PathCode(asked.radio).encode, self.predictor.model, asked.csi, fields.length)
            sent: BitString = await self.lanes.slow(encode)
        return self._sent(request, sent, asked.radio, fields.number)

    async def _paths_decode(self, request: Request, fields: schema.Message, code: PathCode) -> Response:
        with _unfit():
            radio = code.radio if fields.radio is None else fields.radio.checked()
            if fields.beside is not None or fields.positions() is not None:
                raise InputError("beside: a code of paths is read without the place; leave it out")
            found: Tensor = await self.lanes.slow(partial(code.decode, self._message(fields, radio), radio))
        return reply(request, {"csi": found.numpy()} | self._about(radio, fields.number), "csi")

    def _path_code(self, fields: schema.Message) -> PathCode | None:
        """That wrote the bits: of the station's radio, or of the one that is asked for; None: neither."""
        own = self.predictor.site.radio_of(fields.number)
        radios = [own, *([] if fields.radio is None else [fields.radio.checked()])]
        return next((code for code in map(PathCode, radios) if code.digest == fields.code), None)

    def _message(self, fields: schema.Message, radio: Radio) -> BitString:
        texts = [fields.bits] if isinstance(fields.bits, str) else fields.bits
        self._few(texts)
        self._bounded(len(texts), radio.shape[0] * radio.shape[1], ANSWERED, "channels of this radio")
        head = bytes.fromhex(fields.code) + fields.length.to_bytes(2, "big")
        return BitString.from_bytes([head + bytes.fromhex(text) for text in texts])

    def _sent(self, request: Request, sent: BitString, radio: Radio, station: int) -> Response:
        messages = [message[10:].hex() for message in sent.to_bytes()]
        said = {"bits": messages, "length": sent.bits.shape[1], "code": sent.code}
        return reply(request, said | self._about(radio, station))

    async def complete(self, request: Request) -> Response:
        """Channels from a part of their entries: pilots, some antennas, a narrow band or the band beside."""
        fields, csi = await self._read(request, schema.Pilots)
        with _unfit():
            asked = self._given(fields, csi)
            try:
                known = np.array(fields.known, dtype=np.bool_)
            except ValueError as error:
                raise InputError("known: its rows differ in length; give [antennas, subcarriers]") from error
            self._bounded(len(asked), work(asked.radio), COMPLETED, "channels of this radio to complete")
            found: Tensor = await self.lanes.slow(partial(self._completed, asked, known, fields.snr))
        return reply(request, {"csi": found.numpy()} | self._about(asked.radio), "csi")

    def _completed(self, asked: Received, known: NDArray[np.bool_], snr: float | list[float] | None) -> Tensor:
        if known.shape == asked.radio.shape and known.any():
            self.predictor.note(part_of(asked.radio, torch.from_numpy(known)))
        return complete(self.predictor.model, asked.csi, asked.radio, known=known, snr=snr)

    def _given(self, fields: schema.Encode, csi: NDArray[Any] | None) -> Received:
        asked = self._received(fields, csi)
        if asked is None:
            raise InputError("csi is missing: give it, or where there are links the number of one")
        return asked

    def _bounded(self, count: int, each: int, most: int, what: str) -> None:
        if count * each > most:
            raise HTTPException(413, f"{count} {what}: send {most // each} or fewer a request")

    async def _beside(
        self, fields: schema.Message, code: FeedbackCode, count: int
    ) -> tuple[Tensor | None, NDArray[np.float64] | None]:
        """Embeddings of the places that the base station knows, and the positions in them."""
        ue = fields.positions()
        if (ue is not None) != (fields.beside == "map and position") or (ue is None and fields.crs is not None):
            raise InputError("ue: positions are read with beside 'map and position', and needed there; crs says theirs")
        if ue is not None:
            ue = self.predictor.ground(ue, fields.crs is not None)
            if len(ue) not in (1, count):
                raise InputError(f"ue: {len(ue)} positions for {count} bit strings; give one each, or one for all")
            ue = np.broadcast_to(ue, (count, 3))
        if fields.beside is None:
            return None, None
        here = self.predictor.views[fields.number]
        return await self._placed(Hypotheses(here, count, ue, radio=code.radio)), ue
