import math
import re

import pytest
import torch
import torch.nn.functional as F

from workflow_scripts.lib.retrieval.model import (
    GMMFormer,
    GMMFormerConfig,
    gaussian_windows,
    similarities,
)

SIZES = {
    "visual_input_size": 10,
    "query_input_size": 6,
    "hidden_size": 8,
    "max_ctx_l": 12,
    "max_desc_l": 7,
    "map_size": 4,
    "n_heads": 2,
}


def make_model(seed=0, **changes) -> GMMFormer:
    """In evaluation mode, with weights large enough that windows, masks and biases show in the output."""
    torch.manual_seed(seed)
    model = GMMFormer(GMMFormerConfig(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model


def mask_of(lengths, size) -> torch.Tensor:
    return (torch.arange(size) < torch.tensor(lengths)[:, None]).float()


def test_shapes_of_encodings_and_scores():
    model = make_model()
    query = model.encode_query(torch.randn(5, 7, 6), mask_of([7, 3, 1, 2, 7], 7))
    clips, frame = model.encode_video(torch.randn(3, 4, 10), torch.randn(3, 9, 10), mask_of([9, 4, 1], 9))
    assert (query.shape, clips.shape, frame.shape) == ((5, 8), (3, 4, 8), (3, 8))
    for scores in (*model.score(query, clips, frame), *model.score_unnormalised(query, clips, frame)):
        assert scores.shape == (5, 3)
        assert torch.isfinite(scores).all()


def test_state_dict_has_the_published_names_and_shapes():
    model = GMMFormer(GMMFormerConfig(visual_input_size=3072, query_input_size=768))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert len(shapes) == 193
    assert sum(math.prod(shape) for shape in shapes.values()) == 12_848_256
    patterns = [
        r"(query|clip|frame)_pos_embed\.(position_embeddings\.weight|LayerNorm\.(weight|bias))",
        r"(query|clip|frame)_input_proj\.(LayerNorm|net\.1)\.(weight|bias)",
        r"(query_encoder|(clip_encoder|clip_encoder_2|frame_encoder_1|frame_encoder_2)\.attn[0-3])"
        r"\.(self\.(query|key|value)|output\.(dense|LayerNorm))\.(weight|bias)",
        r"modular_vector_mapping(_2)?\.weight",
    ]
    assert [name for name in shapes if not re.fullmatch("|".join(patterns), name)] == []
    assert shapes["query_pos_embed.position_embeddings.weight"] == (30, 384)
    assert shapes["clip_pos_embed.position_embeddings.weight"] == (128, 384)
    assert shapes["frame_input_proj.net.1.weight"] == (384, 3072)
    assert shapes["modular_vector_mapping_2.weight"] == (1, 384)


def test_window_by_its_formula_and_by_numbers():
    windows = gaussian_windows(4, 4, torch.zeros(1))
    assert windows[0] is None
    for window, width in zip(windows[1:], (0.5, 1.0, 5.0), strict=True):
        sigma = width / 9
        for i in range(4):
            row = [math.exp(-((j / 3 - i / 4) ** 2) / (2 * sigma**2)) for j in range(4)]
            assert window[i].tolist() == pytest.approx(
                [value / max(row) for value in row], rel=1e-4, abs=1e-30
            )
    assert windows[3][1].tolist() == pytest.approx([math.exp(-0.09), 1, math.exp(-0.27), math.exp(-0.9)])


def test_window_of_a_short_sequence_is_the_corner_of_a_longer_one():
    short, long = gaussian_windows(5, 12, torch.zeros(1)), gaussian_windows(12, 12, torch.zeros(1))
    for small, large in zip(short[1:], long[1:], strict=True):
        torch.testing.assert_close(small, large[:5, :5])


def test_window_multiplies_logits_before_mask_and_softmax():
    """A branch restated with loops over heads, queries and keys."""
    model = make_model()
    attention, window = model.frame_encoder_1.attn1, gaussian_windows(5, 12, torch.zeros(1))[1]
    x, length = torch.randn(5, 8), 3
    layer = attention.self
    query, key, value = layer.query(x), layer.key(x), layer.value(x)
    attended = torch.zeros(5, 8)
    for head in (slice(0, 4), slice(4, 8)):
        for i in range(5):
            logits = [(query[i, head] @ key[j, head] / 2 * window[i, j]) for j in range(length)]
            weights = torch.softmax(torch.stack(logits), dim=0)
            attended[i, head] = sum(weight * value[j, head] for j, weight in enumerate(weights))
    expected = attention.output.LayerNorm(attention.output.dense(attended) + x)
    bias = (1 - mask_of([length], 5))[:, None, None, :] * -10000
    torch.testing.assert_close(attention(x[None], bias, window)[0], expected)


def test_embedding_does_not_depend_on_padding_or_neighbours():
    model = make_model()
    clips, frames = torch.randn(3, 4, 10), torch.randn(3, 12, 10)
    mask = mask_of([4, 12, 7], 12)
    together_clips, together = model.encode_video(clips, frames, mask)
    alone_clips, alone = model.encode_video(clips[:1], frames[:1, :4], mask[:1, :4])
    torch.testing.assert_close(alone, together[:1])
    torch.testing.assert_close(alone_clips, together_clips[:1])
    tokens, token_mask = torch.randn(2, 7, 6), mask_of([3, 7], 7)
    torch.testing.assert_close(
        model.encode_query(tokens[:1, :3], token_mask[:1, :3]), model.encode_query(tokens, token_mask)[:1]
    )


def test_window_of_the_batch_depends_on_padding_and_equals_fixed_at_full_length():
    fixed, batch = make_model(), make_model(window_length="batch")
    frames, mask = torch.randn(1, 12, 10), mask_of([4], 12)
    torch.testing.assert_close(fixed.encode_frames(frames, mask), batch.encode_frames(frames, mask))
    alone = batch.encode_frames(frames[:, :4], mask[:, :4])
    assert not torch.allclose(alone, batch.encode_frames(frames, mask), atol=1e-3)


def test_one_video_with_one_frame_and_one_query_with_one_token():
    model = make_model()
    query = model.encode_query(torch.randn(1, 1, 6), torch.ones(1, 1))
    clips, frame = model.encode_video(torch.randn(1, 4, 10), torch.randn(1, 1, 10), torch.ones(1, 1))
    assert [scores.shape for scores in model.score(query, clips, frame)] == [(1, 1), (1, 1)]
    assert all(torch.isfinite(scores).all() for scores in similarities(query, clips, frame))


def test_scores_are_cosines_and_dots_of_the_best_clip():
    query, clips, frame = torch.randn(3, 8), torch.randn(2, 4, 8), torch.randn(2, 8)
    scores = similarities(query, clips, frame)
    for q in range(3):
        for v in range(2):
            cosines = [F.cosine_similarity(query[q], clip, dim=0) for clip in clips[v]]
            torch.testing.assert_close(scores.clip[q, v], max(cosines))
            torch.testing.assert_close(scores.clip_dot[q, v], max(query[q] @ clip for clip in clips[v]))
            torch.testing.assert_close(scores.frame[q, v], F.cosine_similarity(query[q], frame[v], dim=0))
            torch.testing.assert_close(scores.frame_dot[q, v], query[q] @ frame[v])


def test_too_many_positions_and_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="8 positions, but the model has 7"):
        make_model().encode_query(torch.randn(1, 8, 6), torch.ones(1, 8))
    with pytest.raises(ValueError, match="not a multiple of n_heads"):
        GMMFormerConfig(4, 4, hidden_size=9, n_heads=2)
    with pytest.raises(ValueError, match="map_size 33"):
        GMMFormerConfig(4, 4, map_size=33, max_ctx_l=32)


def inputs_of(videos: int, length: int) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """What encode_video and encode_query take, of videos with 1 to `length` frames and one more caption than videos."""
    lengths = [1 + place % length for place in range(videos)]
    video = torch.randn(videos, 4, 10), torch.randn(videos, length, 10), mask_of(lengths, length)
    return video, (torch.randn(videos + 1, 7, 6), torch.ones(videos + 1, 7))


def train_on(encode_video, encode_query, videos: int, length: int) -> list[torch.Tensor]:
    """Forward and backward pass; the embeddings."""
    video, query = inputs_of(videos, length)
    found = [*encode_video(*video), encode_query(*query)]
    sum(x.float().square().sum() for x in found).backward()
    return found


def test_training_draws_dropout_from_torchs_seed_and_evaluation_draws_none():
    model = make_model().train()
    video, query = inputs_of(3, 5)

    def encode(seed):
        torch.manual_seed(seed)
        return [*model.encode_video(*video), model.encode_query(*query)]

    for first, again, other in zip(encode(1), encode(1), encode(2), strict=True):
        assert torch.equal(first, again)
        assert not torch.allclose(first, other)
    model.eval()
    assert all(torch.equal(first, other) for first, other in zip(encode(1), encode(2), strict=True))


def test_a_part_without_videos_gives_every_parameter_a_gradient_of_zero():
    model = make_model().train()
    video, _ = inputs_of(0, 1)
    found = *model.encode_video(*video), model.encode_query(torch.zeros(0, 1, 6), torch.zeros(0, 1))
    assert [x.shape for x in found] == [(0, 4, 8), (0, 8), (0, 8)]
    sum(x.sum() for x in found).backward()  # as a process does that has no share of a batch
    assert all(parameter.grad.eq(0).all() for parameter in model.parameters())


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_trains_near_full_precision(half):
    model = make_model(drop=0.0, input_drop=0.0).train()
    found = []
    for enabled in (False, True):
        torch.manual_seed(2)
        model.zero_grad()
        with torch.autocast("cpu", half, enabled=enabled):
            embeddings = train_on(model.encode_video, model.encode_query, 3, 5)
        found.append([*embeddings, *(parameter.grad.clone() for parameter in model.parameters())])
    exact, near = (torch.cat([x.float().flatten() for x in tensors]) for tensors in found)
    assert 0 < (near - exact).norm() < 0.05 * exact.norm()
