"""`uniair adapt --task feedback`: of a site's stations, of areas, of all together; once, and refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.conftest import geometric_links
from tests.site.make import bare_site

import uniair
from uniair.cli import main
from uniair.commands import feedback_of_areas
from uniair.data.links import shards
from uniair.errors import InputError
from uniair.site.site import Site
from uniair.tasks import bit_code
from uniair.training import feedback_adaptation
from uniair.training.checkpoint import save_model
from uniair.training.feedback_adaptation import load_feedback

QUICK = ["--decoder.steps", "4", "--decoder.batch", "16", "--decoder.save_every", "2"]


@pytest.fixture(scope="module", autouse=True)
def _less() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("STAGES", (1,)), ("SHOWN", (48,)), ("LENGTHS", (24, 48)), ("SUBBANDS", 2), ("SLOPES", 32)):
            patch.setattr(feedback_adaptation, name, value)
        for name, value in (("WORD", 5), ("LEAST", 64)):
            patch.setattr(bit_code, name, value)
        yield


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    save_model(uniair.build("tiny"), folder)
    return folder


@pytest.fixture(scope="module")
def site(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return bare_site(tmp_path_factory.mktemp("made") / "site", tiny, users=150)


def test_a_site_gets_a_code_a_station_and_keeps_it(
    site: Site, tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["adapt", str(site.folder), "--task", "feedback", *QUICK, "--json"]) == 0
    said = capsys.readouterr().out
    result = json.loads(said.splitlines()[-1])
    assert set(result["sgcs"]) >= {"bits alone", "map", "map and position"}
    path = site.folder / "heads" / "feedback-channel-bs0.safetensors"
    assert sorted(one.name for one in path.parent.iterdir()) == [
        "feedback-channel-bs0.json", "feedback-channel-bs0.safetensors", "figures-feedback-channel.json",
    ]  # fmt: skip
    assert load_feedback(path, uniair.load(str(tiny)), site.radio).radio == site.radio
    assert site.heads(0) == {}  # which are of tasks

    monkeypatch.setattr(feedback_of_areas, "adapt_feedback", lambda *_: pytest.fail("learned again"))
    assert main(["adapt", str(site.folder), "--task", "feedback", *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == result
    assert main(["adapt", str(site.folder), "--task", "feedback", "--decoder.steps", "9"]) == 2
    assert "was made otherwise (decoder.steps, decoder.batch, decoder.save_every)" in capsys.readouterr().err


def test_one_code_of_all_areas_begins_a_sites_own(
    site: Site, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", geometric_links(seed=7, areas=12, per_area=20))
    shards.write_manifest(tmp_path / "links", {}, "")
    given = ["adapt", str(tmp_path / "links"), "--task", "feedback", "--model", str(tiny)]
    assert main([*given, "--together", "true", "--labels", "640", "--out", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(result["areas"]) == {"all areas"}
    code = tmp_path / "out" / "feedback-channel-0.safetensors"
    about = json.loads(code.with_suffix(".json").read_text())
    assert (about["about"]["learned"], about["tuned"]) == (200, False)
    assert main([*given, "--head", str(code), "--areas", "2"]) == 0
    assert "every link" in capsys.readouterr().out
    other = bare_site(tmp_path / "site", tiny, users=150)
    assert main(["adapt", str(other.folder), "--task", "feedback", "--code", str(code), "--decoder.steps", "0"]) == 0
    made = json.loads((other.folder / "heads" / "feedback-channel-bs0.json").read_text())
    assert made["about"]["begun"] == about["code"]


def test_sectors_of_a_plan_have_no_codes(site: Site) -> None:
    """Their links are their masts', seen by no radio of theirs."""
    with pytest.raises(InputError, match="of a file of sites"):
        feedback_of_areas.of_site(replace(site, about=site.about | {"planning": {}}))


def test_what_can_not_be_is_said_in_one_line(
    site: Site, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.write_shard(tmp_path / "links" / "links-00000.safetensors", geometric_links(seed=7, areas=2, per_area=30))
    shards.write_manifest(tmp_path / "links", {}, "")
    links = [str(tmp_path / "links"), "--model", str(tiny), "--out", str(tmp_path / "out")]
    for given, says in (
        ([*links], "a bit code from"),
        ([*links, "--together", "true"], "learns from 10 areas or more"),
        ([*links, "--inputs", "environment"], "not from 'environment'"),
        ([*links[:-2]], "give --out"),
        ([*links, "--head", str(tmp_path / "absent")], "truncated or not a safetensors file"),
        (
            [str(site.folder), "--out", str(tmp_path / "out")],
            "leave --together, --out, --radio",
        ),
        ([str(site.folder), "--radio", '{"clock": "first_path"}'], "of its own radio"),
    ):
        assert main(["adapt", *given, "--task", "feedback"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert says in lines[-1]
        assert not list((tmp_path / "out").glob("*.safetensors"))
    assert main(["adapt", *links, "--task", "beam", "--together", "true"]) == 2
    assert "they are of --task feedback" in capsys.readouterr().err
