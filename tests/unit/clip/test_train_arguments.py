"""What open_clip_train is given."""

from pathlib import Path

import pytest

from tests.unit.clip.fake_corpus import TINY
from workflow_scripts.lib.clip.models import Model
from workflow_scripts.lib.clip.options import check_command
from workflow_scripts.lib.clip.pair_files import Pairs
from workflow_scripts.lib.clip.train import SHOWN, shown, training_arguments
from workflow_scripts.lib.config import ClipConfig
from workflow_scripts.lib.errors import UserError

MODEL = Model("local-dir:/m/vit", "", None, {})


def pairs(*counts, **more):
    return Pairs([f"{i}.tar" for i in range(len(counts))], list(counts), **more)


def command(config, train=None, val=None, ranks=1):
    return training_arguments(
        config, MODEL, train or pairs(100, 100), val or pairs(), logs=Path("/c"), name="n", seed=3, ranks=ranks,
        device="cpu",
    )  # fmt: skip


def given(*args, **kwargs):
    return check_command(command(*args, **kwargs))


def test_the_batch_is_global():
    config = ClipConfig(demo_model=TINY, batch_size=32, workers=2)
    found = given(config, val=pairs(4), ranks=2)
    assert (found.batch_size, found.val_num_samples, found.train_num_samples) == (16, 4, 200)
    assert (found.workers, found.train_data, found.val_data) == (1, "0.tar::1.tar", "0.tar")
    assert (found.logs, found.name, found.seed, found.device) == ("/c", "n", 3, "cpu")
    assert found.save_most_recent and found.resume is None and found.model == "local-dir:/m/vit"
    with pytest.raises(UserError, match="not a multiple of the 3 processes"):
        command(config, ranks=3)


def test_without_validation_pairs():
    assert given(ClipConfig(demo_model=TINY)).val_data is None


def test_forms_of_the_pairs():
    own = {"train": {"files": ["a.csv"]}, "csv_separator": ",", "csv_img_key": "p", "csv_caption_key": "t"}
    found = given(ClipConfig(model="m", data={"dataset_type": "csv", **own}), train=Pairs(["a.csv"], [500]))
    assert (found.dataset_type, found.train_data) == ("csv", "a.csv")
    assert (found.csv_separator, found.csv_img_key, found.csv_caption_key) == (",", "p", "t")
    data = {"train": {"files": ["0.tar", "1.tar"], "upsampling": [2, 1]}, "dataset_resampled": True}
    found = given(ClipConfig(model="m", data=data), train=pairs(100, 100, weights=[2.0, 1.0]))
    assert found.dataset_resampled and found.train_data_upsampling_factors == "2.0::1.0"
    found = given(
        ClipConfig(model="m", data={"dataset_type": "synthetic", "samples": 300}), train=Pairs([], [300])
    )
    assert (found.dataset_type, found.train_data, found.train_num_samples) == ("synthetic", None, 300)


def test_the_log_shows_long_arguments_cut():
    many = Pairs([f"{'x' * 20}{i}.tar" for i in range(1000)], [1000] * 1000)
    said = shown(command(ClipConfig(demo_model=TINY), train=many))
    assert "--train-data=xxx" in said and len(said) < 5 * SHOWN + 2000


@pytest.mark.parametrize(("workers", "steps"), [(0, 10), (1, 10), (4, 12)])
def test_every_worker_makes_as_many_batches(capsys, workers, steps):
    command(ClipConfig(model="m", batch_size=100, workers=workers), train=pairs(*[100] * 10))
    assert f"1000 training pairs: {steps} optimizer steps an epoch" in capsys.readouterr().out
