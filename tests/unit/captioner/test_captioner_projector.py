"""Visual tokens, pooled to a budget."""

import pytest
import torch

from tests.unit.captioner.tiny import GRID, WIDTH, config
from workflow_scripts.lib.captioner.data import CaptionDataset
from workflow_scripts.lib.captioner.loading import new_captioner
from workflow_scripts.lib.captioner.model import CaptionerModelConfig
from workflow_scripts.lib.captioner.projector import AveragePool, Projector, Resampler
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features


def shape(**changes) -> CaptionerModelConfig:
    text_config = {"model_type": "qwen3", "hidden_size": 16}
    return CaptionerModelConfig(text_config, visual_width=8, tokens_per_frame=16, **changes)


def test_average_is_that_of_each_part_of_the_grid():
    visual = torch.randn(2, 3, 16, 8)
    pooled = AveragePool(4)(visual)
    grid = visual.reshape(2, 3, 4, 4, 8)
    assert pooled.shape == (2, 3, 4, 8)
    assert torch.allclose(pooled[:, :, 1], grid[:, :, :2, 2:].mean(dim=(2, 3)), atol=1e-6)  # right, above
    assert torch.allclose(pooled[:, :, 2], grid[:, :, 2:, :2].mean(dim=(2, 3)), atol=1e-6)  # left, below


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({}, 16),
        ({"pooling": "average", "pooled_tokens": 4}, 4),
        ({"pooling": "resampler", "pooled_tokens": 5, "resampler_heads": 2}, 5),
    ],
)
def test_a_frame_has_as_many_places_as_it_is_pooled_to(changes, places):
    projector = Projector(shape(**changes)).eval()
    projector.reset_parameters()
    visual = torch.randn(2, 3, 16, 8)
    out = projector(visual)
    assert out.shape == (2, 3, places, 16)
    other = visual.clone()
    other[:, 1] += torch.randn(8)  # frames do not mix, and each of a frame's tokens counts
    moved = (projector(other) - out).abs().amax(dim=(0, 2, 3))
    assert moved[1] > 1e-4 and moved[0] == moved[2] == 0
    for token in range(16):
        other = visual.clone()
        other[:, 0, token] += torch.randn(8)
        assert (projector(other) - out).abs().max() > 1e-6


@torch.no_grad()
def test_the_resampler_knows_where_a_token_lies():
    resampler = Resampler(shape(pooling="resampler", pooled_tokens=5, resampler_heads=2)).eval()
    visual = torch.randn(1, 16, 8)
    assert not torch.allclose(resampler(visual), resampler(visual.flip(1)), atol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "projector", "words"),
    [
        (6, {"pooling": "average", "tokens": 4}, "square grid.* 6 visual tokens"),
        (4, {"pooling": "average", "tokens": 9}, "9 tokens are more than the 4"),
        (4, {"pooling": "resampler", "tokens": 2, "heads": 3}, "3 heads do not divide the 8"),
    ],
)
def test_what_cannot_be_pooled_is_refused(tiny, tokens, projector, words):
    with pytest.raises(UserError, match=rf"captioner\.projector: .*{words}"):
        new_captioner(
            tiny.language_model(),
            tiny.config.lora,
            visual_width=WIDTH,
            tokens_per_frame=tokens,
            max_frames=3,
            projector=config(projector=projector).projector,
        )


def test_a_pooled_captioner_takes_as_many_places_as_the_dataset_makes(tiny):
    section = config(projector={"pooling": "resampler", "tokens": 3, "heads": 2}).projector
    model = new_captioner(
        tiny.language_model(),
        tiny.config.lora,
        visual_width=WIDTH,
        tokens_per_frame=GRID,
        max_frames=3,
        projector=section,
    )
    dataset = CaptionDataset(
        tiny.split("train").examples,
        open_features(tiny.folder / "features", "token"),
        tiny.tokenizer,
        tiny.prompts,
        video_token=len(tiny.tokenizer),
        limit=60,
        tokens_per_frame=model.base_model.model.config.places_per_frame,
    )
    items = [dataset[0], dataset[5]]
    assert items[0]["input_ids"].count(len(tiny.tokenizer)) == 3 * 3
    assert dataset.lengths()[5] == len(items[1]["input_ids"])
    model(**tiny.collator(items)).loss.backward()
    queries = next(
        p for name, p in model.named_parameters() if "modules_to_save" in name and "queries" in name
    )
    assert queries.grad.abs().max() > 0
