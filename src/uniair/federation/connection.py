"""How server and sites meet: over Flower's gRPC between machines, or one after another in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flwr.client import Client
from flwr.common import (
    DisconnectRes,
    EvaluateIns,
    EvaluateRes,
    FitIns,
    FitRes,
    GetParametersIns,
    GetParametersRes,
    GetPropertiesIns,
    GetPropertiesRes,
    ReconnectIns,
)
from flwr.server.client_proxy import ClientProxy

from uniair.errors import InputError
from uniair.federation.rounds import Rounds
from uniair.federation.site_client import SiteClient

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
WATCHED = 0.5  # s; gRPC looks at a channel every 0.2 s
CERTIFICATES = ("ca.pem", "server.pem", "server.key")


class Here(ClientProxy):
    """A site in this process, by a number."""

    def __init__(self, client: SiteClient, number: int) -> None:
        super().__init__(str(number))
        self.client: Client = client

    def get_properties(self, ins: GetPropertiesIns, timeout: float | None, group_id: int | None) -> GetPropertiesRes:
        """Asks it."""
        return self.client.get_properties(ins)

    def get_parameters(self, ins: GetParametersIns, timeout: float | None, group_id: int | None) -> GetParametersRes:
        """Asks it."""
        return self.client.get_parameters(ins)

    def fit(self, ins: FitIns, timeout: float | None, group_id: int | None) -> FitRes:
        """Asks it."""
        return self.client.fit(ins)

    def evaluate(self, ins: EvaluateIns, timeout: float | None, group_id: int | None) -> EvaluateRes:
        """Asks it."""
        return self.client.evaluate(ins)

    def reconnect(self, ins: ReconnectIns, timeout: float | None, group_id: int | None) -> DisconnectRes:
        """There is nothing to end."""
        return DisconnectRes("")


def run_here(rounds: Rounds, clients: Iterable[SiteClient]) -> None:
    """All rounds with sites in this process; `rounds` must ask one at a time, for torch has one generator.

    Raises:
        InputError: as `Rounds.run`, or a site refuses.
    """
    for number, client in enumerate(clients):
        rounds.client_manager().register(Here(client, number))
    rounds.run()


def serve(rounds: Rounds, address: str, certificates: tuple[bytes, bytes, bytes] | None = None) -> None:
    """All rounds with sites that connect over gRPC (Flower's `start_server`, without its log and its reports).

    Raises:
        InputError: as `Rounds.run`, or it can't listen there.
    """
    from flwr.server.superlink.fleet.grpc_bidi.grpc_server import start_grpc_server

    try:
        server = start_grpc_server(rounds.client_manager(), address, certificates=certificates)
    except (RuntimeError, OSError) as error:
        raise InputError(f"--address {address}: can't listen there ({error}); give another one") from error
    try:
        rounds.run()
    finally:
        server.stop(grace=1).wait()


def join(client: SiteClient, address: str, wait: float, ca: bytes | None = None) -> None:
    """Takes part until the server lets the site go; one that was killed is waited for (Flower's `start_client`).

    Args:
        wait: s without a server after which it gives up.
        ca: certificate of who signed the server's; None: no TLS.

    Raises:
        InputError: no server, or the site was refused.
    """
    from flwr.compat.client.app import start_client_internal
    from grpc import RpcError

    while True:
        try:
            with _closing_quietly():
                start_client_internal(
                    server_address=address, node_config={}, client=client, root_certificates=ca, insecure=ca is None
                )
            break
        except (RpcError, StopIteration, ConnectionError, RuntimeError) as error:
            if client.refusal:
                break
            if time.monotonic() - client.asked > wait:
                raise InputError(f"--server {address}: no federation there for {wait:g} s ({type(error).__name__}); "
                                 "start uniair federate server, or give its address") from error  # fmt: skip
            time.sleep(0.5)
    if client.refusal:
        raise InputError(f"{client.name} does not take part: {client.refusal}")
    if client.kept is None:
        raise InputError(f"{client.name}: the server ended before the last round, so nothing new is kept here; run "
                         "the same command again when the server runs again")  # fmt: skip


@contextmanager
def _closing_quietly() -> Iterator[None]:
    """Flower closes a channel that gRPC still watches from a thread, which says so with a traceback a moment later."""
    before = threading.excepthook

    def hook(found: threading.ExceptHookArgs) -> None:
        if not (isinstance(found.exc_value, ValueError) and "Channel closed" in str(found.exc_value)):
            before(found)

    threading.excepthook = hook
    try:
        yield
    finally:
        time.sleep(WATCHED)
        threading.excepthook = before


def read_certificates(folder: Path) -> tuple[bytes, bytes, bytes]:
    """The server's TLS: certificate of who signed, certificate, private key, PEM each.

    Raises:
        InputError: one of them is missing.
    """
    if missing := [name for name in CERTIFICATES if not (folder / name).is_file()]:
        raise InputError(f"--tls {folder}: lacks {missing[0]}; it takes {', '.join(CERTIFICATES)}")
    ca, certificate, key = ((folder / name).read_bytes() for name in CERTIFICATES)
    return ca, certificate, key


def check_address(address: str, secured: bool, option: str) -> None:
    """Refuses an address that is none, or one of another machine without TLS.

    Raises:
        InputError: as said.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{option} {address}: give HOST:PORT, such as 127.0.0.1:8080")
    if host not in LOOPBACK and not secured:
        raise InputError(f"{option} {address}: parameters between machines travel by TLS alone; give the server --tls "
                         "and its sites --ca")  # fmt: skip
