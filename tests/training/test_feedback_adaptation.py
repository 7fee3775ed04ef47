"""A site's own feedback code: learned, tuned, measured, kept, gone on with, and refused where ends disagree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.conftest import geometric_links

import uniair
from uniair import metrics
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.errors import InputError
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, ULA, Radio
from uniair.tasks import bit_code
from uniair.tasks.feedback_code import FeedbackCode
from uniair.training import feedback_adaptation
from uniair.training.feedback_adaptation import (
    Channels,
    DecoderTraining,
    Fitted,
    adapt_feedback,
    is_made,
    learned,
    load_feedback,
    measure,
    save_feedback,
)
from uniair.training.heads import Adaptation, divide

TRAINING = DecoderTraining(steps=30, batch=32, learning_rate=2e-3, save_every=15)


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    torch.manual_seed(0)
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def place() -> Links:
    return geometric_links(seed=5, areas=1, per_area=150)


@pytest.fixture(scope="module", autouse=True)
def _less() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("STAGES", (1, 3)), ("SHOWN", (48, 96)), ("LENGTHS", (24, 48, 96)), ("SUBBANDS", 3),
                            ("SLOPES", 64)):  # fmt: skip
            patch.setattr(feedback_adaptation, name, value)
        for name, value in (("WORD", 5), ("LEAST", 64)):  # 32 words a book, for which few channels are enough
            patch.setattr(bit_code, name, value)
        yield


@pytest.fixture(scope="module")
def fitted(model: UniversalModel, place: Links) -> Fitted:
    return adapt_feedback(model, place, Adaptation(), TRAINING)


def test_a_decoder_tuned_to_the_code_restores_more(model: UniversalModel, place: Links, fitted: Fitted) -> None:
    assert fitted.code.tuned
    assert (fitted.learned, fitted.tested) == (120, 30)
    assert set(fitted.figures) == {"decoder as pretrained", "bits alone", "map", "map and position"}
    csi = batch_of(place).csi[torch.from_numpy(divide(place, Adaptation())[1])]
    sent, truth = fitted.code.encode(csi, 96), model.normalise_channel(csi)
    before, after = (
        metrics.nmse_db(one.reconstruct_channel(fitted.code.code.decode(sent)), truth)
        for one in (model, fitted.code.model)
    )
    assert after < before - 0.5


def test_the_pretrained_model_stays_as_it_is(model: UniversalModel, fitted: Fitted) -> None:
    torch.manual_seed(0)
    fresh = dict(uniair.build("tiny").named_parameters())
    assert all(torch.equal(value, fresh[name]) for name, value in model.named_parameters())
    assert fitted.code.model.cfenn is model.cfenn
    assert any(not torch.equal(value, fresh[f"crnn.{n}"]) for n, value in fitted.code.model.crnn.named_parameters())


def test_what_is_kept_is_read_again(model: UniversalModel, place: Links, fitted: Fitted, tmp_path: Path) -> None:
    about = {"area": "town/0", "seed": 0}
    path = tmp_path / "town-0-feedback-channel-0.safetensors"
    assert not is_made(path, about)
    save_feedback(path, fitted.code, about | {"figures": fitted.figures})
    assert is_made(path, about)
    with pytest.raises(InputError, match=r"made otherwise \(seed\)"):
        is_made(path, about | {"seed": 1})
    again, csi = load_feedback(path, model, Radio()), batch_of(place).csi[:6]
    for steps in (0, 2):
        sent = fitted.code.encode(csi, 64, steps)
        assert torch.equal(again.encode(csi, 64, steps).bits, sent.bits)
        torch.testing.assert_close(again.decode(sent), fitted.code.decode(sent))
    assert json.loads(path.with_suffix(".json").read_text())["code"] == fitted.code.code.digest
    assert [one.suffix for one in sorted(tmp_path.iterdir())] == [".json", ".safetensors"]


def test_other_weights_radios_and_torn_files_are_refused(model: UniversalModel, fitted: Fitted, tmp_path: Path) -> None:
    path = tmp_path / "code.safetensors"
    save_feedback(path, fitted.code, {})
    torch.manual_seed(1)
    with pytest.raises(InputError, match="feedback code of weights"):
        load_feedback(path, uniair.build("tiny"))
    with pytest.raises(InputError, match=r"code.safetensors: feedback code of .* what differs: array"):
        load_feedback(path, model, Radio(ULA(16)))
    with pytest.raises(InputError, match="what differs: grid"):
        fitted.code.encode(torch.ones(1, 32, 32, dtype=torch.complex64), 64, radio=Radio(grid=OFDM(32)))
    with pytest.raises(InputError, match="truncated or not a safetensors file"):
        load_feedback(tmp_path / "absent.safetensors", model)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="truncated"):
        load_feedback(path, model)


def test_bits_are_decoded_for_another_radio_and_beside_a_place(
    model: UniversalModel, place: Links, fitted: Fitted
) -> None:
    batch = batch_of(place).select(torch.arange(8))
    sent = fitted.code.encode(batch.csi, 96)
    wide = Radio(ULA(16), OFDM(32, 720e3))
    assert fitted.code.decode(sent, wide).shape == (8, 16, 32)
    where = model.encode_environment(batch.environment.without("los"))
    assert fitted.code.decode(sent, None, "map and position", where).shape == batch.csi.shape
    with pytest.raises(InputError, match="there is one beside map, map and position"):
        fitted.code.decode(sent, None, "weather", where)
    with pytest.raises(InputError, match="takes both"):
        fitted.code.decode(sent, None, "map")
    with pytest.raises(InputError, match=r"28 GHz can't be written for 3.5 GHz"):
        fitted.code.decode(sent, Radio(carrier=3.5e9))


def test_a_killed_run_goes_on_bit_for_bit(
    model: UniversalModel, place: Links, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def killed(training: DecoderTraining, after: int) -> None:
        kept, calls = feedback_adaptation.losses.reconstruction, iter(range(1000))

        def counted(*given: torch.Tensor) -> torch.Tensor:
            if next(calls) == after:
                raise KilledError
            return kept(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(feedback_adaptation.losses, "reconstruction", counted)
            adapt_feedback(model, place, Adaptation(), training, out=tmp_path / "state")

    monkeypatch.setattr(feedback_adaptation, "STAGES", (1,))
    monkeypatch.setattr(feedback_adaptation, "SHOWN", (24,))
    training = DecoderTraining(steps=6, batch=16, save_every=2)
    with pytest.raises(KilledError):
        killed(training, 5)
    again = adapt_feedback(model, place, Adaptation(), training, out=tmp_path / "state")
    whole = adapt_feedback(model, place, Adaptation(), training)
    for one, other in zip(again.code.model.crnn.parameters(), whole.code.model.crnn.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_code_of_training_places_stays_where_a_site_does_no_better(
    model: UniversalModel, place: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batch_of(place)
    best = learned(model, Channels.of(model, iter([batch])), batch.radio, stages=6)  # has seen what is held out
    untuned = DecoderTraining(steps=0)
    monkeypatch.setattr(feedback_adaptation, "STAGES", (1,))
    kept = adapt_feedback(model, place, Adaptation(), untuned, begun=best)
    assert kept.code.code is best.code
    assert not kept.code.tuned
    worse = learned(model, Channels.of(model, iter([batch.select(torch.arange(100))])), batch.radio, stages=1)
    other = FeedbackCode(Radio(ULA(16)), worse.code, model, {})
    with pytest.raises(InputError, match="what differs: array"):
        adapt_feedback(model, place, Adaptation(), untuned, begun=other)


def test_too_few_links_are_refused(model: UniversalModel, place: Links) -> None:
    with pytest.raises(InputError, match="a bit code from 56 channels: give 64 or more"):
        adapt_feedback(model, place, Adaptation(labels=70), TRAINING)


def test_more_bits_are_nearer_and_figures_are_of_every_decoder(model: UniversalModel, place: Links) -> None:
    batch = batch_of(place)
    found = learned(model, Channels.of(model, iter([batch])), batch.radio, stages=3)
    z = model.encode_channel(batch.csi)
    lost = [float((found.code.decode(found.code.encode(z, length)) - z).norm(dim=1).mean()) for length in (24, 96, 230)]
    assert sorted(lost, reverse=True) == lost
    some = batch.select(torch.arange(40))
    figures = measure(found, Channels.of(model, iter([some])), some)
    assert set(figures) == {"bits alone", "map", "map and position"}
    assert all(0 <= value <= 1 for by_bits in figures.values() for value in by_bits.values())
