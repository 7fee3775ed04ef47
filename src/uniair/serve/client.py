"""A small client of `uniair serve`.

from uniair.serve.client import Client

with Client("http://127.0.0.1:8000") as site:
    z = site.encode(csi)                            # complex [N, antennas, subcarriers] → float32 [N, 128]
    z = site.encode(other, radio=uniair.Radio(uniair.UPA(4, 8)))    # CSI of another radio than the site's
    p = site.los(csi, station=0, ue=positions)      # [N]
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uniair.errors import InputError

try:
    import httpx2 as httpx
    import msgpack
except ImportError as error:
    raise InputError("the client needs httpx2 and msgpack: pip install 'uniair[serve]'") from error

if TYPE_CHECKING:  # a client needs no torch
    from uniair.radio import Radio

MSGPACK = "application/msgpack"


class ServiceError(Exception):
    """The server answered with an error.

    Attributes:
        status: of HTTP.
        retry_after: s after which to come back, where the server says so (it is busy).
    """

    def __init__(self, status: int, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.retry_after = status, detail, retry_after


class Client:
    """Asks one server; CSI travels as bytes.

    A channel is given as `csi`, complex [N, antennas, subcarriers] or that of one link, or as the number of one of the
    site's links (`link`), and a station by its number or name. `radio` is the one that measured the CSI; None: the
    client's. Positions are m from the site's south-west corner, [N, 3] or [3]. `buildings` is another map to believe,
    in the form of `buildings()`. Every method raises `ServiceError`.

    Args:
        url: of the server.
        token: bearer token, if the server asks for one.
        timeout: s.
        http: a client of httpx2 to use instead of one of its own.
        radio: that measures the CSI; None: the site's.
        crs: "4326" where positions are given as longitude, latitude and m; None: metres of the site.

    Attributes:
        remarks: of the latest answer: what to know about answers on its radio; empty where nothing differs.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", token: str | None = None, timeout: float = 60.0,
        http: httpx.Client | None = None, radio: Radio | None = None, crs: str | None = None,
    ) -> None:  # fmt: skip
        self.radio, self.crs, self.remarks = radio, crs, list[str]()
        self._http = httpx.Client(base_url=url, timeout=timeout) if http is None else http
        self._headers = {"accept": MSGPACK} | ({} if token is None else {"authorization": f"Bearer {token}"})

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def site(self) -> dict[str, Any]:
        """Stations, their radio, tasks and their figures."""
        return self._get("/site")

    def buildings(self) -> list[dict[str, Any]]:
        """Outlines, holes and heights."""
        return list(self._get("/site/buildings")["buildings"])

    def coverage(self) -> dict[str, Any]:
        """Sectors, layers of the map with their colours, figures, a drive test's too, and names of the files."""
        return self._get("/coverage")

    def coverage_users(self, sector: int | str | None = None, prediction: str | None = None) -> dict[str, NDArray[Any]]:
        """`ue` [U, 3], `floor` (−1 outdoors), `best` (−1 nobody), `rsrp` dBm, `sinr` dB, `throughput` Mbit/s [U].

        RSRP is that of one sector where it is given, of the best server else.
        """
        return self._get("/coverage/users", sector=sector, prediction=prediction)

    def coverage_user(self, user: int) -> dict[str, Any]:
        """One user, with what each of the `sectors` gives them."""
        return self._get(f"/coverage/users/{user}")

    def coverage_map(
        self, layer: str = "rsrp", sector: int | str | None = None, prediction: str | None = None
    ) -> NDArray[np.float64]:
        """Cells of `best`, `rsrp`, `sinr` or `throughput` [rows, columns], row 0 in the south; NaN inside buildings."""
        values: NDArray[np.float64] = self._get("/coverage/map", layer=layer, sector=sector, prediction=prediction)[
            "values"
        ]
        return values

    def drive_test(self, sector: int | str | None = None) -> dict[str, Any]:
        """Measurements: `place` [M, 3], `sector`, `half`, `measured`, `planned` and `calibrated` [M] dBm."""
        return self._get("/coverage/drive_test", sector=sector)

    def rays(self, user: int, sector: int | str | None = None) -> dict[str, Any]:
        """The traced paths to a user: `rays`, each with `points`, `gain_db`, `delay_ns` and `events`; `not_drawn`."""
        return self._get("/coverage/rays", user=user, sector=sector)

    def export(self, name: str | None = None) -> bytes:
        """One of the files that `coverage` names, or all of them in a zip."""
        answer = self._http.get(
            "/coverage/export" if name is None else f"/coverage/export/{name}", headers=self._headers
        )
        self._check(answer)
        return answer.content

    def links(self, station: int | str = 0) -> dict[str, NDArray[Any]]:
        """`ue` [N, 3], `tested` and the tasks' labels [N] (`los`, `path_loss_db`, `beam`, …) of a station's links."""
        return self._get("/site/links", station=station)

    def link(self, station: int | str, link: int) -> dict[str, Any]:
        """One link, with `csi_db` [32, 64]."""
        return self._get(f"/site/links/{station}/{link}")

    def encode(self, csi: ArrayLike, radio: Radio | None = None) -> NDArray[np.float32]:
        """Embeddings, [N, 128] of unit norm."""
        return self._array("/encode", "embedding", csi=csi, radio=radio)

    def los(
        self, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None,
        ue: ArrayLike | None = None,
        buildings: Sequence[dict[str, Any]] | None = None,
        radio: Radio | None = None,
    ) -> NDArray[np.float32]:  # fmt: skip
        """Zero-shot probabilities of line of sight, [N]."""
        return self._array("/los", "probability_of_los", csi=csi, station=station, link=link, ue=ue,
                           buildings=buildings, radio=radio)  # fmt: skip

    def doubts(
        self, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None,
        ue: ArrayLike | None = None,
        buildings: Sequence[dict[str, Any]] | None = None,
        radio: Radio | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """How sure the answers of `los` are, an object a channel: `wrong`, `in_range`, `signals`, `los_sets`."""
        found: list[dict[str, Any]] = self._post("/los", csi=csi, station=station, link=link, ue=ue,
                                                 buildings=buildings, radio=radio, doubt=True)["doubt"]  # fmt: skip
        return found

    def rank(
        self, ue: ArrayLike, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None,
        buildings: Sequence[dict[str, Any]] | None = None,
        radio: Radio | None = None,
    ) -> NDArray[np.float32]:  # fmt: skip
        """Zero-shot probabilities of the candidate positions, [N, candidates]."""
        return self._array(
            "/rank", "probability", csi=csi, station=station, link=link, ue=ue, buildings=buildings, radio=radio
        )

    def answers(
        self, task: str, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None,
        ue: ArrayLike | None = None,
        radio: Radio | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """What the station's light head says, one object a link; tasks that read map and position take `ue` too."""
        answers: list[dict[str, Any]] = self._post(f"/{task}", csi=csi, station=station, link=link, ue=ue, radio=radio)[
            "answers"
        ]
        return answers

    # the tasks that come with the library, as arrays

    def position(
        self, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None, radio: Radio | None = None
    ) -> NDArray[np.float64]:
        """Positions, [N, 2] m."""
        return np.array([[a["x_m"], a["y_m"]] for a in self.answers("position", csi, station, link, radio=radio)])

    def beam(
        self,
        ue: ArrayLike | None = None,
        csi: ArrayLike | None = None,
        station: int | str = 0,
        link: int | None = None,
        radio: Radio | None = None,
    ) -> list[dict[str, Any]]:
        """Best beams: `beam`, `direction_cosine`, `azimuths_rad`, `probability` and `probabilities` of each."""
        return self.answers("beam", csi, station, link, ue, radio)

    def path_loss(
        self, ue: ArrayLike | None = None, station: int | str = 0, link: int | None = None
    ) -> NDArray[np.float64]:
        """Path losses, [N] dB."""
        return np.array([a["path_loss_db"] for a in self.answers("path_loss", None, station, link, ue)])

    def precoding(
        self,
        csi: ArrayLike | None = None,
        station: int | str = 0,
        link: int | None = None,
        radio: Radio | None = None,
    ) -> NDArray[np.complex128]:
        """Precoders of unit norm, [N, antennas]."""
        answers = self.answers("precoding", csi, station, link, radio=radio)
        return np.array([np.array(a["weights_real"]) + 1j * np.array(a["weights_imag"]) for a in answers])

    def likelihood(
        self, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None, step: float = 4.0,
        buildings: Sequence[dict[str, Any]] | None = None,
        radio: Radio | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Likelihood map of one channel's user: `x`, `y` [G] m, `log10` [G, G] (NaN inside buildings), `best` [2] m."""
        return self._post(
            "/likelihood", csi=csi, station=station, link=link, step=step, buildings=buildings, radio=radio
        )

    def explain(
        self, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None,
        ue: ArrayLike | None = None, taken_off: int = 0,
        buildings: Sequence[dict[str, Any]] | None = None,
        radio: Radio | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Why one channel fits its place: `sentence`, `paths`, `candidates` with their `line`, `missing`, `doubt`.

        `taken_off` buildings are taken off the map one by one to see what each is worth.
        """
        return self._post("/explain", csi=csi, station=station, link=link, ue=ue, taken_off=taken_off,
                          buildings=buildings, radio=radio)  # fmt: skip

    def audit(
        self, station: int | str = 0, channels: int = 100, buildings: Sequence[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Where a station's channels contradict the map: `suspicions`, strongest first, and `contradicted` cells."""
        return self._post("/audit", station=station, channels=channels, buildings=buildings)

    def ask(
        self, instruction: str, csi: ArrayLike | None = None, station: int | str = 0, link: int | None = None,
        ue: ArrayLike | None = None,
        radio: Radio | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Asks in plain English: `text` and `answers`, or `declined`, `missing` and `refused`, or a `question`.

        The question may name users and stations of the site; `station` and `link` are meant where it names none.
        """
        return self._post("/ask", instruction=instruction, csi=csi, station=station, link=link, ue=ue, radio=radio)

    def feedback_encode(
        self, csi: ArrayLike | None = None, length: int = 96, search: int = 0, station: int | str = 0,
        link: int | None = None,
        radio: Radio | None = None, paths: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Bit strings of so many bits, which `feedback_decode(**it)` reads: `bits` in hexadecimal, `length`, `code`.

        By the station's code, for whose decoder the sender seeks better bits in `search` steps; or by `paths`, which
        any radio has and every station reads: with `radio`, where it is another than the station's.
        """
        answer = self._post(
            "/feedback/encode",
            csi=csi,
            length=length,
            search=search,
            station=station,
            link=link,
            radio=radio,
            paths=paths,
        )
        return {name: answer[name] for name in ("bits", "length", "code")}

    def feedback_decode(
        self, bits: str | Sequence[str], length: int, code: str, station: int | str = 0, beside: str | None = None,
        ue: ArrayLike | None = None,
        radio: Radio | None = None,
    ) -> NDArray[np.complex64]:  # fmt: skip
        """Normalised CSI, complex64 [N, antennas, subcarriers], of the code's radio or of another that is asked for.

        `beside` is what the base station reads beside the bits: `map`, or `map and position`, which takes `ue`.
        """
        csi: NDArray[np.complex64] = self._post(
            "/feedback/decode", bits=bits if isinstance(bits, str) else list(bits), length=length, code=code,
            station=station, beside=beside, ue=ue, radio=radio,
        )["csi"]  # fmt: skip
        return csi

    def complete(
        self, csi: ArrayLike, known: ArrayLike, snr: ArrayLike | None = None, radio: Radio | None = None
    ) -> NDArray[np.complex64]:
        """CSI at every antenna and subcarrier from the entries that are `known`, bool [antennas, subcarriers].

        `snr` is in dB over their mean power, one or [N]; estimated where it is not given.
        """
        mask = np.asarray(known, dtype=np.bool_)
        found: NDArray[np.complex64] = self._post("/complete", csi=csi, known=mask, snr=snr, radio=radio)["csi"]
        return found

    def forecast(self, session: str, **step: Any) -> dict[str, NDArray[Any]]:
        """The next `beams` after one more step of a vehicle: any of `power` [beams], `beam`, `position` [2], `csi`.

        Of forecasters that say so also the `position` of each next step, and when sight is `lost`. `begins` says that
        no step before counts: the first one, or one after a gap in `time`.
        """
        return self._post("/forecast", session=session, **step)

    def learning(self) -> dict[str, Any]:
        """How the forecasts learn on site, where the server does (`uniair serve --learn`)."""
        return self._get("/learning")

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return self._document(self._http.get(path, params=given, headers=self._headers))

    def _post(self, path: str, **fields: Any) -> dict[str, Any]:
        if fields.get("csi") is not None and path != "/forecast" and fields.get("radio") is None:
            fields["radio"] = self.radio
        if fields.get("ue") is not None:
            fields["crs"] = self.crs
        given = {name: _plain(name, value) for name, value in fields.items() if value is not None}
        headers = self._headers | {"content-type": MSGPACK}
        answer = self._document(self._http.post(path, content=msgpack.packb(given), headers=headers))
        self.remarks = list(answer.get("remarks", ()))
        return answer

    def _array(self, path: str, name: str, **fields: Any) -> NDArray[np.float32]:
        array: NDArray[np.float32] = self._post(path, **fields)[name]
        return array

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_error:
            try:
                detail = str(answer.json()["detail"])
            except (ValueError, KeyError, TypeError):
                detail = answer.reason_phrase
            wait = answer.headers.get("retry-after")
            raise ServiceError(answer.status_code, detail, None if wait is None else float(wait))

    def _document(self, answer: httpx.Response) -> dict[str, Any]:
        self._check(answer)
        document: dict[str, Any] = (
            msgpack.unpackb(answer.content, object_hook=_arrays)
            if answer.headers.get("content-type") == MSGPACK
            else answer.json()
        )
        return document


def _plain(name: str, value: Any) -> Any:
    """A field as msgpack carries it."""
    if name == "radio":
        return value.to_json()
    if name == "csi":
        csi = np.asarray(value)
        if not np.iscomplexobj(csi):
            raise InputError(f"csi is {csi.dtype}; give complex numbers, real + 1j * imaginary")
        csi = csi.astype("<c16" if csi.dtype == np.complex128 else "<c8", copy=False)
        return {"shape": csi.shape, "dtype": csi.dtype.name, "data": np.ascontiguousarray(csi).tobytes()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _arrays(value: dict[str, Any]) -> Any:
    """Packed arrays as such."""
    if value.keys() == {"shape", "dtype", "data"}:
        return np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])
    return value
