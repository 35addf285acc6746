import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval import encode
from workflow_scripts.lib.retrieval.data import query_inputs, video_inputs
from workflow_scripts.lib.retrieval.encode import encode_queries, encode_videos, fused_vectors, query_vectors
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig

NUMBERS = np.array([7, 0, 3, 12, 5, 1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("data") / "c", {"test": 13}) / "features"


def made(**changes) -> GMMFormer:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "n_heads": 2, "max_ctx_l": 8, "max_desc_l": 6, "map_size": 4}
    model = GMMFormer(GMMFormerConfig(WIDTH, WIDTH, **{**sizes, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model


def gathered(blocks, count) -> torch.Tensor:
    """Vectors in the order of what was asked for; each position comes once."""
    positions, vectors = zip(*blocks, strict=True)
    assert sorted(np.concatenate(positions).tolist()) == list(range(count))
    return torch.cat(vectors)[np.argsort(np.concatenate(positions))]


def test_fused_vectors_give_the_score_of_both_branches(folder):
    model, videos, texts = made(), open_features(folder, "video"), open_features(folder, "text")
    fused = gathered(encode_videos(model, videos, NUMBERS, 0.7), len(NUMBERS))
    queries = gathered(encode_queries(model, texts, NUMBERS, np.ones(6, dtype=np.int32)), len(NUMBERS))
    clips, frame = model.encode_video(*video_inputs([videos[f"vid_{v}"] for v in NUMBERS], model.config))
    query = model.encode_query(*query_inputs([texts[f"vid_{v}#cap_1"] for v in NUMBERS], model.config))
    torch.testing.assert_close(queries, F.normalize(query, dim=-1))
    clip_score, frame_score = model.score(query, clips, frame)
    expected = 0.7 * clip_score + 0.3 * frame_score
    torch.testing.assert_close(torch.einsum("vmd,qd->qvm", fused, queries).amax(-1), expected)


def test_no_block_size_changes_a_vector(folder, monkeypatch):
    model, videos, texts = made(), open_features(folder, "video"), open_features(folder, "text")
    numbers, captions = np.repeat(np.arange(13), 2), np.tile(np.arange(2, dtype=np.int32), 13)

    def encoded():
        return (
            gathered(encode_videos(model, videos, np.arange(13), 0.7), 13),
            gathered(encode_queries(model, texts, numbers, captions), 26),
        )

    whole = encoded()
    for opened, rows in ((5, 2), (3, 1), (100, 4)):
        monkeypatch.setattr(encode, "OPEN", opened)
        monkeypatch.setitem(encode.VIDEOS, "cpu", rows)
        monkeypatch.setitem(encode.QUERIES, "cpu", rows)
        for one, many in zip(whole, encoded(), strict=True):
            torch.testing.assert_close(one, many)


def test_blocks_are_of_similar_length(folder, monkeypatch):
    monkeypatch.setitem(encode.VIDEOS, "cpu", 4)
    videos = open_features(folder, "video")
    lengths = [
        [len(videos[f"vid_{position}"]) for position in positions]
        for positions, _ in encode_videos(made(), videos, np.arange(13), 0.7)
    ]
    assert all(max(later) <= min(earlier) for earlier, later in itertools.pairwise(lengths))
    assert len(lengths) == 4


def test_windows_of_the_batch_have_the_blocks_of_the_original(folder, monkeypatch):
    """In the order given, padded together, whatever the other sizes are."""
    monkeypatch.setattr(encode, "ORIGINAL_VIDEOS", 4)
    monkeypatch.setitem(encode.VIDEOS, "cpu", 1)
    model, videos = made(window_length="batch"), open_features(folder, "video")
    found = list(encode_videos(model, videos, NUMBERS, 0.4))
    assert [positions.tolist() for positions, _ in found] == [[0, 1, 2, 3], [4, 5]]
    features = [videos[f"vid_{video}"] for video in NUMBERS]
    torch.testing.assert_close(found[0][1], fused_vectors(model, features[:4], 0.4))
    assert not torch.allclose(found[0][1][2], fused_vectors(model, features[2:3], 0.4)[0], atol=1e-3)


def test_encoding_draws_no_dropout_and_keeps_no_graph(folder):
    model = made(drop=0.5, input_drop=0.5).train()
    features = [np.ones((3, WIDTH), dtype=np.float32)]
    assert torch.equal(fused_vectors(model, features, 0.5), fused_vectors(model.train(), features, 0.5))
    assert not query_vectors(model, features).requires_grad


def test_features_of_another_width_are_named(folder):
    model = GMMFormer(GMMFormerConfig(WIDTH + 1, WIDTH, hidden_size=8, n_heads=2))
    with pytest.raises(UserError, match=rf"vid_7 .*expected rows of {WIDTH + 1} numbers"):
        next(encode_videos(model, open_features(folder, "video"), NUMBERS, 0.7))
