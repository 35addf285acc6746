"""What open_clip_train is given, and what is refused before it starts."""

from pathlib import Path

import pytest

from tests.unit.clip.fake_corpus import TINY
from workflow_scripts.lib.clip.train import (
    Pairs,
    few_enough,
    find_pairs,
    model_name,
    training_arguments,
    usable_workers,
)
from workflow_scripts.lib.config import ClipConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import write_json


def pairs(*counts):
    return Pairs([Path(f"{i}.tar") for i in range(len(counts))], list(counts))


def test_empty_tars_are_left_out(tmp_path):
    for shard, count in enumerate((5, 0, 7)):
        (tmp_path / f"train_{shard:03d}.tar").touch()
        write_json(tmp_path / f"counts_{shard:03d}.json", {"train": count, "val": 0})
    found = find_pairs(tmp_path, 3, "train")
    assert [tar.name for tar in found.tars] == ["train_000.tar", "train_002.tar"]
    assert found.total == 12


@pytest.mark.parametrize(
    ("counts", "wanted", "ranks", "batch", "usable"),
    [
        ((100, 100), 2, 1, 50, 2),
        ((100, 100), 4, 1, 50, 2),  # a tar is read by one worker
        ((100, 10), 2, 1, 50, 1),  # the worker with the small tar could not fill a batch
        ((100,), 3, 1, 100, 1),
        ((100, 100, 100, 100), 2, 2, 100, 2),
        ((10, 10), 0, 1, 20, 0),
    ],
)
def test_workers_that_the_tars_allow(counts, wanted, ranks, batch, usable):
    assert usable_workers(pairs(*counts), wanted, ranks, batch) == usable


def test_a_batch_larger_than_the_data_names_the_largest_possible():
    with pytest.raises(UserError, match="at most 15"):
        usable_workers(pairs(10, 5), 2, 1, 16)


def test_validation_is_bounded():
    assert few_enough(pairs(6, 6, 6), most=12).total == 12
    assert few_enough(pairs(60, 6), most=12).total == 60
    assert few_enough(pairs(), most=12).total == 0


def arguments(config, val, ranks=1):
    return training_arguments(
        config,
        "local-dir:/m/vit",
        pairs(100, 100),
        val,
        logs=Path("/c"),
        name="n",
        seed=3,
        ranks=ranks,
        device="cpu",
    )


def test_the_batch_is_global_and_nothing_hangs_on_the_models_name():
    config = ClipConfig(demo_model=TINY, batch_size=32)
    given = arguments(config, pairs(4), ranks=2)
    assert "--batch-size=16" in given
    assert {"--beta1=0.9", "--beta2=0.98", "--eps=1e-06", "--val-num-samples=4"} <= set(given)
    assert "--train-data=0.tar::1.tar" in given
    assert not [one for one in arguments(config, pairs()) if one.startswith("--val")]
    with pytest.raises(UserError, match="not a multiple of the 3 processes"):
        arguments(config, pairs(), ranks=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "ViT-B-33"}, r"knows no 'ViT-B-33'; near: .*ViT-B-32"),
        ({"model": "ViT-B-32", "pretrained": "nobody"}, "no file and no tag of ViT-B-32; its tags: openai"),
        ({"model": "local-dir:/m", "pretrained": "weights.pt"}, "open_clip ignores 'weights.pt'"),
        ({"model": "local-dir:/no/such"}, "/no/such is no folder"),
        ({"demo_model": TINY, "pretrained": "openai"}, "trained from scratch"),
    ],
)
def test_models_that_cannot_be_had(settings, message):
    with pytest.raises(UserError, match=message):
        model_name(ClipConfig(**settings), Path("/demo"))


def test_weights_that_cannot_be_fetched_are_told_early(monkeypatch):
    import open_clip

    def no_network(tag):
        raise RuntimeError("no network")

    monkeypatch.setattr(open_clip, "download_pretrained", no_network)
    with pytest.raises(UserError, match=r"'openai' of ViT-B-32 could not be fetched.*no network"):
        model_name(ClipConfig(model="ViT-B-32", pretrained="openai"), None)


def test_models_that_are_there(tmp_path):
    (tmp_path / "open_clip_config.json").touch()
    (tmp_path / "weights.pt").touch()
    assert model_name(ClipConfig(demo_model=TINY), Path("/demo")) == "local-dir:/demo"
    assert model_name(ClipConfig(model=f"local-dir:{tmp_path}"), None) == f"local-dir:{tmp_path}"
    config = ClipConfig(model="ViT-B-32", pretrained=str(tmp_path / "weights.pt"))
    assert model_name(config, None) == "ViT-B-32"
