"""Serve a site: an HTTP API with JSON, .npy and msgpack, and a page to explore it, on this machine alone by default.

SITE is a folder that `uniair site` made; of a plan (--sites) coverage is shown, and what the model answers where it
was asked. The page is at the address that is printed, the API at /docs and /openapi.json, metrics at /metrics; the log,
one JSON line per request without its payload, goes to standard error. Ctrl-C (or SIGTERM) ends it once it has answered
what it took.

With --follow S, SITE is registry:NAME, or --forecaster is, or both: every S seconds the registry that this node trusts
(uniair registry trust) is asked for the newest version. That takes over when it is verified, loaded and warm, and no
request is dropped; vehicles' forecasts go on from their last steps. Whatever can't be verified or used is left, and the
old version goes on answering. /health and /metrics say which one answers.

With --learn STATE beam forecasts learn on site from the powers measured next, beside the answers: a shadow model
answers once it is ahead by a test, and the one that it began with again where that falls behind. STATE is one file,
which a server that was killed goes on from; /learning and /metrics say what answers, and how often each model was
right. A new version of a followed site does not touch it: forecaster and state stay.

To be reached from other machines it needs --host and a token: the first line of --token_file, or the variable
UNIAIR_TOKEN. Clients then send Authorization: Bearer TOKEN. It speaks no TLS: put a proxy that does in front.

Example:
  uniair serve runs/site
  uniair serve runs/site --port 9000 --forecaster runs/wmlm
  uniair serve registry:munich --follow 60
  uniair serve runs/site --forecaster registry:streets --follow 60
  uniair serve runs/site --learn runs/street.safetensors
  UNIAIR_TOKEN=$(openssl rand -hex 24) uniair serve runs/site --host 0.0.0.0
"""

from __future__ import annotations

import gc
import importlib.util
import ipaddress
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser

from uniair.commands.learning import check_learning, learned_in, learning_options
from uniair.errors import InputError
from uniair.releases.node import Node
from uniair.releases.release import PREFIX, Release, parse

if TYPE_CHECKING:
    from uniair.models.forecast import WMLM
    from uniair.serve.learning_thread import LearningThread

NEEDED = {"fastapi": "fastapi", "uvicorn": "uvicorn", "msgpack": "msgpack", "prometheus_client": "prometheus-client"}
TOKEN = "UNIAIR_TOKEN"
SHORTEST = 16  # characters of a token


def arguments(parser: ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("site", type=str, help="folder that uniair site made, or registry:NAME@VERSION")
    parser.add_argument("--follow", type=float | None, default=None,
                        help="s between two looks for newer versions of what is given as registry:NAME")  # fmt: skip
    parser.add_argument("--host", type=str, default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--token_file", type=str | None, default=None, help="file whose first line is the bearer token")
    parser.add_argument("--without_token", type=bool, default=False, help="listen to other machines without a token")
    parser.add_argument("--assistant", type=bool, default=True, help="read the language model, to be asked in English")
    parser.add_argument(
        "--forecaster",
        type=str | None,
        default=None,
        help="folder of uniair forecast train, or registry:NAME@VERSION; the packaged one if not given",
    )
    parser.add_argument("--feedback", type=str | None, default=None,
                        help="code of uniair adapt --task feedback, for stations without one of their own")  # fmt: skip
    learning_options(parser)
    parser.add_argument("--learn_share", type=float, default=0.25, help="of a core that learning takes at most")
    parser.add_argument("--threads", type=int, default=1, help="of each of the two to four lanes within the model")
    for name, default, what in LIMITS:
        parser.add_argument(f"--{name}", type=type(default), default=default, help=what)


LIMITS = (
    ("body", 20_000_000, "most bytes of a request"),
    ("samples", 1024, "most CSI or positions per request"),
    ("concurrency", 128, "requests at a time; more are told to come back (503)"),
    ("queue", 256, "passes through the model that may wait"),
    ("seconds", 30.0, "longest time for an answer, s (504)"),
    ("sessions", 256, "forecasts of vehicles at a time"),
)


def run(options: Any) -> dict[str, Any]:
    """Serves until it is told to stop."""
    require_serve()
    token = token_of(options.token_file)
    local = is_loopback(options.host)
    if not local and token is None and not options.without_token:
        raise InputError(
            f"--host {options.host}: other machines could ask without a token; give --token_file or {TOKEN}, "
            "or say --without_token true"
        )
    if options.threads < 1 or any(options[name] <= 0 for name, *_ in LIMITS):
        raise InputError("--threads and the limits must be above 0")
    import uvicorn

    from uniair.models.universal import RadioWarning
    from uniair.serve.app import create_app
    from uniair.serve.applications import FORECASTER, SITE, Applications, Served
    from uniair.serve.following import Following, first, forecaster_of, site_of
    from uniair.serve.limits import Limits
    from uniair.serve.predictor import Predictor
    from uniair.serve.telemetry import log_to
    from uniair.site.site import Site
    from uniair.training.forecasting import PACKAGED, load_forecaster

    warnings.simplefilter("ignore", RadioWarning)  # answers carry it as remarks
    node, names = _followed(options)
    begun: dict[str, Release] = {}
    why: dict[str, str] = {}
    for what, name in names.items():
        assert node is not None
        begun[what], why[what] = first(node, name)
    site = Site.read(options.site) if node is None or SITE not in begun else site_of(node, begun[SITE])
    for option in ("forecaster", "feedback", "learn"):
        if not site.weights and options[option] is not None:
            raise InputError(f"--{option}: no model was asked about this plan, and none answers; leave it out")
    check_learning(options)
    with listen(options.host, options.port) as listener, ExitStack() as held:
        forecaster = router = learning = None
        if site.weights:
            if FORECASTER in begun:
                forecaster = forecaster_of(begun[FORECASTER])
            elif options.forecaster is not None or PACKAGED.is_dir():
                forecaster = load_forecaster(Path(options.forecaster or PACKAGED))
            learning = None if options.learn is None else held.enter_context(_learning(options, forecaster))
            router = _router() if options.assistant else None
        hosts = frozenset({"localhost", "127.0.0.1", "[::1]", options.host}) if local and token is None else None
        limits = Limits(**{name: options[name] for name, *_ in LIMITS})

        feedback = None if options.feedback is None else Path(options.feedback)

        applications = Applications(
            Served(site, forecaster, begun),
            lambda site, forecaster: Predictor(site, router, forecaster, feedback),
            lambda served, before: create_app(
                served, limits, token, hosts, options.threads, before=before, learning=learning
            ),
            {} if node is None else {SITE: partial(site_of, node), FORECASTER: forecaster_of},
            learning is not None,
        )
        if node is None:
            application: Any = applications(begun)
            first_app = application
        else:
            application = Following(node, begun, applications, options.follow)
            first_app = application.answering.app
        log_to(sys.stderr)
        name = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{name}:{listener.getsockname()[1]}/"
        service = first_app.state.service
        print("\n".join(_lines(site if service is None else service.predictor)))
        if learning is not None:
            done = learning.status()
            print(f"forecasts learn in {options.learn}: {done['steps']:,} steps so far; answers: {learning.answers()}")
        for what, reason in why.items():
            if reason:
                print(f"{begun[what]} answers, the newest that is here: {reason}")
        print(f"{address}  (Ctrl-C ends it)", flush=True)
        gc.collect()
        gc.freeze()  # what is loaded stays: a full collection that went through it would stop the server for a while
        server = uvicorn.Server(
            uvicorn.Config(application, log_config=None, access_log=False, server_header=False, ws="none",
                           timeout_keep_alive=30, timeout_graceful_shutdown=int(options.seconds) + 1)
        )  # fmt: skip
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises it once more when it has shut down, which is no failure
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        server.run(sockets=[listener])
    return {"address": address, "requests": server.server_state.total_requests}


@contextmanager
def _learning(options: Any, forecaster: WMLM | None) -> Iterator[LearningThread]:
    """What learns from the forecasts' steps, alone in its file.

    Raises:
        InputError: there is no forecaster, or as `learned_in` and `LearningThread`.
    """
    from uniair.serve.learning_thread import LearningThread
    from uniair.training.learning_stream import StreamLearning

    if forecaster is None:
        raise InputError("--learn: no forecaster is packaged; give one as --forecaster")
    # of more sessions than it remembers, each would end before its next step, and nothing be learned
    config = StreamLearning(sessions=max(options.sessions, StreamLearning.sessions))
    with (
        learned_in(options, forecaster, options.forecaster is None, config) as kept,
        LearningThread(kept, options.learn_share) as learning,
    ):
        yield learning


def _followed(options: Any) -> tuple[Node | None, dict[str, str]]:
    """The node whose registry is followed, and the names of what is; None where nothing is.

    Raises:
        InputError: no release by its name alone, too often, this node trusts no registry, or forecasts learn from a
            forecaster that would change.
    """
    from uniair.serve.applications import FORECASTER, SITE

    if options.follow is None:
        return None, {}
    given = {SITE: options.site, FORECASTER: options.forecaster or ""}
    names = {what: parse(one)[0] for what, one in given.items() if one.startswith(PREFIX) and "@" not in one}
    if not names:
        raise InputError(f"--follow: give SITE, or --forecaster, as {PREFIX}NAME, without a version; "
                         f"{' and '.join(one for one in given.values() if one)} never changes")  # fmt: skip
    if not options.follow >= 1:
        raise InputError(f"--follow {options.follow:g}: give 1 s or more")
    if FORECASTER in names and options.learn is not None:
        raise InputError(f"--learn: goes on from one forecaster, and {options.forecaster} changes; give its version")
    return Node.required(), names


def _lines(served: Any) -> list[str]:
    """What is served: by a predictor, or a site whose coverage is shown alone."""
    from uniair.serve.predictor import Predictor

    if not isinstance(served, Predictor):
        return [f"{served.area.name}: coverage of {len(served.stations)} sectors; no model was asked about it"]
    site, tasks = served.site, ", ".join(served.tasks()) or "nothing"
    about = (
        f"{site.area.name}: {len(site.stations)} {'sectors' if site.planned else 'base stations'}; heads for {tasks}"
    )
    said: dict[str, None] = {}
    for number in range(len(site.stations)):
        radio = site.radio_of(number)
        said |= dict.fromkeys([f"radio: {radio}", *served.remarks(radio, number)])
    feedback = f"CSI feedback in bits: codes of {', '.join(served.codes.names) or 'no station'}"
    return [about, feedback, *said]


def require_serve() -> None:
    """Raises `InputError` where a package of the `serve` extra is missing."""
    if missing := [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]:
        raise InputError(f"{', '.join(missing)} missing; run pip install 'uniair[serve]'")


def token_of(file: str | None) -> str | None:
    """The token in a file or in the environment; None where neither is given.

    Raises:
        InputError: no such file, or a token that is guessed soon or that a header can't carry.
    """
    if file is None:
        token, source = os.environ.get(TOKEN, ""), TOKEN
        if not token:
            return None
    else:
        source = file
        try:
            token = (Path(file).read_text(encoding="utf-8").splitlines() or [""])[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--token_file {file}: not to be read ({error})") from error
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"{source}: a token needs at least {SHORTEST} letters and digits without a space; "
            "make one: openssl rand -hex 24"
        )
    return token


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InputError: no such address here, or the port is taken.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except (OSError, OverflowError) as error:
        raise InputError(f"--host {host} --port {port}: can't listen there ({error}); give another --port") from error


def _router() -> Any:
    """What reads instructions; None, and a line that says why, where it is not installed."""
    from uniair.models.backbone import load_backbone
    from uniair.models.router import load_router

    try:
        return load_router(load_backbone())
    except InputError as error:
        print(f"no questions in English: {error}")
        return None
