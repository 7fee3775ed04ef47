"""What the commands share that learn along a stream of steps: --learn, --earlier, and the state in its file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from uniair.errors import InputError
from uniair.releases.node import own_key

if TYPE_CHECKING:
    from uniair.data.drives.drive import Drive
    from uniair.models.forecast import WMLM
    from uniair.training.learning_state import KeptStream
    from uniair.training.learning_stream import StreamLearning


def learning_options(parser: ArgumentParser) -> None:
    """Declares --learn and --earlier."""
    parser.add_argument("--learn", type=str | None, default=None, metavar="STATE",
                        help="learn from the powers that are measured next, from and into this file")  # fmt: skip
    parser.add_argument("--earlier", type=str | None, default=None,
                        help="drives of earlier sites, replayed so that they are not forgotten, but for those that "
                             "are forecast; of the packaged forecaster the packaged ones if not given")  # fmt: skip


def check_learning(options: Any, *needing: str) -> None:
    """Raises an `InputError` where --earlier, or another option that needs --learn, is given without it."""
    for option in ("earlier", *needing):
        if options[option] is not None and options.learn is None:
            raise InputError(f"--{option} {options[option]}: nothing is learned; give --learn too")


@contextmanager
def learned_in(
    options: Any, model: WMLM, packaged: bool, config: StreamLearning, asked: Sequence[Drive] = ()
) -> Iterator[KeptStream]:
    """The stream whose state --learn names, alone in its file.

    Args:
        packaged: whether the packaged model learns, whose drives are earlier ones then.
        asked: drives that are forecast, which are never replayed.

    Raises:
        InputError: as `open_stream`, `replayed` and `own_key`.
    """
    from uniair.commands.drives import replayed
    from uniair.folder_lock import alone_in
    from uniair.training.forecasting import SAMPLE
    from uniair.training.learning_state import KeptStream, open_stream

    path, key = Path(options.learn), own_key()
    earlier = Path(options.earlier) if options.earlier else SAMPLE if packaged else None
    with alone_in(path):
        stream = open_stream(path, model, config, replayed(earlier, model.preset, config, asked), key)
        yield KeptStream(stream, path, key=key)
