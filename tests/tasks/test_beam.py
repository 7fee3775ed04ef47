"""The best beam is one of the array's codebook, whatever the array."""

from __future__ import annotations

import pytest
import torch

from uniair.environment import Batch, Environment
from uniair.radio import OFDM, ULA, UPA, Antennas, Radio
from uniair.tasks.beam import beam_gains

ARRAYS = [ULA(8), ULA(8, 0.7), ULA(8, polarisation="dual"), ULA(8, polarisation="slanted"), UPA(2, 4),
          UPA(2, 4, polarisation="slanted"), ULA(8, codebook=ULA(8).dft_codebook()[::2])]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=str)
def test_a_beam_takes_in_what_its_weights_do(array: Antennas) -> None:
    """A channel that is one beam's weights, of one polarisation alone, is taken in by that beam and no other."""
    radio = Radio(array, OFDM(4))
    beams = array.dft_codebook()
    csi = beams[:, :, None].expand(-1, -1, 4)
    gains = beam_gains(Batch(csi, Environment(), radio))
    torch.testing.assert_close(gains, 4 * torch.eye(array.ports), atol=1e-5, rtol=1e-5)
