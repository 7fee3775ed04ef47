"""Feedback codes: a quantiser learned on the channels of training places or of a site, and a decoder tuned to it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from uniair import losses, metrics
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.environment import Batch
from uniair.errors import InputError
from uniair.evaluation.port_panel import subband_directions
from uniair.files import atomic_path, write_text
from uniair.models.universal import BATCH, UniversalModel
from uniair.radio import Radio
from uniair.releases.earlier import way_back
from uniair.releases.node import located
from uniair.tasks import bit_code
from uniair.tasks.bit_code import BitCode, decoder_sensitivity, learn
from uniair.tasks.feedback_code import KNOWN, LENGTHS, FeedbackCode
from uniair.tasks.side_information import InformedDecoder, learn_beside
from uniair.training.checkpoint import differences, digest, fill, read_header, read_tensors
from uniair.training.distributed import ALONE, World
from uniair.training.heads import Adaptation, divide
from uniair.training.loop import Optimisation, run

FORMAT = "uniair-feedback/1"
ADVICE = "make it with uniair adapt --task feedback"
SLOPES = 512  # channels that the decoder's sensitivity is measured on
STAGES = (1, 3, 6, bit_code.STAGES)  # of which a site's code has as many as do best on channels that are held out
SUBBANDS = 13  # over which SGCS is averaged, fewer where there are fewer subcarriers
SHOWN = (48, 96, 192)  # bits of the figures
HELD = 5  # one in so many of the channels to learn from chooses stages and steps


class Channels(NamedTuple):
    """Channels to learn from.

    Attributes:
        z: float32 [N, E] their embeddings.
        places: of `KNOWN`, what is known of the places: embeddings [N, E].
    """

    z: Tensor
    places: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: UniversalModel, batches: Iterator[Batch]) -> Channels:
        """Embeddings of batches.

        Raises:
            InputError: there are none.
        """
        z: list[Tensor] = []
        places: dict[str, list[Tensor]] = {name: [] for name in KNOWN}
        for batch in batches:
            z.append(model.encode_channel(batch.csi, batch.radio).cpu().clone())
            for name, unknown in KNOWN.items() if batch.environment.map is not None else ():
                places[name].append(model.encode_environment(batch.environment.without(*unknown)).cpu().clone())
        if not z:
            raise InputError("no channels to learn a feedback code from")
        return cls(torch.cat(z), {name: torch.cat(found) for name, found in places.items() if found})

    def select(self, index: Tensor) -> Channels:
        """Some of them."""
        return Channels(self.z[index], {name: place[index] for name, place in self.places.items()})


@dataclass(frozen=True)
class DecoderTraining:
    """How CRNN is tuned to a code: AdamW under a cosine, at lengths that are drawn.

    Attributes:
        steps: 0 leaves it as pretrained.
        batch: channels a step.
        learning_rate: peak.
        save_every: steps between states, from which a killed run goes on and of which the best is kept.
    """

    steps: int = 400
    batch: int = 64
    learning_rate: float = 2e-4
    save_every: int = 50

    def optimisation(self, seed: int) -> Optimisation:
        """The same for the loop."""
        return Optimisation(
            self.steps, learning_rate=self.learning_rate, matrix_rate=0.0, warmup=0.05, adamw="heads",
            weight_decay=0.0, save_every=self.save_every, log_every=self.save_every, seed=seed,
        )  # fmt: skip


def places_of(
    areas: Sequence[Links], radio: Radio, most: int, seed: int, numbers: Sequence[int] | None = None
) -> Iterator[Batch]:
    """Links of areas as a radio measures them, at most so many of each, in an order that is drawn.

    Args:
        numbers: of the areas; None: all.
    """
    rng = np.random.default_rng(seed)
    for number in rng.permutation(len(areas) if numbers is None else list(numbers)).tolist():
        area = areas[number]
        yield batch_of(area.select(rng.permutation(len(area))[:most]), radio)


def learned(
    model: UniversalModel, channels: Channels, radio: Radio, seed: int = 0, stages: int | None = None
) -> FeedbackCode:
    """A quantiser, and decoders beside places, from channels of any number of places; CRNN stays as it is.

    Args:
        stages: see `bit_code.learn`; None: its own.

    Raises:
        InputError: see `bit_code.learn`.
    """
    slopes = _slopes(model, channels, radio, seed)
    code = learn(channels.z, digest(model), slopes, bit_code.STAGES if stages is None else stages)
    return FeedbackCode(radio, code, model, _beside(code, channels))


def _slopes(model: UniversalModel, channels: Channels, radio: Radio, seed: int) -> Tensor:
    return decoder_sensitivity(
        lambda z: model.crnn(z.to(model.device), radio)[0].cpu(), channels.z[:SLOPES], seed=seed
    )  # fmt: skip


def _beside(code: BitCode, channels: Channels) -> dict[str, InformedDecoder]:
    lengths = [length for length in LENGTHS if length <= code.longest]
    return {name: learn_beside(code, channels.z, place, lengths) for name, place in channels.places.items()}


class Fitted(NamedTuple):
    """A site's code with its figures, SGCS by method and bits, on the links that it did not learn from."""

    code: FeedbackCode
    figures: dict[str, dict[str, float]]
    learned: int
    tested: int


def adapt_feedback(
    model: UniversalModel,
    links: Links,
    adaptation: Adaptation,
    training: DecoderTraining = DecoderTraining(),
    radio: Radio | None = None,
    begun: FeedbackCode | None = None,
    world: World = ALONE,
    out: Path | None = None,
) -> Fitted:
    """A site's own quantiser and decoder, learned from a part of its links and measured on the rest.

    Every fifth of the channels to learn from chooses: how many stages the quantiser has, or that a given one stays, and
    whether and for how long CRNN is tuned.

    Args:
        adaptation: how the links are divided.
        radio: that sees the links; None: their own.
        begun: a code of training places, which stays where the site's own does no better.
        out: folder for the state of the decoder's training, from which a killed run goes on; None: none.

    Raises:
        InputError: too few links; `begun` is of another radio.
    """
    learn_from, test = (torch.from_numpy(part) for part in divide(links, adaptation))
    batch = batch_of(links, radio)
    if begun is not None:
        begun.check_radio(batch.radio)
    every = Channels.of(model, iter([batch]))
    mine, held = learn_from[torch.arange(len(learn_from)) % HELD > 0], learn_from[::HELD]
    metric = _slopes(model, every.select(mine), batch.radio, adaptation.seed)
    given = None if begun is None else begun.code
    code = chosen_code(every.z[mine], every.z[held], digest(model), metric, given)
    if code is given:
        found = FeedbackCode(batch.radio, code, model, _beside(code, every.select(learn_from)))
    else:
        found = learned(model, every.select(learn_from), batch.radio, adaptation.seed, len(code.books))
    tuned = found
    if training.steps:
        truth = model.normalise_channel(batch.csi, batch.radio).cpu().clone()
        tuned = _tuned(found, every.z, truth, mine, held, training, adaptation.seed, world, out)
    figures = measure(tuned, every.select(test), batch.select(test.numpy()))
    if tuned.tuned:
        before = measure(found, every.select(test), batch.select(test.numpy()))
        figures = {"decoder as pretrained": before["bits alone"]} | figures
    return Fitted(tuned, figures, len(learn_from), len(test))


def chosen_code(z: Tensor, held: Tensor, weights: str, metric: Tensor, given: BitCode | None = None) -> BitCode:
    """Of quantisers of several numbers of stages, and a given one, that with the least weighted error on held ones.

    Args:
        z, held: float32 [N, E] embeddings to learn from and to choose by.
        weights: digest of what gave them.
        metric: see `decoder_sensitivity`.
    """
    codes = [learn(z, weights, metric, stages) for stages in STAGES]

    def lost(code: BitCode) -> float:
        total = 0.0
        for length in SHOWN:
            error = (code.embedding(code.words(held, length)) - held).double()
            total += float(((error @ metric) * error).sum(1).mean())
        return total

    return min([*([] if given is None else [given]), *codes], key=lost)


def _tuned(
    found: FeedbackCode, z: Tensor, truth: Tensor, mine: Tensor, held: Tensor, training: DecoderTraining, seed: int,
    world: World, out: Path | None,
) -> FeedbackCode:  # fmt: skip
    """The code with a CRNN that has learned from its bits, where that restores held channels better."""
    code, radio = found.code, found.radio
    model = copy.copy(found.model)
    model._modules = {**found.model._modules, "crnn": copy.deepcopy(found.model.crnn)}
    lengths = [length for length in LENGTHS if length <= code.longest]

    def restored(z: Tensor, length: int) -> Tensor:
        csi: Tensor = model.crnn(code.embedding(code.words(z, length)).to(model.device), radio)[0]
        return csi.cpu()

    def loss(number: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([seed, number])
        drawn = mine[torch.from_numpy(rng.choice(len(mine), min(training.batch, len(mine)), replace=False))]
        drawn, length = world.share(drawn), int(rng.choice(lengths))
        return {"total": losses.reconstruction(restored(z[drawn], length), truth[drawn])}

    @torch.no_grad()
    def validate() -> dict[str, float]:
        errors = [
            metrics.relative_error(restored(z[part], length), truth[part])
            for part in torch.split(held, BATCH) for length in SHOWN if length <= code.longest
        ]  # fmt: skip
        return {"error": float(torch.cat(errors).mean())}

    before = validate()["error"]
    settings = {"weights": code.weights, "radio": radio.to_json(), "training": asdict(training), "seed": seed,
                "channels": len(z)}  # fmt: skip
    run(model.crnn, loss, training.optimisation(seed), about="decoder", world=world, out=out, settings=settings,
        validate=validate, best="error")  # fmt: skip
    return replace(found, model=model, tuned=True) if validate()["error"] < before else found


def measure(found: FeedbackCode, channels: Channels, batch: Batch) -> dict[str, dict[str, float]]:
    """SGCS over subbands after so many bits, for the bits alone and beside what is known of the place."""
    radio = batch.radio
    subbands = min(SUBBANDS, radio.grid.subcarriers)
    target = subband_directions(found.model.normalise_channel(batch.csi, radio).cpu(), radio, subbands)
    out: dict[str, dict[str, float]] = {}
    for name in ("bits alone", *found.beside):
        for length in SHOWN:
            if length > found.code.longest:
                continue
            sent = found.code.encode(channels.z, length)
            beside = (None, None) if name == "bits alone" else (name, channels.places[name])
            there = subband_directions(found.decode(sent, None, *beside).cpu(), radio, subbands)
            alike = metrics.cosine_squared(there.transpose(1, 2), target.transpose(1, 2))
            out.setdefault(name, {})[f"{length} bits"] = float(alike.mean())
    return out


def save_feedback(path: Path, found: FeedbackCode, about: Mapping[str, Any]) -> None:
    """Writes quantiser, decoders beside places and, where it was tuned, CRNN, as safetensors; and what it is, as JSON.

    Args:
        about: how it was made, for people and for going on.
    """
    header = {
        "format": FORMAT, "preset": found.model.preset.name, "weights": found.code.weights, "code": found.code.digest,
        "radio": found.radio.to_json(), "longest": found.code.longest, "tuned": found.tuned, "about": dict(about),
    }  # fmt: skip
    tensors = {f"code.{name}": tensor for name, tensor in found.code.tensors().items()}
    for name, decoder in found.beside.items():
        tensors |= {f"beside.{name}.{length}": weight.contiguous() for length, weight in decoder.weight.items()}
    if found.tuned:
        parameters = found.model.crnn.named_parameters()
        tensors |= {f"decoder.{name}": value.detach().cpu().contiguous() for name, value in parameters}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"uniair": json.dumps(header, sort_keys=True)})
    write_text(path.with_suffix(".json"), json.dumps(header, indent=1, sort_keys=True) + "\n")


def load_feedback(path: Path, model: UniversalModel, radio: Radio | None = None) -> FeedbackCode:
    """What `save_feedback` wrote.

    Args:
        path: or `registry:NAME@VERSION`.
        model: that it learned with.
        radio: that its channels have to be of; None: any.

    Raises:
        InputError: missing, broken or torn, of another format, other weights or another radio; or as `located`.
    """
    path, release = located(path)
    weights = digest(model)
    if release is not None and release.kind == "head":
        release.require_weights(weights)
    header = read_header(path, ADVICE)
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: no feedback code of this version; {ADVICE}")
    if header.get("weights") != weights:
        learned_on = str(header.get("weights"))
        raise InputError(f"{path}: a feedback code of weights {learned_on}, the model has {weights}; "
                         f"learn it again with uniair adapt --task feedback{way_back(learned_on)}")  # fmt: skip
    parts: dict[str, dict[str, Tensor]] = {"code": {}, "beside": {}, "decoder": {}}
    try:
        for name, tensor in read_tensors(path).items():
            kind, rest = name.split(".", 1)
            parts[kind][rest] = tensor
        code = BitCode(weights, **parts["code"])
        beside: dict[str, dict[int, Tensor]] = {}
        for name, tensor in parts["beside"].items():
            known, length = name.rsplit(".", 1)
            beside.setdefault(known, {})[int(length)] = tensor
        whole, tuned, learned_on = code.digest == header["code"], bool(header["tuned"]), header["radio"]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: a broken feedback code ({error}); {ADVICE}") from error
    if not whole or tuned != bool(parts["decoder"]):
        raise InputError(f"{path}: a torn feedback code; {ADVICE}")
    if tuned:
        pretrained, model = model, copy.copy(model)
        model._modules = {**pretrained._modules, "crnn": copy.deepcopy(pretrained.crnn)}
        fill(dict(model.crnn.named_parameters()), parts["decoder"], path, "another decoder")
    informed = {name: InformedDecoder(code, weight) for name, weight in sorted(beside.items())}
    found = FeedbackCode(Radio.from_json(learned_on, str(path)), code, model, informed, tuned)
    if radio is not None:
        try:
            found.check_radio(radio)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return found


def is_made(path: Path, about: Mapping[str, Any]) -> bool:
    """Whether a code that was made so is there already.

    Raises:
        InputError: one that was made otherwise is.
    """
    if not path.exists():
        return False
    header = read_header(path, "remove it to start again")
    made = {name: header.get("about", {}).get(name) for name in about}
    if changed := differences(made, json.loads(json.dumps(dict(about)))):
        raise InputError(f"{path}: was made otherwise ({', '.join(changed)}); give another --out, or remove it")
    return True
