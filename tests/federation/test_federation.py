"""Federations: closed forms of aggregates and privacy, rounds that resume, sites refused, two real processes."""

from __future__ import annotations

import json
import math
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import geometric_links

pytest.importorskip("flwr", reason="a federation needs flwr: pip install 'uniair[federated]'")

import uniair
from uniair.cli import main
from uniair.data.links import shards
from uniair.data.links.links import Links
from uniair.errors import InputError
from uniair.federation.aggregate import AGGREGATES, Arrays, aggregated, require_flower
from uniair.federation.agreement import Federation, read
from uniair.federation.connection import Here, join, run_here, serve
from uniair.federation.forecast_agreement import ForecastAgreement
from uniair.federation.head_agreement import MOMENTUM, HeadAgreement, HeadSite, SiteData, parameters
from uniair.federation.privacy import Account, Noise, learn_privately, noise_for, sampling_rate
from uniair.federation.rounds import STATE, Rounds
from uniair.federation.shared_secret import read_secret
from uniair.federation.simulation import simulate
from uniair.federation.site_client import SiteClient
from uniair.models.head import Head
from uniair.models.universal import UniversalModel
from uniair.radio import OFDM, Radio
from uniair.tasks.registry import TASKS
from uniair.training.checkpoint import save_model
from uniair.training.heads import load_head

require_flower(private=True)
PLAN = Federation(task="los", rounds=3, steps=2, batch=8, learning_rate=0.1, sites=2)
HEAD = "federated-los-channel-0.safetensors"


def silent(_: str) -> None:
    """Says nothing."""


def make(seed: int = 0) -> UniversalModel:
    torch.manual_seed(seed)
    return uniair.build("tiny")


@pytest.fixture(scope="module")
def model() -> UniversalModel:
    return make()


@pytest.fixture(scope="module")
def sites() -> dict[str, Links]:
    return {f"site-{n}": geometric_links(seed=n, areas=1, per_area=30, place=f"town-{n}") for n in range(3)}


@pytest.fixture(scope="module")
def begun(model: UniversalModel) -> tuple[HeadAgreement, Arrays]:
    return HeadAgreement.of(model, PLAN, Radio())


def started(begun: tuple[HeadAgreement, Arrays]) -> Arrays:
    return [each.copy() for each in begun[1]]


def on(begun: tuple[HeadAgreement, Arrays], **changes: Any) -> HeadAgreement:
    return replace(begun[0], federation=replace(PLAN, **changes))


def test_the_mean_of_one_step_on_full_batches_is_a_step_on_all_links_in_one_place(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays]
) -> None:
    agreement = on(begun, steps=1, batch=1000)
    data = [SiteData.of(model, links, agreement) for links in sites.values()]
    arrays = started(begun)
    learned = [HeadSite(str(k), agreement, each).learn(arrays, 1) for k, each in enumerate(data)]
    found = aggregated("mean", 0, [(each, len(part.z)) for each, part in zip(learned, data, strict=True)])
    head = agreement.head(arrays)
    loss = TASKS["los"].loss(head(torch.cat([each.z for each in data])), torch.cat([each.target for each in data]))
    torch.autograd.backward(loss)
    for have, parameter in zip(found, head.parameters(), strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(have, (parameter - 0.1 * parameter.grad).detach().numpy(), atol=1e-6)


def test_identical_sites_learn_as_one_does(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays]
) -> None:
    data = SiteData.of(model, sites["site-0"], begun[0])
    alone = HeadSite("a", begun[0], data).learn(started(begun), 1)
    for name in ("mean", "median", "krum"):
        for have, want in zip(aggregated(name, 0, [(alone, len(data.z))] * 3), alone, strict=True):
            np.testing.assert_allclose(have, want, rtol=1e-6)


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("wrong", [1e6, -1e6, 0.5])
def test_one_outlier_moves_the_mean_alone(name: str, wrong: float) -> None:
    honest = [np.full((2, 3), 2.0, np.float32), np.arange(4, dtype=np.float32)]
    outlier = [values + np.float32(wrong) for values in honest]
    found = aggregated(name, 1, [(honest, 10)] * 3 + [(outlier, 10)] + [(honest, 10)] * 4)
    moved = max(float(np.abs(have - want).max()) for have, want in zip(found, honest, strict=True))
    if name == "mean":
        assert moved == pytest.approx(abs(wrong) / 8, rel=1e-5)
    else:
        assert moved == 0


def test_the_mean_is_weighted_by_links() -> None:
    one, other = ([np.array([value], np.float32)] for value in (1.0, 4.0))
    assert aggregated("mean", 0, [(one, 20), (other, 10)])[0] == pytest.approx(2.0)
    assert aggregated("trimmed", 1, [(one, 1), (one, 1), (other, 99)])[0] == pytest.approx(1.0)


@pytest.mark.parametrize(("name", "fewest"), [("median", 3), ("trimmed", 3), ("krum", 5), ("multi-krum", 5)])
def test_a_rule_is_refused_where_it_could_not_withstand_what_it_promises(name: str, fewest: int) -> None:
    Federation(aggregate=name, poisoned=1, sites=fewest)
    with pytest.raises(InputError, match=f"among {fewest} at least"):
        Federation(aggregate=name, poisoned=1, sites=fewest - 1)


@pytest.mark.parametrize(
    "wrong",
    [{"rounds": 0}, {"steps": 0}, {"learning_rate": math.nan}, {"aggregate": "mode"}, {"epsilon": 0.0}, {"delta": 1.0},
     {"clip": -1.0}, {"task": "weather"}, {"poisoned": -1}, {"epsilon": math.inf}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Federation(**wrong)


def test_what_is_spent_is_what_opacus_accounts(tmp_path: Path) -> None:
    from opacus.accountants import RDPAccountant

    noise = noise_for(3.0, 1e-3, sampling_rate(100, 25), 40)
    account, theirs = Account(tmp_path), RDPAccountant()
    theirs.history = [(noise.multiplier, 0.25, 40), (2.0, 0.5, 3)]
    account.accountant.history = [(noise.multiplier, 0.25, 40)]
    assert 2.99 <= account.spent(1e-3) <= 3.0  # what the noise was chosen for
    assert account.spent(1e-3, Noise(2.0, 0.5), 3) == pytest.approx(theirs.get_epsilon(1e-3), rel=1e-9)
    account.check(noise, 0, 3.0, 1e-3)
    with pytest.raises(InputError, match=r"above the 3 agreed on.*nothing more leaves"):
        account.check(noise, 1, 3.0, 1e-3)
    account.save()
    assert Account(tmp_path).spent(1e-3) == account.spent(1e-3)
    (tmp_path / "privacy.json").write_text("{}")
    with pytest.raises(InputError, match=r"privacy\.json"):
        Account(tmp_path)


def test_private_steps_clip_each_link_and_add_noise_of_the_scale_that_is_accounted() -> None:
    task, clip = TASKS["los"], 0.05
    draw = torch.Generator().manual_seed(0)
    z, target = torch.randn(16, 128, generator=draw), torch.randint(0, 2, (16,), generator=draw)

    def stepped(multiplier: float, seed: int) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            head = Head((128, 2))
        optimiser = torch.optim.SGD(head.parameters(), lr=1.0)
        learn_privately(
            head, z, target, task.loss, optimiser, noise=Noise(multiplier, 1.0), batch=16, steps=1, clip=clip,
            account=account, seed=seed,
        )  # fmt: skip
        return torch.cat([p.detach().flatten() for p in head.parameters()])

    account = Account(None)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = Head((128, 2))
    before = torch.cat([p.detach().flatten() for p in head.parameters()])
    total = torch.zeros_like(before)
    for one, truth in zip(z, target, strict=True):
        gradient = torch.autograd.grad(task.loss(head(one[None]), truth[None]), list(head.parameters()))
        flat = torch.cat([g.flatten() for g in gradient])
        total += flat * min(1.0, clip / float(flat.norm()))
    clean = before - total / 16
    torch.testing.assert_close(stepped(1e-9, 0), clean, atol=1e-5, rtol=1e-4)
    noise = torch.cat([stepped(3.0, seed) - clean for seed in range(4)])
    assert float(noise.std()) == pytest.approx(3.0 * clip / 16, rel=0.1)
    assert sum(steps for *_, steps in account.accountant.history) == 5


def test_a_minibatch_of_no_link_is_a_step_of_noise() -> None:
    head, account = Head((128, 2)), Account(None)
    z, target = torch.zeros(40, 128), torch.zeros(40, dtype=torch.long)
    learn_privately(
        head, z, target, TASKS["los"].loss, torch.optim.SGD(head.parameters(), lr=0.1), noise=Noise(1.0, 1 / 40),
        batch=1, steps=12, clip=1.0, account=account, seed=0,
    )  # fmt: skip
    assert all(torch.isfinite(p).all() for p in head.parameters())
    assert account.accountant.history == [(1.0, 1 / 40, 12)]


@pytest.mark.parametrize("epsilon", [None, 20.0])
def test_a_killed_federation_goes_on_to_the_same_head(
    epsilon: float | None,
    model: UniversalModel,
    sites: Mapping[str, Links],
    begun: tuple[HeadAgreement, Arrays],
    tmp_path: Path,
) -> None:
    agreement = on(begun, epsilon=epsilon, delta=1e-3)
    simulate(agreement, begun[1], model, sites, tmp_path / "whole", silent)

    def killed(line: str) -> None:
        if line.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(agreement, begun[1], model, sites, tmp_path / "killed", killed)
    lines: list[str] = []
    rounds = simulate(agreement, begun[1], model, sites, tmp_path / "killed", lines.append)
    assert [line[:12] for line in lines if line.startswith("round")] == ["round 3 of 3"]
    assert (tmp_path / "whole" / HEAD).read_bytes() == (tmp_path / "killed" / HEAD).read_bytes()
    saved = load_head(tmp_path / "killed" / HEAD, model, "los")
    for have, (_, want) in zip(rounds.arrays, parameters(saved.head), strict=True):
        np.testing.assert_array_equal(have, want.numpy())
    card = json.loads((tmp_path / "killed" / HEAD).with_suffix(".json").read_text())["about"]["federated"]
    assert card["rounds"] == 3
    assert card["links"] == sum(card["sites"].values()) == 72
    if epsilon is None:
        assert card["privacy"] is None
        assert card["figures"].keys() == sites.keys()
    else:
        assert 19.0 < card["privacy"]["epsilon"] <= 20.0
        assert card["privacy"]["rehearsal"]
        assert not card["figures"]  # they would give away what the noise hides
    with pytest.raises(InputError, match=r"another federation\.rounds"):
        simulate(on(begun, rounds=9), begun[1], model, sites, tmp_path / "whole", silent)
    fewer = {name: links.select(np.arange(len(links) - 1)) for name, links in sites.items()}
    with pytest.raises(InputError, match="holds a federation of other sites, or of others' data"):
        simulate(agreement, begun[1], model, fewer, tmp_path / "whole", silent)


def test_a_round_that_is_asked_twice_spends_once(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    from flwr.common import FitIns, GetPropertiesIns, ndarrays_to_parameters, parameters_to_ndarrays

    agreement = on(begun, epsilon=8.0, delta=1e-3)

    def joined(links: Links = sites["site-0"]) -> SiteClient:
        client = SiteClient("a", model, links, tmp_path)
        client.get_properties(GetPropertiesIns({"agreement": json.dumps(agreement.to_json())}))
        return client

    ask = FitIns(ndarrays_to_parameters(started(begun)), {"round": 1})
    first, again = joined(), joined()
    one, two = (parameters_to_ndarrays(client.fit(ask).parameters) for client in (first, again))
    for have, want in zip(one, two, strict=True):
        np.testing.assert_array_equal(have, want)
    spent = Account(tmp_path).spent(1e-3)
    joined(replace(sites["site-0"], los=~sites["site-0"].los)).fit(ask)  # other labels have not answered yet
    assert (later := Account(tmp_path).spent(1e-3)) > spent
    joined().fit(FitIns(ndarrays_to_parameters(started(begun)), {"round": 2}))
    assert Account(tmp_path).spent(1e-3) > later
    # all that was agreed on is spent before the rounds are over: another federation has learned from these links
    for number in range(3, 9):
        answer = joined().fit(FitIns(ndarrays_to_parameters(started(begun)), {"round": number}))
    assert "nothing more leaves this site" in answer.status.message
    assert Account(tmp_path).spent(1e-3) <= 8.0


def rehearsed(
    agreement: HeadAgreement, begin: Arrays, model: UniversalModel, clients: list[SiteClient], out: Path | None,
    say: Callable[[str], object], secret: bytes | None = None,
) -> Rounds:  # fmt: skip
    rounds = Rounds(agreement, begin, model, out, wait=0.0, workers=1, say=say, secret=secret)
    run_here(rounds, clients)
    return rounds


def test_sites_of_another_model_or_radio_or_too_few_links_are_refused_and_the_old_head_stays(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    simulate(on(begun, rounds=1), begun[1], model, sites, tmp_path, silent)
    old = (tmp_path / HEAD).read_bytes()
    other = replace(sites["site-2"], radios=(Radio(grid=OFDM(64, 240e3)),))
    odd: list[tuple[Callable[[str, Links], SiteClient], Federation, str]] = [
        (lambda name, links: SiteClient(name, make(1), links), PLAN, r"digest \w{16}, the federation's \w{16}"),
        (lambda name, _links: SiteClient(name, model, other), PLAN, r"240 kHz.*\(grid\)"),
        (lambda name, links: SiteClient(name, model, links), replace(PLAN, epsilon=8.0, delta=0.1), r"not below 1/24"),
        (lambda name, links: SiteClient(name, model, links, epsilon=8.0), PLAN, "private, this site spends at most"),
        (lambda _name, links: SiteClient("twin", model, links), PLAN, "another site has joined under that name"),
    ]
    for k, (made, plan, reason) in enumerate(odd):
        lines: list[str] = []
        agreement = replace(begun[0], federation=replace(plan, sites=3))
        clients = [made(name, links) for name, links in sites.items()]
        with pytest.raises(InputError, match=r"round 1: [01] sites are there.*nothing is applied"):
            rehearsed(agreement, begun[1], model, clients, tmp_path / str(k), lines.append)
        assert any(line.startswith("refused ") and re.search(reason, line) for line in lines), lines
        assert not (tmp_path / str(k) / HEAD).exists()
    with pytest.raises(InputError, match="run the same command again"):
        simulate(on(begun, rounds=1, sites=4), begun[1], model, sites, tmp_path / "few", silent)
    assert (tmp_path / HEAD).read_bytes() == old


def test_only_who_knows_the_secret_joins(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    class Pretending(SiteClient):
        """Answers with what another site proved."""

        def get_properties(self, ins: Any) -> Any:
            """As said."""
            answer = super().get_properties(ins)
            return replace(answer, properties=answer.properties | {"name": "site-9", "refusal": ""})

    right, wrong = b"a secret of many letters", b"another of many letters"

    def lines_of(known: Mapping[str, bytes | None], asked: bytes | None, kind: type[SiteClient] = SiteClient) -> str:
        lines: list[str] = []
        clients = [kind(name, model, sites[name], secret=one) for name, one in known.items()]
        with pytest.raises(InputError, match=r"round 1: [01] sites are there"):
            rehearsed(on(begun, rounds=1), begun[1], model, clients, tmp_path, lines.append, asked)
        return "\n".join(lines)

    assert "refused site-1: it does not know the secret" in lines_of({"site-0": right, "site-1": wrong}, right)
    assert "refused site-1: the server asks for a secret" in lines_of({"site-0": right, "site-1": None}, right)
    assert "refused site-0: the server asks for no secret" in lines_of({"site-0": right, "site-1": None}, None)
    assert "refused site-9: it does not know the secret" in lines_of({"site-0": right}, right, Pretending)
    rounds = rehearsed(
        on(begun, rounds=1), begun[1], model,
        [SiteClient(name, model, links, secret=right) for name, links in sites.items()], None, silent, right,
    )  # fmt: skip
    assert rounds.about()["sites"].keys() == sites.keys()
    (tmp_path / "short").write_text("guessed\n")
    for name, said in (("none", "no such file; make one"), ("short", "7 characters can be guessed; give 16")):
        with pytest.raises(InputError, match=said):
            read_secret(str(tmp_path / name))


class Broken(SiteClient):
    """Sends NaN, or parameters of another head."""

    def fit(self, ins: Any) -> Any:
        """As said."""
        from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays

        answer = super().fit(ins)
        arrays = [np.full_like(each, np.nan) for each in parameters_to_ndarrays(answer.parameters)]
        answer.parameters = ndarrays_to_parameters(arrays if self.name == "site-2" else arrays[:1])
        return answer


def test_parameters_that_are_not_finite_or_of_another_head_are_left_out(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    def made() -> list[SiteClient]:
        kinds = {name: SiteClient if name == "site-0" else Broken for name in sites}
        return [kinds[name](name, model, links) for name, links in sites.items()]

    lines: list[str] = []
    with pytest.raises(InputError, match=r"round 1: 1 sites answered, 2 are needed \(site-1: .*other widths"):
        rehearsed(begun[0], begun[1], model, made(), tmp_path, lines.append)
    assert any("site-2" in line and "NaN" in line for line in lines)
    assert not (tmp_path / STATE).exists()
    rounds = rehearsed(on(begun, sites=1), begun[1], model, made(), None, silent)
    assert rounds.about()["sites"].keys() == {"site-0"}


class Unmeasured(SiteClient):
    """Learns, and can't say how well."""

    def evaluate(self, ins: Any) -> Any:
        """As said."""
        self.agreement = None
        return super().evaluate(ins)


def test_a_site_that_gives_no_figures_is_named(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays]
) -> None:
    kinds, lines = {"site-1": Unmeasured}, list[str]()
    clients = [kinds.get(name, SiteClient)(name, model, links) for name, links in sites.items()]
    rounds = rehearsed(on(begun, rounds=1), begun[1], model, clients, None, lines.append)
    assert rounds.history[0]["figures"].keys() == sites.keys() - {"site-1"}
    assert any(line.startswith("round 1: not measured by site-1: ") for line in lines)


class Lying(SiteClient):
    """Learns as it should, and answers with something else: `wrong` changes its answer."""

    def __init__(self, name: str, model: UniversalModel, own: Links, wrong: Callable[[Any], object]) -> None:
        super().__init__(name, model, own, seeded=True)
        self.wrong = wrong

    def fit(self, ins: Any) -> Any:
        """As said."""
        answer = super().fit(ins)
        self.wrong(answer)
        return answer


def claims(examples: Any) -> Callable[[Any], object]:
    """Says so many examples."""

    def change(answer: Any) -> None:
        answer.num_examples = examples

    return change


def says(**wrong: Any) -> Callable[[Any], object]:
    """Sets what a private answer says beside its parameters; None leaves it out."""

    def change(answer: Any) -> None:
        said = answer.metrics | wrong
        answer.metrics = {name: value for name, value in said.items() if value is not None}

    return change


def sends(change: Callable[[Any], Any]) -> Callable[[Any], object]:
    """Changes the parameters of an answer."""
    from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays

    def changed(answer: Any) -> None:
        arrays = parameters_to_ndarrays(answer.parameters)
        answer.parameters = ndarrays_to_parameters([change(each) for each in arrays])

    return changed


def garbled(answer: Any) -> None:
    """Bytes that are no array."""
    answer.parameters.tensors = [b"", *answer.parameters.tensors[1:]]


PRIVATE = {"epsilon": 20.0, "delta": 1e-2}
LIES: list[tuple[Callable[[Any], object], dict[str, Any], str]] = [
    (claims(0), {}, "0 links; a site learns from a whole number of them, 1 at least"),
    (claims(-24), {}, "-24 links"),
    (claims(-(10**9)), {}, "-1000000000 links"),
    (claims(2.5), {}, "2.5 links"),
    (claims(math.nan), {}, "nan links"),
    (claims(True), {}, "True links"),
    (sends(lambda each: np.full_like(each, np.inf)), {}, "holds NaN or infinite values"),
    (sends(lambda each: np.full(each.shape, 1e300)), {}, "holds NaN or infinite values"),
    (sends(lambda each: each[..., :1]), {}, "parameters of a head of other widths"),
    (sends(lambda each: each.astype(str)), {}, "parameters that are no real numbers"),
    (sends(lambda each: each.astype(complex)), {}, r"parameters that are no real numbers \(complex128\)"),
    (garbled, {}, "parameters that can't be read"),
    (says(epsilon=None), PRIVATE, "it does not say epsilon"),
    (says(epsilon=math.nan), PRIVATE, "epsilon nan; a finite number is needed"),
    (says(epsilon="little"), PRIVATE, "epsilon 'little'; a finite number is needed"),
    (says(epsilon=1e9), PRIVATE, r"epsilon 1e\+09, which is not above 0 and up to 20"),
    (says(noise_multiplier=0.0), PRIVATE, "noise_multiplier 0, which is not above 0"),
    (says(noise_multiplier=math.inf), PRIVATE, "noise_multiplier inf; a finite number is needed"),
    (says(sampling_rate=None), PRIVATE, "it does not say sampling_rate"),
    (says(sampling_rate=3.0), PRIVATE, "sampling_rate 3, which is not above 0 and up to 1"),
]


@pytest.mark.parametrize(("wrong", "plan", "reason"), LIES, ids=[reason for *_, reason in LIES])
def test_an_answer_that_is_wrong_is_left_out_by_name_and_the_others_go_on_without_it(
    wrong: Callable[[Any], object], plan: dict[str, Any], reason: str, model: UniversalModel,
    sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path,
) -> None:  # fmt: skip
    honest = {name: sites[name] for name in ("site-0", "site-2")}
    want = simulate(on(begun, rounds=1, **plan), begun[1], model, honest, None, silent)

    def clients() -> list[SiteClient]:
        return [
            Lying(name, model, links, wrong) if name == "site-1" else SiteClient(name, model, links, seeded=True)
            for name, links in sites.items()
        ]

    lines: list[str] = []
    found = rehearsed(on(begun, rounds=1, **plan), begun[1], model, clients(), tmp_path / "most", lines.append)
    for have, wanted in zip(found.arrays, want.arrays, strict=True):
        np.testing.assert_array_equal(have, wanted)
    (told,) = [line for line in lines if "left out site-1" in line]
    assert re.search(f"round 1: left out site-1: .*{reason}", told)
    assert any(line.startswith("round 1 of 1: 2 sites, 48 links, 1 left out") for line in lines)
    assert found.about()["left_out"] == {"site-1": 1}
    # all are needed: nothing is applied, and what was there stays and goes on
    every, out = on(begun, rounds=2, sites=3, **plan), tmp_path / "all"
    first = Rounds(every, begun[1], model, out, wait=0.0, workers=1, say=silent)
    for number, name in enumerate(sites):
        first.client_manager().register(Here(SiteClient(name, model, sites[name], seeded=True), number))
    first._round(1)
    before = {name: (out / name).read_bytes() for name in (STATE, HEAD)}
    with pytest.raises(InputError, match=rf"round 2: 2 sites answered, 3 are needed \(site-1: .*{reason}"):
        rehearsed(every, begun[1], model, clients(), out, silent)
    assert {name: (out / name).read_bytes() for name in (STATE, HEAD)} == before
    assert Rounds(every, begun[1], model, out, say=silent).done == 1


def test_an_aggregate_that_is_not_finite_is_not_kept_though_every_answer_is(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    simulate(on(begun, rounds=1), begun[1], model, sites, tmp_path, silent)
    old = (tmp_path / HEAD).read_bytes()
    agreement = on(begun, rounds=1, aggregate="trimmed", poisoned=0)  # sums of float32 before it divides
    huge = sends(lambda each: np.full_like(each, 3e38))
    clients = [Lying(name, model, links, huge) for name, links in sites.items()]
    with pytest.raises(
        InputError, match=r"round 1: the trimmed of site-0, site-1, site-2: .*NaN or infinite.*nothing is"
    ):
        rehearsed(agreement, begun[1], model, clients, tmp_path / "huge", silent)
    assert not (tmp_path / "huge" / STATE).exists()
    assert (tmp_path / HEAD).read_bytes() == old


class Boasting(SiteClient):
    """Learns, and measures nonsense."""

    def evaluate(self, ins: Any) -> Any:
        """As said."""
        answer = super().evaluate(ins)
        wrong = {"site-1": {"accuracy": math.nan}, "site-2": {"speed": 1.0}}
        return replace(answer, metrics=wrong.get(self.name, answer.metrics))


def test_figures_that_are_none_are_left_out_before_anything_is_kept(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    lines: list[str] = []
    clients = [Boasting(name, model, links) for name, links in sites.items()]
    rounds = rehearsed(on(begun, rounds=1), begun[1], model, clients, tmp_path, lines.append)
    assert rounds.history[0]["figures"].keys() == {"site-0"}
    assert "round 1: not measured by site-1: accuracy nan; a finite number is needed" in lines
    assert "round 1: not measured by site-2: it does not say accuracy" in lines
    assert Rounds(on(begun, rounds=1), begun[1], model, tmp_path, say=silent).done == 1


def test_a_head_is_begun_from_another_one(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    rounds = simulate(on(begun, rounds=1), begun[1], model, sites, tmp_path, silent)
    saved = load_head(tmp_path / HEAD, model, "los")
    agreement, arrays = HeadAgreement.of(model, PLAN, Radio(), saved, HEAD)
    for have, want in zip(rounds.arrays, arrays, strict=True):
        np.testing.assert_array_equal(have, want)
    sent = read(json.dumps(agreement.to_json()), HeadAgreement, ForecastAgreement)
    assert sent == replace(agreement, scalings=dict(agreement.scalings))
    with pytest.raises(InputError, match="reads the channel"):
        HeadAgreement.of(model, replace(PLAN, inputs="environment"), Radio(), saved, HEAD)
    with pytest.raises(InputError, match=r"learned on.*\(grid\)"):
        HeadAgreement.of(model, PLAN, Radio(grid=OFDM(64, 240e3)), saved, HEAD)
    for text in ("{", '{"format": "uniair-federation/9"}', "[]"):
        with pytest.raises(InputError, match=r"agreement|install one version"):
            read(text, HeadAgreement, ForecastAgreement)


def test_the_momentum_is_of_one_round(begun: tuple[HeadAgreement, Arrays], model: UniversalModel, sites: Any) -> None:
    """Two steps on the whole batch, by hand."""
    agreement = on(begun, steps=2, batch=1000)
    data = SiteData.of(model, sites["site-1"], agreement)
    found = HeadSite("a", agreement, data).learn(started(begun), 2)
    rate = 0.1 * 0.5 * (1 + math.cos(math.pi / 3))
    assert agreement.federation.rate(2) == pytest.approx(rate)
    head = agreement.head(started(begun))
    velocity = [torch.zeros_like(parameter) for parameter in head.parameters()]
    for _ in range(2):
        loss = TASKS["los"].loss(head(data.z), data.target)
        gradient = torch.autograd.grad(loss, list(head.parameters()))
        velocity = [MOMENTUM * v + g for v, g in zip(velocity, gradient, strict=True)]
        with torch.no_grad():
            for parameter, v in zip(head.parameters(), velocity, strict=True):
                parameter.sub_(rate * v)
    for have, parameter in zip(found, head.parameters(), strict=True):
        np.testing.assert_allclose(have, parameter.detach().numpy(), atol=1e-5)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def written(folder: Path, sites: Mapping[str, Links]) -> None:
    for name, links in sites.items():
        shards.write_shard(folder / name / "links-00000.safetensors", links)
        shards.write_manifest(folder / name, {}, "")


def test_two_sites_in_processes_of_their_own_make_the_head_of_a_simulation(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    two = {name: sites[name] for name in ("site-0", "site-1")}
    written(tmp_path, two)
    save_model(model, tmp_path / "model")
    save_model(make(1), tmp_path / "other")
    simulate(begun[0], begun[1], model, two, tmp_path / "simulated", silent)
    address, base = f"127.0.0.1:{free_port()}", [sys.executable, "-m", "uniair.cli", "federate"]
    (tmp_path / "secret").write_text("a secret of many letters\n")
    leader = [*base, "server", "--address", address, "--model", "model", "--out", "leader", "--secret", "secret"]
    for option in ("task", "rounds", "steps", "batch", "learning_rate"):
        leader += [f"--federation.{option}", str(getattr(PLAN, option))]

    def client(links: str, name: str, known: str) -> list[str]:
        known_to_both = ["--server", address, "--secret", "secret"]
        return [*base, "client", links, *known_to_both, "--name", name, "--model", known, "--out", f"out-{name}"]

    monkeypatch.chdir(tmp_path)
    with ExitStack() as held:
        running: dict[str, subprocess.Popen[str]] = {}

        def start(name: str, line: list[str]) -> None:
            err = held.enter_context((tmp_path / f"{name}.err").open("w"))
            running[name] = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=err, text=True)
            held.callback(running[name].kill)

        start("leader", leader)
        # of another model: refused, with one line, and what lies in its folder stays
        (tmp_path / "out-late").mkdir()
        (tmp_path / "out-late" / HEAD).write_bytes(b"old")
        assert main(client("site-0", "late", "other")[3:]) == 2
        assert re.fullmatch(
            r"uniair federate client: late does not take part: .*digest \w{16}.*\n", capsys.readouterr().err
        )
        assert (tmp_path / "out-late" / HEAD).read_bytes() == b"old"
        for name in two:
            start(name, client(name, name, "model"))
        ends = {name: process.wait(timeout=120) for name, process in running.items()}
    said = {name: (tmp_path / f"{name}.err").read_text() for name in running}
    assert ends == {"leader": 0, "site-0": 0, "site-1": 0}, said
    want = (tmp_path / "simulated" / HEAD).read_bytes()
    for name in ("leader", "out-site-0", "out-site-1"):
        assert (tmp_path / name / HEAD).read_bytes() == want
    assert not said["site-0"]
    assert not said["leader"]


def test_a_connection_that_says_nothing_holds_nobody_up_and_a_site_of_a_name_that_is_taken_is_told_so(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays], tmp_path: Path
) -> None:
    import grpc
    from flwr.proto.transport_pb2_grpc import FlowerServiceStub

    lines: list[str] = []
    address, over = f"127.0.0.1:{free_port()}", threading.Event()

    def say(line: str) -> None:
        lines.append(line)

    def until(text: str) -> None:
        begins = time.monotonic()
        while not any(text in line for line in lines):
            assert time.monotonic() - begins < 60, lines
            time.sleep(0.05)

    rounds = Rounds(begun[0], begun[1], model, None, wait=60.0, say=say)
    server = threading.Thread(target=serve, args=(rounds, address), daemon=True)
    server.start()
    channel = grpc.insecure_channel(address)
    grpc.channel_ready_future(channel).result(30)
    silent_one = FlowerServiceStub(channel).Join(iter(over.wait, True))  # never sends anything
    next(silent_one)  # it was asked
    joining = [
        threading.Thread(target=join, args=(SiteClient(name, model, sites[name], tmp_path / name), address, 30.0))
        for name in ("site-0", "site-1")
    ]
    joining[0].start()
    until("site-0 has joined")
    with pytest.raises(InputError, match="site-0 does not take part: another site has joined under that name"):
        join(SiteClient("site-0", model, sites["site-2"]), address, 30.0)
    joining[1].start()
    for thread in [*joining, server]:
        thread.join(60)
        assert not thread.is_alive(), lines
    over.set()
    channel.close()
    assert rounds.done == 3
    # the silent one is given up only when the server ends
    assert not any("left before it joined" in line for line in lines)
    assert (tmp_path / "site-0" / HEAD).read_bytes() == (tmp_path / "site-1" / HEAD).read_bytes()


class Unplugged(Here):
    """The end of a connection that nobody knows to be dead: what is asked there fails once it was greeted."""

    def get_parameters(self, ins: Any, timeout: float | None, group_id: int | None) -> Any:
        """As said."""
        raise TimeoutError

    def fit(self, ins: Any, timeout: float | None, group_id: int | None) -> Any:
        """As said."""
        raise TimeoutError


def test_a_site_that_comes_again_takes_the_place_of_its_dead_connection(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays]
) -> None:
    lines: list[str] = []
    rounds = Rounds(on(begun, rounds=1), begun[1], model, None, wait=0.0, workers=1, say=lines.append)
    names = ("site-0", "site-1", "site-0")
    for number, (kind, name) in enumerate(zip((Unplugged, Here, Here), names, strict=True)):
        rounds.client_manager().register(kind(SiteClient(name, model, sites[name]), number))
    rounds.run()
    assert rounds.about()["sites"].keys() == {"site-0", "site-1"}
    assert rounds.about()["left_out"] == {}
    assert "site-0 has come again" in lines
    # one that is there stays, and the other is told why it can't take part
    first, other = (SiteClient("site-0", model, sites[name]) for name in ("site-0", "site-1"))
    with pytest.raises(InputError, match="1 sites are there"):
        rehearsed(on(begun, rounds=1), begun[1], model, [first, other], None, silent)
    assert not first.refusal
    assert other.refusal == "another site has joined under that name; give --name"


def test_a_name_is_one_that_fits_a_line(
    model: UniversalModel, sites: Mapping[str, Links], begun: tuple[HeadAgreement, Arrays]
) -> None:
    lines: list[str] = []
    clients = [SiteClient(name, model, sites["site-0"]) for name in ("a\nrefused b: all is well", "", "c" * 65)]
    with pytest.raises(InputError, match="0 sites are there"):
        rehearsed(on(begun, rounds=1), begun[1], model, clients, None, lines.append)
    assert len(lines) == 3
    for line in lines:
        assert "a name has 1 to 64 characters" in line
        assert "\n" not in line


def test_bad_addresses_and_folders_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, wanted in (
        (["client", str(tmp_path), "--server", "nowhere", "--out", str(tmp_path / "o")], "give HOST:PORT"),
        (["client", str(tmp_path), "--server", "far:8080", "--out", str(tmp_path / "o")], "TLS alone"),
        (["server", "--address", "0.0.0.0:8080", "--out", str(tmp_path / "o")], "TLS alone"),
        (["server", "--address", "0.0.0.0:8080", "--tls", str(tmp_path), "--out", str(tmp_path / "o")], "lacks ca.pem"),
        (
            ["simulate", str(tmp_path), "--out", str(tmp_path / "o"), "--federation.aggregate", "krum"],
            "among 5 at least",
        ),
    ):
        assert main(["federate", *words]) == 2
        said = capsys.readouterr().err
        assert wanted in said
        assert said.count("\n") == 1
