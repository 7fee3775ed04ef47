"""Ask about a link in plain English; the language model itself recognises which of its tasks is meant.

An instruction may name users and base stations of the area by number, a position in metres, the carrier, how many
beams are wanted; compare stations or users; ask for several things at once. What it names and can't be honoured is
declined by name, what is open is asked back. Where it names no user, --link is meant.

Some tasks are answered from the channel, others from map and positions. Without --links it answers about links of the
packaged model's own area, which it did not learn from; of any other streets its answers are guesses, which is said
with them. What was added to a model (uniair instruct add) is asked for by its own words; --representations brings what
no tower makes, under the modality's name. --tools prints what an LLM agent may call, as JSON schemas.

Example:
  uniair instruct ask "Where is this user?" --link 3
  uniair instruct ask "Top 3 beams for user 17, and what loss do they leave?" --run runs/instruct --links runs/dense
  uniair instruct ask "Is there line of sight?" --csi measured.npy
  uniair instruct ask "Where is this user?" --csi measured.npy --radio radio.json
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

import uniair
from uniair.data.csi_files import read_csi
from uniair.data.links.links import Links
from uniair.data.links.loader import batch_of
from uniair.data.links.store import Store
from uniair.environment import PER_HYPOTHESIS, Environment
from uniair.errors import InputError
from uniair.models.universal import RadioWarning
from uniair.radio import Radio
from uniair.releases.node import located
from uniair.tasks.answers import Answer, Answers
from uniair.tasks.asking import tools
from uniair.tasks.scene import Given, NoLinkError, Scene
from uniair.tasks.task import Task
from uniair.training.addition import read_arrays
from uniair.training.instruction import SAMPLE, added_tasks, folder_of, read_config


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("instruction", type=str, nargs="?", default=None, help="what to ask")
    parser.add_argument("--run", type=str, default="instruct", help="packaged model or folder of uniair instruct train")
    parser.add_argument("--model", type=str, default="small", help="its towers: packaged model or folder")
    parser.add_argument("--backbone", type=str | None, default=None, help="where its language model lies here")
    parser.add_argument("--links", type=str | None, default=None, help="links folder; the packaged links if not given")
    parser.add_argument("--area", type=int, default=0, help="number of the area in it")
    parser.add_argument(
        "--link", type=int, default=0, help="number of the link in the area that is meant if none is named"
    )
    parser.add_argument("--csi", type=str | None, default=None,
                        help="complex [antennas, subcarriers] in .npy, .mat or .h5")  # fmt: skip
    parser.add_argument("--radio", type=str | None, default=None,
                        help="that measured --csi: file or JSON; paper 1's if not given")  # fmt: skip
    parser.add_argument(
        "--representations",
        type=str | None,
        default=None,
        help="of added modalities: .npz or .safetensors",
    )
    parser.add_argument("--tools", action="store_true", help="print the JSON schemas of the tasks and leave")


def run(options: Any) -> dict[str, Any]:
    """Answers and, where links are known, prints the truth beside it."""
    if options.instruction is None and not options.tools:
        raise InputError('ask something, such as: uniair instruct ask "Where is this user?"')
    if options.radio is not None and options.csi is None:
        raise InputError("--radio is of --csi, a channel of your own; links name theirs")
    radio = None if options.radio is None else Radio.parse(options.radio)
    area, name = None, None
    if options.csi is None:
        store = Store(SAMPLE if options.links is None else options.links)
        area = area_of(store, options.area, options.link)
        name = store.areas[options.area]
    if options.tools:
        known = tools(area, [task.task(1) for task in added_tasks(read_config(located(folder_of(options.run))[0]))])
        print(json.dumps(known, indent=1))
        return {"tools": known}
    assistant = uniair.load_instruct(options.run, options.model, options.backbone)
    assistant.scene = area
    given: dict[str, Any] = {} if options.csi is None else {"csi": one_channel(Path(options.csi)), "radio": radio}
    if options.representations is not None:
        front = area.front(area.here[0]) if area is not None else Given()
        given = {"csi": front.csi, "environment": front.environment} | given
        given["representations"] = read_arrays(Path(options.representations))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", RadioWarning)
        answer = assistant.ask(options.instruction, **given)
    odd = list(dict.fromkeys(str(one.message) for one in said if issubclass(one.category, RadioWarning)))
    print(answer)
    parts: Sequence[Answer] = (
        answer.parts if isinstance(answer, Answers) else [answer] if isinstance(answer, Answer) else []
    )
    learned = list(dict.fromkeys(assistant.learned_from(part.task, name) for part in parts)) or [assistant.learned]
    found = answer.to_json() | {"learned_from": learned[0] if len(learned) == 1 else learned}
    caveats = [caveat for one in learned if (caveat := elsewhere(one, name))] if parts else []
    if caveats := [*caveats, *odd]:
        found["extrapolated"] = "; ".join(caveats)
        print(f"({found['extrapolated']})")
    if area is not None and parts:
        found["truth"] = [line for part in parts for line in area.truth(part, assistant.tasks)]
        for line in found["truth"]:
            print(f"(simulated truth: {line})")
    return found


def elsewhere(learned: str | None, asked: str | None) -> str | None:
    """What there is to say of answers about other streets than those that were learned; None: they are the same."""
    if learned is not None and learned == asked:
        return None
    here = "a channel of unknown streets" if asked is None else f"these links are of {asked}"
    return f"extrapolated: learned on links of {learned or 'an area that its folder does not name'}, {here}"


@dataclass(frozen=True, eq=False)
class AskedLinks(Scene):
    """An area's links as what instructions are about.

    Attributes:
        known: of the area; a station is where links start, a user where they end, both in the order of the links.
        rows: int64 [stations, users] number of the link between them; −1: none.
    """

    known: Links | None = None
    rows: NDArray[np.int64] | None = None

    def links(self, station: int, users: Sequence[int]) -> Given:
        """Users' links to a station."""
        batch = batch_of(self._links(station, users))
        return Given(batch.csi, batch.environment, batch.radio)

    def place(self, station: int, positions: NDArray[np.float64]) -> Given:
        """Users elsewhere in the area."""
        assert self.rows is not None
        number = int(self.rows[station][self.rows[station] >= 0][0])
        seen = self._links(station, [int(np.flatnonzero(self.rows[station] == number)[0])])
        if seen.bearing.any():
            raise NoLinkError("the array is turned, and positions in its own frame can't be told; name a user")
        place = batch_of(seen).environment
        n = len(positions)
        alike = {name: getattr(place, name) for name in PER_HYPOTHESIS if name not in ("ue", "los")}
        told = {name: value.expand(n, *value.shape[1:]) for name, value in alike.items() if value is not None}
        return Given(environment=Environment(map=place.map, ue=positions.astype(np.float32), **told))

    def truth(self, answer: Answer, tasks: Sequence[Task]) -> list[str]:
        """What was simulated, a line a link; nothing is known of positions, or of labels from elsewhere."""
        station = 0
        lines = []
        task = next(task for task in tasks if task.name == answer.task)
        if task.parts and not task.known_from:
            return []
        for subject in answer.subjects or (None,):
            if subject is not None and subject.position is not None:
                continue
            user = self.here[1] if subject is None or subject.user is None else subject.user
            station = (
                self.here[0] if subject is None or subject.station is None else self.stations.index(subject.station)
            )
            batch = batch_of(self._links(station, [user or 0]))
            lines.append(f"{'' if subject is None else f'{subject}: '}{task.words(task.target(batch)[0])}")
        return lines

    def _links(self, station: int, users: Sequence[int]) -> Links:
        assert self.known is not None
        assert self.rows is not None
        rows = self.rows[station, list(users)]
        if (rows < 0).any():
            missing = users[int(np.flatnonzero(rows < 0)[0])]
            raise NoLinkError(f"there is no link between {self.stations[station]} and user {missing}")
        return self.known.select(rows)


def one_channel(path: Path) -> Any:
    """One channel from a file of CSI: complex [antennas, subcarriers].

    Raises:
        InputError: see `read_csi`; of another shape.
    """
    csi = read_csi(path)
    if csi.ndim == 3 and len(csi) == 1:
        csi = csi[0]
    if csi.ndim != 2:
        raise InputError(f"{path}: shape {csi.shape}; give the CSI of one link, complex [antennas, subcarriers]")
    return csi


def area_of(store: Store, area: int, link: int) -> AskedLinks:
    """An area as it is asked about, with one of its links in front.

    Raises:
        InputError: no such area or link.
    """
    if not 0 <= area < len(store.areas):
        raise InputError(f"--area {area}: give 0 to {len(store.areas) - 1}")
    links = store[area]
    if not 0 <= link < len(links):
        raise InputError(f"--link {link}: {store.areas[area]} has links 0 to {len(links) - 1}")
    station, user = _in_order(links.bs), _in_order(links.ue)
    rows = np.full((station.max() + 1, user.max() + 1), -1, dtype=np.int64)
    rows[station[::-1], user[::-1]] = np.arange(len(links))[::-1]  # the first of several
    names = tuple(f"bs{number}" for number in range(len(rows)))
    size = float(links.sizes[links.area[link]])
    here = (int(station[link]), int(user[link]))
    return AskedLinks(names, rows.shape[1], links.one_radio(), size, here, links, rows)


def _in_order(places: NDArray[np.floating]) -> NDArray[np.int64]:
    """Numbers of equal rows, in the order in which they first come: [N]."""
    _, first, inverse = np.unique(places, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse.reshape(-1)]
