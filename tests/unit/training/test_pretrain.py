"""Pretraining as a whole, on a phantom that takes seconds: the run, its resume, and what training makes of it."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from neuropil import open_volume, train
from neuropil.cli import main
from neuropil.config import load_config
from neuropil.errors import ConfigError, InputError, RunError
from neuropil.geometry import Box
from neuropil.training.checkpoint import CHECKPOINT, WEIGHTS, Run, read_tensors
from neuropil.training.loop import train_loop
from neuropil.training.pretrain import check_names, fit_pretext, hold_back, restored

SMALL = (
    "data.crop=[16,16,16]",
    "model.vit.dim=24",
    "model.vit.depth=2",
    "model.vit.heads=2",
    "model.vit.decoder=[8,8,16]",
    "model.channels=[8,8,16]",
    "pretrain.decoder_dim=24",
    "pretrain.decoder_depth=1",
    "pretrain.decoder_heads=2",
    "pretrain.crops=2",
    "pretrain.agents.width=16",
    "pretrain.agents.buffer=4",
    "pretrain.agents.rollout_every=2",
    "train.batch=2",
    "train.log_every=2",
    "train.validations=2",
    "train.precision=fp32",
    "train.threads=1",
)


def _pretrain(h5: Path, out: Path, *words: str, recipe: str = "mae", steps: int = 6, resume: bool = False) -> Run:
    images = [open_volume(f"{h5}:raw")]
    config = Run.open(out).config if resume else load_config(recipe, [*SMALL, f"train.steps={steps}", *words])
    return fit_pretext(images, config, out, probe=[], resume=resume)


@pytest.mark.parametrize("recipe", ["mae", "decision_mim"])
def test_a_run_holds_an_encoder_that_training_takes(phantom_h5: Path, tmp_path: Path, recipe: str) -> None:
    run = _pretrain(phantom_h5, tmp_path / "p", recipe=recipe)
    assert run.card["status"] == "complete"
    assert run.card["kind"] == "encoder"
    assert [r["step"] for r in run.rows("validation")] == [3, 6]
    assert "no labels were used" in (run.path / "README.md").read_text()
    with pytest.raises(RunError, match="makes no affinities"):
        run.load_model()
    words = [w for w in SMALL if not w.startswith("pretrain")]
    tuned = train(
        [f"{phantom_h5}:raw"],
        [f"{phantom_h5}:labels"],
        tmp_path / "t",
        steps=1,
        init=run.path,
        set=[*words, "model.name=unetr", "model.norm=standardised", "data.validation=0.3", "train.lr=1e-9"],
    )
    account = tuned.card["init"]["account"]
    assert account["share"] == 1
    assert not any(n.startswith("encoder.") for n in account["missing"])
    stored, trained = read_tensors(run.path / WEIGHTS)[0], read_tensors(tuned.path / CHECKPOINT)[0]
    name = "encoder.blocks.1.mlp.fc1.weight"
    assert torch.allclose(stored[name], trained[f"model.{name}"], atol=1e-6)


def test_a_pretrained_unet_is_taken_too_and_a_foreign_encoder_refused(phantom_h5: Path, tmp_path: Path) -> None:
    run = _pretrain(phantom_h5, tmp_path / "p", "model.name=resunet")
    words = [w for w in SMALL if not w.startswith("pretrain")] + ["data.validation=0.3"]
    volumes = ([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"])
    tuned = train(*volumes, tmp_path / "t", steps=1, init=run.path, set=[*words, "model.norm=standardised"])
    assert tuned.card["init"]["account"]["share"] == 1
    assert "head.weight" in tuned.card["init"]["account"]["missing"]
    with pytest.raises(RunError, match="do not fit the network"):
        train(*volumes, tmp_path / "u", steps=1, init=run.path, set=[*words, "model.name=unetr"])
    assert not (tmp_path / "u").exists()


@pytest.mark.parametrize("words", [("mae", "pretrain.mask.policy=loss_ranked"), ("decision_mim", "train.seed=3")])
def test_stopped_and_resumed_equals_never_stopped(
    phantom_h5: Path, tmp_path: Path, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, word = words
    whole = _pretrain(phantom_h5, tmp_path / "whole", word, recipe=recipe, steps=8)
    calls = iter([False] * 4 + [True] + [False] * 100)
    monkeypatch.setattr("neuropil.training.loop._any_process", lambda fabric, *, wanted: next(calls))
    with pytest.raises(KeyboardInterrupt):
        _pretrain(phantom_h5, tmp_path / "parts", word, recipe=recipe, steps=8)
    assert read_tensors(tmp_path / "parts" / CHECKPOINT)[1]["schedule"]["step"] == 5
    resumed = _pretrain(phantom_h5, tmp_path / "parts", resume=True)
    wa, wb = (read_tensors(r.path / CHECKPOINT)[0] for r in (whole, resumed))
    assert set(wa) == set(wb)
    assert [n for n in wa if not torch.equal(wa[n], wb[n])] == []
    kept = [
        [{k: v for k, v in r.items() if k not in {"elapsed", "steps_per_second"}} for r in x.rows()]
        for x in (whole, resumed)
    ]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    "words",
    [
        ("mae", "pretrain.mask.policy=loss_ranked"),
        ("decision_mim", "train.seed=1"),
        ("multiscale", "model.name=unetr"),
    ],
)
def test_two_processes_pretrain_together(phantom_h5: Path, tmp_path: Path, words: tuple[str, str]) -> None:
    run = _pretrain(phantom_h5, tmp_path / "p", words[1], "train.devices=2", recipe=words[0], steps=5)
    assert run.card["status"] == "complete"
    assert [r["step"] for r in run.rows("train")] == [2, 4]
    assert ("ppo_kl" in run.rows("train")[-1]) == (words[0] == "decision_mim")


def test_volumes_of_other_voxel_sizes_are_learned_from_together(phantom_h5: Path, tmp_path: Path) -> None:
    images = [open_volume(f"{phantom_h5}:raw"), open_volume(f"{phantom_h5}:raw", voxel_size=(16.0, 8.0, 8.0))]
    config = load_config("mae", [*SMALL, "train.steps=4", "pretrain.weights=[1,2]"])
    run = fit_pretext(images, config, tmp_path / "p", probe=[], resume=False)
    assert [s["voxel_size"] for s in run.card["sources"]] == [[8, 8, 8], [16, 8, 8]]


@pytest.mark.parametrize("recipe", ["mae", "decision_mim"])
def test_the_ratio_follows_a_probe_on_labels(phantom_h5: Path, tmp_path: Path, recipe: str) -> None:
    pair = (open_volume(f"{phantom_h5}:raw"), open_volume(f"{phantom_h5}:labels"))
    words = [*SMALL, "train.steps=8", "train.validations=4", "pretrain.mask.adapt_ratio=true"]
    run = fit_pretext([pair[0]], load_config(recipe, words), tmp_path / "p", probe=[pair], resume=False)
    assert all(np.isfinite(r["probe"]) for r in run.rows("validation"))
    assert len({r["mask_ratio"] for r in run.rows("train")}) > 1
    # and how often each ratio was in use, as far as is remembered
    shares = [{n: v for n, v in r.items() if n.startswith("ratio_share_")} for r in run.rows("train")]
    assert len(shares[-1]) == len(run.config.pretrain.ratio.ratios)
    assert sum(shares[-1].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pretrain.method=nothing"], "unknown pretext"),
        (["pretrain.mask.policy=nothing"], "unknown mask policy"),
        (["pretrain.mask.policy=learned"], "recipe decision_mim"),
        (["data.crop=[16,16,20]"], "multiples of the patch"),
        (["data.crop=[8,8,8]"], "at least two patches"),
        (["pretrain.mask.adapt_ratio=true"], "--probe-image"),
        (["pretrain.weights=[1,2]"], "1 positive numbers"),
        (["pretrain.shuffle_agents=true"], "--recipe decision_mim"),
        (["pretrain.target.voxels=0", "pretrain.target.hog=0"], "nothing would be learned"),
        (["pretrain.method=decision_mim", "pretrain.mask.policy=edge"], "agents choose"),
        (["pretrain.method=decision_mim", "pretrain.mask.policy=loss_ranked"], "agents choose"),
        (["pretrain.method=decision_mim", "pretrain.mask.policy=learned"], "leave pretrain.mask.policy out"),
        (["pretrain.method=decision_mim", "pretrain.target.voxels=0", "pretrain.target.hog=0"], "nothing would be"),
        (["pretrain.method=multiscale", "pretrain.mask.policy=edge"], "strong view"),
        (["pretrain.method=multiscale", "pretrain.mask.adapt_ratio=true"], "strong view"),
        (["pretrain.method=multiscale", "pretrain.shuffle_agents=true"], "a method with agents"),
    ],
)
def test_wrong_settings_are_met_before_a_directory_is_made(
    phantom_h5: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _pretrain(phantom_h5, tmp_path / "p", *words)
    assert caught.value.fix
    assert not (tmp_path / "p").exists()


def test_controls_that_have_an_effect_are_not_refused() -> None:
    for recipe, word in (("decision_mim", "pretrain.shuffle_agents=true"), ("mae", "pretrain.target.hog=0")):
        check_names(load_config(recipe, [word]))
    check_names(load_config("mae", ["pretrain.mask.policy=loss_ranked", "pretrain.target.voxels=0"]))


@pytest.mark.parametrize("devices", [1, 2])
def test_agents_that_diverge_end_in_random_masks_and_all_that_is_said_of_the_run_says_so(
    phantom_h5: Path, tmp_path: Path, devices: int, capfd: pytest.CaptureFixture[str]
) -> None:
    from neuropil import api

    words = ["pretrain.agents.lr=1e37", "pretrain.agents.rollout_every=1", f"train.devices={devices}"]
    run = _pretrain(phantom_h5, tmp_path / "p", *words, recipe="decision_mim", steps=8)
    assert run.card["status"] == "complete"
    assert "warning: masks are random from step" in capfd.readouterr().err
    [warning] = run.card["warnings"]
    assert "an update gave agents' " in warning
    assert f"- **Warning** {warning}" in (run.path / "README.md").read_text()
    page = api.report([run], tmp_path / "r.html").read_text()
    assert '<p class="warning"><b>Warning</b> masks are random from step' in page
    assert [r.get("agents_tripped") for r in run.rows("train")][-1] == 1
    stored, _ = read_tensors(run.path / CHECKPOINT)
    assert all(bool(torch.isfinite(t).all()) for n, t in stored.items() if "agents" in n)


def test_a_run_without_trouble_warns_of_nothing(phantom_h5: Path, tmp_path: Path) -> None:
    from neuropil import api

    run = _pretrain(phantom_h5, tmp_path / "p")
    assert "warnings" not in run.card
    assert "Warning" not in (run.path / "README.md").read_text()
    page = api.report([run], tmp_path / "r.html").read_text()
    assert 'class="warning"' not in page
    assert ("Masks and edges" in page, "Updates of the agents" in page) == (True, False)


@pytest.mark.parametrize("name", ["unetr", "resunet"])
def test_the_command_in_the_readme_works_as_it_stands(
    phantom_h5: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from neuropil.pages import run_page

    run = _pretrain(phantom_h5, tmp_path / "an encoder", f"model.name={name}", "model.vit.patch=[4,8,8]")
    [command] = [line for line in (run.path / "README.md").read_text().splitlines() if line.startswith("neuropil ")]
    assert run_page(run).card["Use"] == command
    words = shlex.split(command)
    # what the encoder does not hang on is not asked for
    asked = {word.partition("=")[0] for word in words if "=" in word}
    own = {"model.name", "model.vit.dim", "model.vit.depth", "model.vit.heads", "model.vit.patch"}
    assert asked == (own if name == "unetr" else {"model.channels"})
    monkeypatch.chdir(tmp_path)
    given = {"IMAGE": f"{phantom_h5}:raw", "LABELS": f"{phantom_h5}:labels"}
    short = ("train.steps=1", "train.threads=1", "train.batch=1", "data.crop=[16,16,16]", "data.validation=0.3")
    more = [part for word in short for part in ("--set", word)]
    with pytest.raises(SystemExit) as ended:
        main([*(given.get(word, word) for word in words[1:]), *more])
    assert ended.value.code == 0, capsys.readouterr().err
    account = Run.open("runs/new").card["init"]["account"]
    assert account["share"] == 1


def test_the_fix_for_an_encoder_that_does_not_fit_names_what_it_hangs_on(phantom_h5: Path, tmp_path: Path) -> None:
    run = _pretrain(phantom_h5, tmp_path / "p")
    volumes = ([f"{phantom_h5}:raw"], [f"{phantom_h5}:labels"])
    few = ["data.validation=0.3", "train.threads=1", "data.crop=[16,16,16]"]
    with pytest.raises(RunError, match=r"0\.0%") as caught:
        train(*volumes, tmp_path / "t", steps=1, init=run.path, set=few)
    named = caught.value.fix.split(" --set ")
    assert {word.removeprefix("--set ").partition("=")[0] for word in named} == {
        "model.name",
        "model.vit.dim",
        "model.vit.depth",
        "model.vit.heads",
    }
    words = [word.removeprefix("--set ") for word in named]
    assert (
        train(*volumes, tmp_path / "t", steps=1, init=run.path, set=[*few, *words]).card["init"]["account"]["share"]
        == 1
    )


def test_no_volumes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one --image"):
        fit_pretext([], load_config("mae", SMALL), tmp_path / "p", probe=[], resume=False)


def test_what_is_held_back_shares_no_voxel_and_holds_a_crop() -> None:
    box = Box((0, 0, 0), (250, 190, 300), (8.0, 8.0, 8.0))
    region, held = hold_back(box, (64, 64, 64), 0.12)
    assert region.intersected(held).size == 0
    assert region.size + held.size == box.size
    assert all(n >= 64 for n in (*held.shape, *region.shape))
    small = Box((0, 0, 0), (64, 70, 80), (8.0, 8.0, 8.0))
    assert hold_back(small, (64, 64, 64), 0.12) == (small, small)


def test_loop_is_the_one_of_training() -> None:
    import neuropil.training.fit
    import neuropil.training.pretrain

    assert neuropil.training.fit.train_loop is neuropil.training.pretrain.train_loop is train_loop


@pytest.mark.parametrize("words", [("mae", "pretrain.mask.policy=edge"), ("decision_mim", "train.seed=1")])
def test_the_report_shows_what_is_hidden_and_what_is_answered(
    phantom_h5: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    from neuropil import api
    from neuropil.training.pretrain import looks

    run = _pretrain(phantom_h5, tmp_path / "p", words[1], recipe=words[0])
    seen = looks(run, 6)
    image, hidden, answer, often = (
        np.stack([getattr(one, name) for one in seen]) for name in ("image", "hidden", "answer", "often")
    )
    assert image.shape == answer.shape == (6, 16, 16)
    blank = hidden == 0.5
    assert 0.3 < blank.mean() < 1
    # what is visible is shown as it is; a patch is hidden as a whole
    assert np.array_equal(answer[~blank], image[~blank])
    assert not np.array_equal(answer[blank], hidden[blank])
    assert 0 < often.min() <= often.max() <= 1
    page = api.report([run], tmp_path / "r.html").read_text()
    assert page.count("hidden how often") >= 2
    assert "Hidden patches" in page
    maps = [row["masks"] for row in run.rows("validation")]
    assert page.count("while learning: step ") >= len(maps) > 0
    assert all(0 <= share <= 1 for shares in maps for row in shares for share in row)
    assert "masks" not in run.card["best"]
    assert ("entropy, share of the greatest" in page) == (words[0] == "decision_mim")


@pytest.mark.parametrize("recipe", ["decision_mim", "multiscale"])
def test_pictures_are_made_by_all_that_the_run_has_learned(phantom_h5: Path, tmp_path: Path, recipe: str) -> None:
    run = _pretrain(phantom_h5, tmp_path / "p", recipe=recipe)
    stored, _ = read_tensors(run.path / CHECKPOINT)
    objective = restored(run)
    found = {n: t for n, t in objective.state_dict().items() if not n.startswith("kept.")}
    assert len(found) > 4  # agents, or what matches views
    assert [n for n, t in found.items() if not torch.equal(t, stored[f"objective.{n}"])] == []
    assert [n for n, t in objective.kept.state_dict().items() if not torch.equal(t, stored[f"ema.{n}"])] == []
    assert not objective.training


def test_a_report_without_the_volume_says_so(phantom_h5: Path, tmp_path: Path) -> None:
    import shutil

    from neuropil import api

    copy = tmp_path / "copy.h5"
    shutil.copy(phantom_h5, copy)
    run = _pretrain(copy, tmp_path / "p")
    copy.unlink()
    assert "No pictures:" in api.report([run], tmp_path / "r.html").read_text()


def test_the_report_shows_both_views_and_each_term(phantom_h5: Path, tmp_path: Path) -> None:
    from neuropil import api

    run = _pretrain(phantom_h5, tmp_path / "p", recipe="multiscale")
    page = api.report([run], tmp_path / "r.html").read_text()
    for words in ("restored from strong", "weak view", "Two views", "Terms of the loss", "contrast after attention"):
        assert words in page, words
    assert "Hidden patches" not in page
    assert all(row["loss_reconstruction"] > 0 and row["loss_cross"] > 0 for row in run.rows("train"))
