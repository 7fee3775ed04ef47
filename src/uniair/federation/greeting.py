"""Who takes part: every connection is asked at once whether it agrees and knows the secret, and holds up no other."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

from flwr.common import GetParametersIns, GetPropertiesIns, ReconnectIns
from flwr.server.client_manager import ClientManager
from flwr.server.client_proxy import ClientProxy

from uniair.federation.agreement import Agreement
from uniair.federation.shared_secret import is_proof

PROMPT = 10.0  # s, of what a site answers without learning
LONGEST = 64  # characters of a site's name
Said = Mapping[str, Any] | Exception


class Greeting:
    """The sites that have joined, and those that are asked whether they do.

    Args:
        manager: Flower's, of all connections.
        secret: that a site has to know; None: whoever reaches the server can join.
        wait: s for a site to answer; it may have to read all its links before.
        one_by_one: asks one site after another, as all that draw from one generator must be.
        say: what is done with a line for people.
    """

    def __init__(
        self, manager: ClientManager, agreement: Agreement, secret: bytes | None, wait: float, one_by_one: bool,
        say: Callable[[str], object],
    ) -> None:  # fmt: skip
        self.manager, self.agreement, self.secret = manager, agreement, secret
        self.wait, self.one_by_one, self.say = wait, one_by_one, say
        self.joined: dict[str, str] = {}  # name by Flower's id
        self._asked: set[str] = set()  # ids of those that have not answered yet
        self._answers: SimpleQueue[tuple[ClientProxy, str, Said]] = SimpleQueue()

    def present(self) -> list[ClientProxy]:
        """The sites that are there and have joined, by name; who is new is asked, and what was answered looked at."""
        there = self.manager.all().copy()
        for cid in self.joined.keys() - there.keys():
            self.say(f"{self.joined.pop(cid)} has gone")
        for cid, site in there.items():
            if cid not in self.joined and cid not in self._asked:
                self._asked.add(cid)
                self._aside(partial(self._ask, site))
        while not self._answers.empty():
            self._answered(*self._answers.get())
        return sorted(
            (site for cid, site in self.manager.all().items() if cid in self.joined),
            key=lambda site: self.joined[site.cid],
        )

    def _aside(self, task: Callable[[], object]) -> None:
        if self.one_by_one:
            task()
        else:  # a thread for each: those of a pool could all be taken by connections that say nothing
            threading.Thread(target=task, daemon=True).start()

    def _ask(self, site: ClientProxy) -> None:
        challenge = "" if self.secret is None else secrets.token_hex(16)
        ask = GetPropertiesIns({"agreement": json.dumps(self.agreement.to_json()), "challenge": challenge})
        try:
            said: Said = site.get_properties(ask, self.wait, None).properties
        except Exception as error:  # whatever the transport raises when the other end is gone, or says nothing
            said = error
        self._answers.put((site, challenge, said))

    def _answered(self, site: ClientProxy, challenge: str, said: Said) -> None:
        self._asked.discard(site.cid)
        if isinstance(said, Exception):
            self.manager.unregister(site)
            self.say(f"a site left before it joined ({type(said).__name__})")
            return
        name = str(said.get("name", site.cid))
        if reason := self._refusal(name, challenge, said):
            name = name if name.isprintable() else ascii(name)
            self.say(f"refused {name[:LONGEST]}: {' '.join(reason.split())}")
            self._part(site, reason)
        else:
            self.joined[site.cid] = name
            self.say(f"{name} has joined, with {said.get('examples')} {self.agreement.counted}")

    def _refusal(self, name: str, challenge: str, said: Mapping[str, Any]) -> str:
        """Why a site can't take part; empty where it can."""
        if reason := str(said.get("refusal", "")):
            return reason
        if self.secret is not None and not is_proof(self.secret, challenge, name, str(said.get("proof", ""))):
            return "it does not know the secret; give both the same --secret"
        if said.get("weights") != self.agreement.weights:
            return f"its model has the digest {said.get('weights')}, the federation's {self.agreement.weights}"
        if not name.isprintable() or not 0 < len(name) <= LONGEST:
            return f"a name has 1 to {LONGEST} characters that can be printed; give --name"
        everyone = self.manager.all().items()
        if (old := next((site for cid, site in everyone if self.joined.get(cid) == name), None)) is not None:
            if _is_there(old):
                return "another site has joined under that name; give --name"
            # its connection broke and it has made another before anyone knew that the first one is dead
            self.say(f"{name} has come again")
            self._part(old, "")
        return ""

    def _part(self, site: ClientProxy, reason: str) -> None:
        """Lets a site go, and tells it why."""
        self.joined.pop(site.cid, None)
        self.manager.unregister(site)

        def tell() -> None:
            with suppress(Exception):  # it may be gone
                if reason:
                    site.get_properties(GetPropertiesIns({"refusal": reason}), PROMPT, None)
                site.reconnect(ReconnectIns(None), PROMPT, None)

        self._aside(tell)


def _is_there(site: ClientProxy) -> bool:
    """Whether a site that has nothing to do is still at the other end."""
    try:
        site.get_parameters(GetParametersIns({}), PROMPT, None)
    except Exception:  # whatever the transport raises
        return False
    return True
