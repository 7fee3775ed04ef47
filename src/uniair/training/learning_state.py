"""A learning stream in one file: after a kill at any moment the same steps go on to the same state, bit for bit."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from uniair.data.digest import data_digest
from uniair.data.drives.passages import Passages
from uniair.data.drives.session_log import SessionLog
from uniair.errors import InputError
from uniair.evaluation.sequential_comparison import Lead
from uniair.files import atomic_path
from uniair.models.forecast import WMLM
from uniair.training.checkpoint import State, differences, digest, fill, read_header, read_tensors
from uniair.training.distributed import whole
from uniair.training.learning_stream import Counts, LearningStream, StreamLearning

FORMAT = "uniair-learning/2"  # the first one did not know which models had been replaced
ADVICE = "give another file for the state, or remove this one to begin anew"
LEADS = ("promotion", "rollback")


def open_stream(
    path: Path, begun: WMLM, config: StreamLearning = StreamLearning(), earlier: Passages | None = None,
    key: bytes | None = None,
) -> LearningStream:  # fmt: skip
    """The stream whose state is in a file; a new one where there is none.

    Args:
        key: of this node, where it loads signed weights alone: a state that was not written with it is refused.

    Raises:
        InputError: a truncated file, or one of another version, of other weights, settings or earlier drives; or a
            forecaster that can't learn so. Nothing of the file is applied then.
    """
    stream = LearningStream(begun, config, earlier)
    if not path.exists():
        return stream
    if path.is_dir():
        raise InputError(f"{path}: a folder; give a file for the state")
    about = read_header(path, ADVICE)
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: not a state of format {FORMAT!r}, which this version reads; {ADVICE}")
    if key is not None and not hmac.compare_digest(str(about.pop("seal", "")), _seal(about, key)):
        raise InputError(f"{path}: not written by this node, which loads signed weights and what it learned itself "
                         f"alone; {ADVICE}")  # fmt: skip
    if about.get("weights") != (here := digest(begun)):
        raise InputError(f"{path}: learned from a forecaster of other weights ({about.get('weights')}; this one has "
                         f"{here}); {ADVICE}")  # fmt: skip
    if changed := differences(about.get("settings"), _settings(stream)):
        raise InputError(f"{path}: learned with other settings ({', '.join(changed)}); {ADVICE}")
    held = read_tensors(path)
    if about.get("checksum") != _checksum(held):
        raise InputError(f"{path}: damaged, its checksum does not fit; {ADVICE}")
    try:
        _fill(stream, about, held, path)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: broken ({type(error).__name__}: {error}); {ADVICE}") from error
    return stream


def save_stream(stream: LearningStream, path: Path, key: bytes | None = None) -> None:
    """Replaces the state in a file in one step. What came since the last update is scored first.

    Args:
        key: see `open_stream`.

    Raises:
        OSError: the disk is full, or the folder can't be written to.
    """
    stream.settle()
    held = _tensors(stream)
    about = {
        "format": FORMAT, "weights": digest(stream.begun), "settings": _settings(stream), "checksum": _checksum(held),
        "counts": asdict(stream.counts), "fresh": stream.fresh, "chain": stream.chain, "open": stream.open,
        "updates": stream.shadow.updates, "span": stream.history.span,
        "logs": [[log.number, log.timed, log.first, log.ended, len(log), len(log.said), log.replaced]
                 for log in stream.logs.values()]
    } | {name: asdict(getattr(stream, name)) for name in LEADS}  # fmt: skip
    if key is not None:
        about["seal"] = _seal(about, key)
    with atomic_path(path) as temporary:
        save_file(held, temporary, {"uniair": json.dumps(about)})


@dataclass
class KeptStream:
    """A learning stream that is written to its file as it goes.

    Attributes:
        every: updates from one writing to the next; a run that is killed loses no more.
        key: see `open_stream`.
        waiting: updates that are not written yet.
    """

    stream: LearningStream
    path: Path
    every: int = 5
    key: bytes | None = field(default=None, repr=False)
    waiting: int = 0

    def push(self, session: str, step: Mapping[str, Any]) -> None:
        """See `LearningStream.push`."""
        self.waiting += self.stream.push(session, step)
        if self.waiting >= self.every:
            self.waiting = 0
            save_stream(self.stream, self.path, self.key)

    def close(self) -> None:
        """Scores and writes the rest."""
        save_stream(self.stream, self.path, self.key)


def _settings(stream: LearningStream) -> dict[str, Any]:
    """What must be the same for a state to go on, as JSON gives it back."""
    earlier = None if stream.earlier is None else data_digest(stream.earlier.drives)
    found: dict[str, Any] = json.loads(json.dumps(asdict(stream.config) | {"earlier": earlier}))
    return found


def _tensors(stream: LearningStream) -> dict[str, Tensor]:
    """Everything in a stream that is an array."""
    out = State(dict(stream.shadow.model.named_parameters()), stream.shadow.optimisers).tensors()
    if stream.promoted:
        out |= {f"answering/{name}": value for name, value in stream.answering.named_parameters()}
    logs = stream.logs.values()
    preset = stream.begun.preset
    shapes = {"time": (), "power": (preset.beams,), "beam": (), "place": (2,)}
    kinds = {"time": np.float64, "power": np.float32, "beam": np.int64, "place": np.float64}
    for name, shape in shapes.items():
        values = [value for log in logs for value in getattr(log, name)]
        out[f"log/{name}"] = torch.from_numpy(np.array(values, dtype=kinds[name]).reshape(len(values), *shape))
    said = [(step, beams) for log in logs for step, beams in log.said.items()]
    out["said/step"] = torch.tensor([step for step, _ in said], dtype=torch.int64)
    out["said/beams"] = torch.from_numpy(
        np.array([beams for _, beams in said], dtype=np.int64).reshape(len(said), -1, preset.future)
        if said else np.zeros((0, 3, preset.future), dtype=np.int64)
    )  # fmt: skip
    out["history"] = torch.from_numpy(stream.history.rows.copy())
    return {name: whole(value) for name, value in out.items()}


def _fill(stream: LearningStream, about: Mapping[str, Any], held: Mapping[str, Tensor], path: Path) -> None:
    """Brings a new stream to what was saved."""
    kinds = {"trained": {}, "moments": {}, "answering": {}}  # type: dict[str, dict[str, Tensor]]
    for name, value in held.items():
        kinds.setdefault(name.split("/", 1)[0], {})[name] = value
    stream.shadow.updates = int(about["updates"])
    State(dict(stream.shadow.model.named_parameters()), stream.shadow.optimisers).restore(
        kinds["trained"] | kinds["moments"], path
    )
    if found := kinds["answering"]:
        stream.answering = copy.deepcopy(stream.begun).requires_grad_(False)
        named = {f"answering/{name}": value for name, value in stream.answering.named_parameters()}
        fill(named, found, path, "another forecaster")
    stream.counts, stream.fresh, stream.chain = Counts(**about["counts"]), int(about["fresh"]), str(about["chain"])
    for name in LEADS:
        setattr(stream, name, Lead(**about[name]))
    stream.history.rows, stream.history.span = held["history"].numpy().copy(), int(about["span"])
    values = {name: held[f"log/{name}"].numpy() for name in ("time", "power", "beam", "place")}
    steps, beams = held["said/step"].tolist(), held["said/beams"].numpy()
    at = said = 0
    for number, timed, first, ended, length, waiting, replaced in about["logs"]:
        kept = slice(at, at + length)
        stream.logs[number] = SessionLog(
            number, timed, first, ended, values["time"][kept].tolist(), list(values["power"][kept].copy()),
            values["beam"][kept].tolist(), [(x, y) for x, y in values["place"][kept].tolist()],
            {steps[i]: beams[i].copy() for i in range(said, said + waiting)}, replaced,
        )  # fmt: skip
        at, said = at + length, said + waiting
    stream.open = {str(name): int(number) for name, number in about["open"].items()}
    if not set(stream.open.values()) <= stream.logs.keys():
        raise ValueError("sessions and logs disagree")


def _checksum(held: Mapping[str, Tensor]) -> str:
    """Of names and values."""
    found = hashlib.sha256()
    for name in sorted(held):
        found.update(name.encode())
        found.update(held[name].numpy().tobytes())
    return found.hexdigest()


def _seal(about: Mapping[str, Any], key: bytes) -> str:
    """Of a header, whose checksum is that of the arrays."""
    text = json.dumps(json.loads(json.dumps(about)), sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
