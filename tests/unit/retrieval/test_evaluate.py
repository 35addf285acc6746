import numpy as np
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval import encode, gallery, ranking
from workflow_scripts.lib.retrieval.data import query_inputs, read_splits, video_inputs
from workflow_scripts.lib.retrieval.evaluate import retrieve
from workflow_scripts.lib.retrieval.metrics import best_ranks
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """An untrained model, captions and readers."""
    folder = make_corpus(tmp_path_factory.mktemp("data") / "c", {"val": 4, "test": 15}, without_features=(6,))
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "n_heads": 2, "max_ctx_l": 8, "max_desc_l": 6, "map_size": 4}
    model = GMMFormer(GMMFormerConfig(WIDTH, WIDTH, initializer_range=0.5, **sizes))
    readers = [open_features(folder / "features", kind) for kind in ("video", "text")]
    return model, read_splits(folder / "features", ("test",), None)["test"], *readers


def test_ranks_are_those_of_the_model_s_scores(corpus):
    model, split, videos, texts = corpus
    found = retrieve(*corpus, 0.7)
    frames = videos.take(split.unique_videos())
    words = texts.take(split.videos(), split.captions())
    with torch.no_grad():
        clips, frame = model.eval().encode_video(*video_inputs(frames, model.config))
        query = model.encode_query(*query_inputs(words, model.config))
        clip_score, frame_score = model.score(query, clips, frame)
    scores = 0.7 * clip_score + 0.3 * frame_score
    owner = torch.from_numpy(split.owner(slice(None)))
    assert found.rank.tolist() == best_ranks(scores, owner).tolist()
    assert found.rank.dtype == np.int32
    top = scores.topk(5)
    np.testing.assert_array_equal(found.top_videos, split.unique_videos()[top.indices.numpy()])
    np.testing.assert_allclose(found.top_scores, top.values.numpy(), atol=1e-5)
    assert found.captions_ahead is None


@pytest.mark.parametrize("sizes", [1, 3, 8])
def test_no_block_size_changes_a_result(corpus, monkeypatch, sizes):
    whole = retrieve(*corpus, 0.7, both=True)
    for table in (encode.VIDEOS, encode.QUERIES, gallery.VECTORS, ranking.QUERIES):
        monkeypatch.setitem(table, "cpu", sizes)
    monkeypatch.setattr(encode, "OPEN", 2 * sizes)
    monkeypatch.setattr(ranking, "CAPTIONS", sizes)
    monkeypatch.setattr(ranking, "TOGETHER", 2)
    monkeypatch.setattr(gallery, "IN_MEMORY", 0)
    parts = retrieve(*corpus, 0.7, both=True)
    for name in ("rank", "top_videos", "captions_ahead"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    np.testing.assert_allclose(whole.top_scores, parts.top_scores, atol=1e-6)
