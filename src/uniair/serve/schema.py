"""What requests and answers look like: checked on the way in, and the OpenAPI schema with its examples."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Len
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, create_model

from uniair.serve.radio_limits import PORTS, SUBCARRIERS, RadioOf
from uniair.tasks.bit_code import LONGEST, SHORTEST
from uniair.tasks.task import Task

FAR = 1e5  # m; no site reaches so far
CORNERS = 2_000  # of an outline

Metres = Annotated[FiniteFloat, Field(ge=-FAR, le=FAR)]
Number = Annotated[int, Field(ge=0, lt=2**31)]
Point = Annotated[list[Metres], Len(3, 3)]
Corner = Annotated[list[Metres], Len(2, 2)]
Ring = Annotated[list[Corner], Len(3, CORNERS)]
Plane = list[list[float]]
Flag = bool | None
Decibel = Annotated[FiniteFloat, Field(ge=-100, le=200)]
Station = Number | Annotated[str, Len(1, 100)]
Degrees = Literal["4326", "EPSG:4326", 4326]


class Body(BaseModel):
    """A request: names that are not known are refused, so that a slip of the pen is noticed."""

    model_config = ConfigDict(extra="forbid")


class Csi(Body):
    """CSI of N links [N, antennas, subcarriers], or of one: real and imaginary parts.

    Of several antennas at the user [N, UE antennas, antennas, subcarriers].
    """

    real: list[list[Plane]] | list[Plane] | Plane
    imag: list[list[Plane]] | list[Plane] | Plane


class Building(Body):
    """A building of a map."""

    id: int | None = None
    outline: Ring
    holes: Annotated[list[Ring], Len(0, 100)] = []
    height: Metres | None = None


Buildings = Annotated[list[Building], Len(0, 2_000)]


def plain(buildings: list[Building] | None) -> list[dict[str, Any]] | None:
    """Buildings as plain objects, or None."""
    return None if buildings is None else [building.model_dump() for building in buildings]


class Encode(Body):
    """CSI to embed."""

    csi: Csi | None = Field(None, description="Needed where the body is JSON; otherwise the body holds it.")
    radio: RadioOf | None = Field(None, description="That measured csi; the site's where it is left out.")


class AtStation(Body):
    """A request to one of the stations."""

    station: Station = Field(0, description="Number of the base station, from 0, or its name.")

    @property
    def number(self) -> int:
        """Of the station, once its name is looked up (`Service.read`)."""
        return int(self.station)


class Channel(Encode, AtStation):
    """A channel: CSI of your own as a station received it, or the number of one of the site's links."""

    link: Number | None = Field(None, description="Number of a link of the station, instead of csi.")


class Users(Body):
    """Where users stand."""

    ue: Annotated[list[Point], Len(1, 10_000)] | Point | None = Field(
        None, description="x, y, z in m from the site's south-west corner, of one UE or of several; see crs."
    )
    crs: Degrees | None = Field(None, description="4326: ue holds longitude and latitude in degrees, then z in m.")

    def positions(self) -> NDArray[np.float64] | None:
        """[N, 3] m, or None."""
        return None if self.ue is None else np.asarray(self.ue, dtype=np.float64).reshape(-1, 3)


class Place(Channel, Users):
    """A channel, and where its user stands."""


class OnMap(Channel):
    """A channel, and the map to compare it with."""

    buildings: Buildings | None = Field(None, description="Another map to believe instead of the site's own.")

    def other_map(self) -> list[dict[str, Any]] | None:
        """The buildings as plain objects, or None."""
        return plain(self.buildings)


class Hypothesis(OnMap, Place):
    """A channel and a place to compare it with."""


class Asked(Hypothesis):
    """A channel and a place, and whether to say how sure the answer is."""

    doubt: bool = Field(False, description="Say how likely the answer is wrong; takes a second look at each channel.")


class Likelihood(OnMap):
    """One channel whose user is looked for."""

    step: Annotated[FiniteFloat, Field(ge=0.5, le=100)] | None = Field(
        None, description="Of the grid, m; 4 where it is not given, more on a large site."
    )


class Explain(Hypothesis):
    """One channel, and the place that is to be explained by it: that of ue, or of the link."""

    taken_off: Annotated[int, Field(ge=0, le=8)] = Field(
        0, description="Buildings that are taken off the map one by one, to see what each is worth; each takes time."
    )


class AuditOf(Body):
    """A station whose channels are to judge the map."""

    station: Station = Field(0, description="Number of the base station, from 0, or its name.")
    channels: Annotated[int, Field(ge=1, le=2_000)] = Field(
        100, description="Of its links so many, evenly over them. What they were read as is kept: the next is quick."
    )
    buildings: Buildings | None = Field(None, description="Another map to judge instead of the site's own.")


class Ask(Place):
    """A question in plain English; users and stations that it names are the site's, others are those of the request."""

    instruction: Annotated[str, Len(1, 2_000)]


Length = Annotated[int, Field(ge=SHORTEST, le=LONGEST)]
Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2}){3,64}$")]
BITS = "Of each link in hexadecimal digits: the first bit on top of the first byte, the last byte filled up with 0."


class Bits(Channel):
    """A channel to feed back in bits."""

    length: Length = Field(96, description="Bits of each message.")
    search: Annotated[int, Field(ge=0, le=200)] = Field(
        0, description="Steps of the sender's search for better bits through the decoder; 0: none."
    )
    paths: bool = Field(
        False, description="By its paths, for any radio, instead of by the station's code; there is no search."
    )


class Message(AtStation, Users):
    """What /feedback/encode answered, to be read as a channel; of another radio's paths with that radio."""

    bits: Annotated[list[Hex], Len(1, 10_000)] | Hex = Field(description=BITS)
    length: Length
    code: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] = Field(description="Digest of the code that wrote them.")
    radio: RadioOf | None = Field(None, description="To write the channels for; the code's where it is left out.")
    beside: Literal["map", "map and position"] | None = Field(
        None, description="What the base station reads beside the bits: the site's own map, or that and ue too."
    )


class Pilots(Encode):
    """CSI of which some entries are known."""

    known: Annotated[list[Annotated[list[bool], Len(1, SUBCARRIERS)]], Len(1, PORTS)] = Field(
        description="[antennas, subcarriers] which entries of csi are measured; what stands in the others is not read."
    )
    snr: Decibel | Annotated[list[Decibel], Len(1, 10_000)] | None = Field(
        None, description="dB over the mean power of the known entries, of all links or of each; estimated if left out."
    )


class Step(Body):
    """What a vehicle's receiver measured in one more step; what is absent was not measured."""

    session: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    power: Annotated[list[float | None], Len(1, 1024)] | None = Field(None, description="Of each beam, linear.")
    beam: Annotated[int, Field(ge=-1, lt=1024)] | None = Field(None, description="The best one; -1: not known.")
    position: Corner | None = Field(None, description="Metres across and along, in the drives' frame.")
    time: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="s, not before that of the last step; after a gap the session begins anew."
    )


class Problem(BaseModel):
    """Why there is no answer, in one line."""

    detail: str


class OfRadio(BaseModel):
    """An answer that an embedding or a head made."""

    radio: str = Field(description="The radio of the CSI, or else the site's, in one line.")
    within: dict[str, Literal["in range", "extrapolated", "unknown"]] = Field(
        description="Whether radio, mast, users, side and clutter lie within what the weights learned from."
    )
    remarks: list[str] = Field(description="What to know about answers on this radio; empty where nothing differs.")


class Embedding(OfRadio):
    """Unit-norm embeddings, [N, 128]."""

    embedding: list[list[float]]


class Doubt(BaseModel):
    """How sure the answer is."""

    wrong: float | None = Field(description="Probability that the answer is wrong; null: not calibrated.")
    in_range: bool = Field(description="Whether radio, place and power lie within what the weights have learned from.")
    signals: dict[str, float]
    los_sets: dict[str, list[Literal["LOS", "NLOS"]]] = Field(
        description="Promised coverage → answers that hold the right one as often."
    )
    beam_sets: dict[str, list[int]] = Field(description="The same of the strongest beam, by the place alone.")


class LineOfSight(OfRadio):
    """Zero-shot probabilities of line of sight, [N]."""

    probability_of_los: list[float]
    doubt: list[Doubt] | None = Field(None, description="Of each channel, where it was asked for.")


class Ranking(OfRadio):
    """Zero-shot probabilities of the candidates, [N, candidates]; rows sum to 1."""

    probability: list[list[float]]
    doubt: list[Doubt] | None = Field(
        None, description="That each channel came from the likeliest place, where it was asked for; without sets."
    )


class Sent(OfRadio):
    """Bit strings, one a link, that /feedback/decode takes as they are with their length and code."""

    bits: list[str] = Field(description=BITS)
    length: int
    code: str


class Channels(OfRadio):
    """CSI, [N, antennas, subcarriers]: as parts in JSON, complex64 in other forms."""

    csi: Csi


class ByHead(OfRadio):
    """Answers of a station's light head."""

    answers: list[Any]
    text: str = Field(description="A sentence a link.")
    method: Literal["head"]


@cache
def answers_of(task: Task) -> type[BaseModel]:
    """What a station's light head of a task answers."""
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in task.answers.record.items()}
    if "environment" in task.inputs:
        fields["outdoors"] = (Flag, None)
    name, about = task.answers.__name__, (task.answers.__doc__ or "").splitlines()[0]
    record = create_model(f"{name}Record", __doc__=about, **fields)
    several: Any = list[record]  # type: ignore[valid-type]
    return create_model(
        f"{name}Answers", __base__=ByHead, __doc__=f"{task.title} by the station's light head.", answers=(several, ...)
    )


class Field2D(OfRadio):
    """log10 of the likelihood of each cell relative to the best one, row = y; null inside buildings."""

    x: list[float]
    y: list[float]
    log10: list[list[float | None]]
    best: Annotated[list[float], Len(2, 2)]
    sets: dict[str, float] | None = Field(
        None, description="Promised coverage → log10 from which on a cell belongs to the set of positions that holds "
        "the user as often; null where the weights have no calibration, or the step is not a 32nd of the site's side."
    )  # fmt: skip


class Worth(BaseModel):
    """Nats by which the log-likelihood of the place and the log-odds of LOS fall without a part."""

    place: float
    los: float


class ReadPath(BaseModel):
    """A path that the channel was read as: direction cosines, m by the channel's clock, share of the paths' power."""

    along: float
    up: float
    length_m: float
    share: float
    explained_by: int | None = Field(description="Number of the candidate; null: nothing on the map explains it.")
    effect: Worth
    azimuths_rad: list[float] = Field(description="Where it leaves to, in front of the array and behind it.")


class Candidate(BaseModel):
    """A way from the station to the user that rays find on the map."""

    kind: str = Field(
        description="R a reflection, D a corner, from the station on; over a roof's edge; empty: straight."
    )
    along: float
    up: float
    length: float
    loss: float = Field(description="dB, roughly.")
    points: list[list[float]]
    buildings: list[int] = Field(description="At each point, by id; -1 where none is told.")
    effect: Worth
    line: list[list[float]] = Field(description="Corners in m of the site, from the station to the user.")
    whole: bool = Field(description="Whether each corner is known; else the line is straight where one is not.")


class TakenOff(Worth):
    """What a building was worth, when all that the model sees of it was taken off the map."""

    building: int


class Explained(OfRadio):
    """Why a channel fits its place, or does not."""

    sentence: str
    los: float
    explained_share: float = Field(description="Of the power of the channel's paths, what the map explains.")
    fitted_share: float = Field(description="Of the CSI's power, what its paths make up; the rest is noise.")
    doubt: Doubt
    paths: list[ReadPath]
    candidates: list[Candidate]
    missing: list[int] = Field(description="Candidates that should be seen and are not.")
    buildings: list[TakenOff]
    together: Worth | None = Field(description="Of all candidates; null where the place is not known.")


class Suspected(BaseModel):
    """What would explain the channels better."""

    change: Literal["not there", "elsewhere", "higher", "something here"]
    building: int = Field(description="By id; of something here the nearest, -1 where there is none.")
    place_m: Annotated[list[float], Len(2, 2)]
    nats: float = Field(description="Log-likelihood ratio to the map as it is.")
    channels: int
    sentence: str


class Audited(OfRadio):
    """Where a station's channels contradict the map."""

    channels: int
    links: int = Field(description="Of the station, of which so many channels were asked.")
    explained_share: float
    suspicions: list[Suspected]
    rates: dict[str, float] = Field(description="How often channels show what maps say, by which they were weighed.")
    calibrated: bool = Field(description="Whether these were counted on validation places; else they are assumed.")
    cell: float = Field(description="m")
    contradicted: list[list[float | None]] = Field(
        description="Nats for something that stands in a cell, row 0 in the south; null where nothing speaks for it."
    )


class Said(OfRadio):
    """An answer, why there is none, or what has to be said more clearly."""

    task: str | None = Field(None, description="What is asked for; null where several tasks are, or none.")
    text: str
    answers: list[dict[str, Any]] | None = Field(
        None, description="One a task and link; with user, station or ue where the question names any."
    )
    orders: list[dict[str, Any]] | None = Field(None, description="Of a comparison: among whom, and best_first.")
    notes: list[str] | None = None
    declined: str | None = Field(None, description="out_of_scope, not_honoured, missing_input or language.")
    missing: list[str] | None = None
    refused: list[str] | None = Field(None, description="Phrases that can't be honoured, as they were said.")
    question: str | None = Field(None, description="The argument to say more clearly, such as user or station.")
    choices: list[str] | None = None


class Beams(BaseModel):
    """The likeliest best beam of each of the next steps, its probability, and those of all beams."""

    beams: list[int]
    probability: list[float]
    probabilities: list[list[float]]
    position: list[list[float]] | None = Field(
        None, description="Where the UE will be at each step, metres across and along; of forecasters that say so."
    )
    lost: list[float] | None = Field(
        None, description="Probability that sight is lost within 1, 2, ... steps; of forecasters that say so."
    )
    begins: bool = Field(description="No step before counts: the first of a session, or the first after a gap in time.")


def small_csi() -> dict[str, Any]:
    """One CSI [32, 64] as JSON: a single path from broadside."""
    return {"real": [[1.0] * 64] * 32, "imag": [[0.0] * 64] * 32}
