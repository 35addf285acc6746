import numpy as np
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import make_corpus
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval import baselines, gallery, ranking
from workflow_scripts.lib.retrieval.baselines import BASELINES, ZeroShot, zero_shot_features
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.evaluate import retrieve_zero_shot

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("data") / "c", {"val": 3, "test": 11}) / "features"


@pytest.fixture(scope="module")
def split(folder):
    return read_splits(folder, ("test",), None)["test"]


@pytest.fixture(scope="module")
def features(folder):
    return ZeroShot(open_features(folder, "video"), open_features(folder, "sentence"))


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("blocks", [None, 4, 30])
def test_scores_are_the_cosine_with_the_mean_or_the_best_frame(
    split, features, baseline, blocks, monkeypatch
):
    if blocks:
        monkeypatch.setattr(baselines, "OPEN", 4)
        monkeypatch.setitem(gallery.VECTORS, "cpu", blocks)
        monkeypatch.setitem(ranking.QUERIES, "cpu", 3)
    found = retrieve_zero_shot(baseline, split, features, CPU)
    for row, key in enumerate(Keys(split.videos(), split.captions())):
        sentence = unit(features.sentences[key])[0]
        frames = [unit(features.frames[f"vid_{video}"]) for video in split.unique_videos()]
        if baseline == "mean_pooled":
            scores = [unit(some.mean(axis=0)) @ sentence for some in frames]
        else:
            scores = [(some @ sentence).max() for some in frames]
        own = scores[split.owner(slice(row, row + 1))[0]]
        assert found.rank[row] == 1 + sum(score > own for score in scores)
        np.testing.assert_allclose(found.top_scores[row], sorted(scores, reverse=True)[:5], atol=1e-5)


def test_frames_are_read_in_blocks_of_bounded_size(split, features, monkeypatch):
    monkeypatch.setitem(gallery.VECTORS, "cpu", 20)
    found = baselines.frame_gallery("max_frame", features.frames, split.unique_videos(), CPU)
    sizes = [found.vectors(rows).shape for rows in found.blocks]
    assert sum(videos for videos, *_ in sizes) == 11
    assert all(videos * longest <= 20 for videos, longest, _ in sizes)


def test_spaces_that_differ_or_are_not_there_have_no_baseline(tmp_path, folder, capsys):
    other = make_corpus(tmp_path / "c", {"test": 1}, texts="글")
    assert zero_shot_features(other / "features", other / "글") is None
    assert "not known to be in one space" in capsys.readouterr().out
    assert zero_shot_features(folder, tmp_path) is None
    assert "SentenceData: not there" in capsys.readouterr().out
    assert zero_shot_features(folder, folder) is not None


def test_visual_tokens_alone_have_no_baseline(tmp_path, capsys):
    features = make_corpus(tmp_path / "c", {"test": 1}) / "features"
    (features / "FeatureData").rename(features / "TokenData")
    assert zero_shot_features(features, features) is None
    assert "FeatureData: not there" in capsys.readouterr().out
