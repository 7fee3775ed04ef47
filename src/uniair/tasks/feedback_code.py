"""What the two ends of a link share for CSI feedback in bits: a quantiser, its decoder, and what a place adds to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import Radio
from uniair.tasks.bit_code import BitCode, BitString, search_bits
from uniair.tasks.side_information import InformedDecoder

LENGTHS = (24, 48, 64, 96, 128, 192, 256, 384, 512)  # bits for which decoders beside a place are learned
# what the base station knows of the place, by what it does not
KNOWN = {"map": ("los", "ue"), "map and position": ("los",)}


@dataclass(frozen=True, eq=False)
class FeedbackCode:
    """A quantiser of a radio's channels, with the decoder that its bits are written for.

    The user needs the encoder and the quantiser, the base station the quantiser and the decoder.

    Attributes:
        radio: whose channels it has learned from and takes.
        code: the quantiser.
        model: that encodes and, its CRNN tuned to the code or as pretrained, decodes.
        beside: what is known of the place, of `KNOWN`, and the decoder beside it.
        tuned: whether the CRNN is another than the pretrained one.
    """

    radio: Radio
    code: BitCode
    model: UniversalModel
    beside: Mapping[str, InformedDecoder]
    tuned: bool = False

    def check_radio(self, radio: Radio) -> None:
        """Raises `InputError` where channels of a radio are not such as the code takes."""
        if odd := [name for name in self.radio.differs(radio) if name not in ("amplitude", "ue")]:
            raise InputError(
                f"feedback code of {self.radio}, the channels are of {radio}; what differs: {', '.join(odd)}; learn "
                "one for this radio with uniair adapt --task feedback"
            )

    def encode(self, csi: Any, length: int, steps: int = 0, radio: Radio | None = None) -> BitString:
        """CSI complex [N, ports, subcarriers] → bit strings.

        Args:
            steps: of the search for better bits through the decoder, see `search_bits`; 0 rounds the embedding.
            radio: that measured the CSI; None: the code's.

        Raises:
            InputError: another radio than the code's; see `search_bits`.
        """
        self.check_radio(self.radio if radio is None else radio)
        return search_bits(self.model, csi, self.code, length, steps, self.radio)

    def decode(
        self, sent: BitString, radio: Radio | None = None, known: str | None = None, place: Tensor | None = None
    ) -> Tensor:
        """Bit strings → normalised CSI, complex64 [N, ports, subcarriers].

        Args:
            radio: to write the channels for; None: the code's.
            known: what `place` is of: a name of `beside`; None: nothing.
            place: embeddings of the places [N, E].

        Raises:
            InputError: see `BitCode.decode`, `InformedDecoder.decode` and `UniversalModel.reconstruct_channel`; nothing
                was learned beside what is known, or the one is given without the other.
        """
        if (known is None) != (place is None):
            raise InputError("decoding beside a place takes both what is known of it and its embeddings")
        if known is None or place is None:
            z = self.code.decode(sent)
        elif known not in self.beside:
            have = ", ".join(self.beside) or "nothing"
            raise InputError(f"no decoder beside {known!r:.40} was learned for this code; there is one beside {have}")
        else:
            z = self.beside[known].decode(sent, place)
        return self.model.reconstruct_channel(z, self.radio if radio is None else radio, seen_by=self.radio)
