"""The stand-in language model: its tokenizer, its task, its end."""

import random

import pytest
import torch

from tests.unit.captioner.tiny import captions_of, config
from workflow_scripts.lib.captioner.demo_lm import (
    batches,
    keywords,
    make_language_model,
    read_moments,
    train_language_model,
    train_tokenizer,
    words_of,
)
from workflow_scripts.lib.captioner.model import IGNORE
from workflow_scripts.lib.captioner.prompts import prompts_by_language
from workflow_scripts.lib.errors import UserError

ROWS = [
    {
        "video": video, "start_s": None, "end_s": None, "language": language, "text": text, "attributes": attributes
    }
    for video in range(6)
    for language, text, attributes in captions_of(video)
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([row["text"] for row in ROWS] + list(config().prompts.values()), 300)


@pytest.mark.parametrize("text", ["the red one", "빨간 것", "红色的", "never seen: ñ, 鸟, 🎬"])
def test_any_text_comes_back_from_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_captions_of_one_moment_are_translations():
    moments = read_moments(ROWS)
    assert len(moments) == 6
    assert [language for language, *_ in moments[0].captions] == ["en", "ko", "zh"]


def test_keywords_are_content_words_of_one_language():
    moment, chance = read_moments(ROWS)[0], random.Random(0)
    said = {frozenset(keywords(moment, chance).split()) for _ in range(50)}
    assert said == {frozenset({"red"}), frozenset({"빨간"}), frozenset({"红色"})}


def test_without_attributes_the_rarer_words_are_the_keywords():
    rows = [{**row, "attributes": {}} for row in ROWS if row["language"] == "en"]
    (_, _, sure, others) = read_moments(rows)[0].captions[0]
    assert (sure, others) == ([], ["red"])
    assert words_of("红色的") == ["红", "色", "的"]


def test_every_caption_comes_once_an_epoch_with_its_end(tokenizer):
    prompts = prompts_by_language(tokenizer, config().prompts)
    moments = read_moments(ROWS)
    texts = []
    for ids, labels in batches(moments, tokenizer, prompts, batch_size=4, limit=60, chance=random.Random(1)):
        assert ids.shape == labels.shape
        for row in labels:
            kept = row[row != IGNORE].tolist()
            assert kept[-1] == tokenizer.eos_token_id
            texts.append(tokenizer.decode(kept[:-1]))
    assert sorted(texts) == sorted(row["text"] for row in ROWS)


def test_it_learns_and_is_the_same_for_a_seed(tokenizer):
    demo = config(
        demo_language_model={"hidden_size": 32, "layers": 1, "epochs": 8, "batch_size": 4, "lr": 2e-2}
    ).demo_language_model
    prompts = prompts_by_language(tokenizer, config().prompts)
    histories = []
    for _ in range(2):
        torch.manual_seed(0)
        model = make_language_model(demo, tokenizer)
        histories.append(
            train_language_model(model, read_moments(ROWS), tokenizer, prompts, demo, limit=60, seed=0)
        )
    assert histories[0] == histories[1]
    assert histories[0][-1] < histories[0][0] / 2


def test_a_width_that_the_heads_cannot_share_is_refused(tokenizer):
    with pytest.raises(UserError, match="hidden_size"):
        make_language_model(config(demo_language_model={"hidden_size": 30}).demo_language_model, tokenizer)
