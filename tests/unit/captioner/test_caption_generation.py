"""Batched generation equals single generation."""

import pytest
import torch

from workflow_scripts.lib.captioner.generation import generate
from workflow_scripts.lib.config import Generation


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_batch_says_what_each_of_it_says_alone(tiny, num_beams):
    model = tiny.captioner(seed=4)
    dataset = tiny.dataset("test", with_caption=False)

    def texts(batch_size):
        options = Generation(max_new_tokens=12, num_beams=num_beams, batch_size=batch_size)
        return list(generate(model, dataset, tiny.tokenizer, options, torch.device("cpu")))

    together, alone = texts(len(dataset)), texts(1)
    assert len({len(dataset[index]["input_ids"]) for index in range(len(dataset))}) > 1
    assert together == alone
    assert len(set(alone)) > 1
