"""Prompts, labels, padding, and what is left out."""

import pytest
import torch

from tests.unit.captioner.tiny import BROKEN, GRID, captions_of
from workflow_scripts.lib.captioner.data import CaptionDataset, Collator
from workflow_scripts.lib.captioner.generation import moments_of
from workflow_scripts.lib.captioner.model import IGNORE
from workflow_scripts.lib.captioner.prompts import prompts_by_language
from workflow_scripts.lib.errors import UserError


def captions(item):
    return [label for label in item["labels"] if label != IGNORE]


def test_labels_are_the_caption_and_its_end(tiny):
    dataset = tiny.dataset("train")
    for index, example in enumerate(dataset.examples):
        item = dataset[index]
        labels = [label for label in item["labels"] if label != IGNORE]
        assert labels[-1] == tiny.tokenizer.eos_token_id
        assert tiny.tokenizer.decode(labels[:-1]) == example.text
        assert item["input_ids"][-len(labels) :] == labels
        places = sum(token == len(tiny.tokenizer) for token in item["input_ids"])
        assert places == item["visual"].shape[0] * item["visual"].shape[1] == 3 * GRID


def test_a_cut_caption_is_counted_and_has_no_end(tiny):
    dataset, whole = tiny.dataset("train", limit=2), tiny.dataset("train")
    assert dataset.cut > 0 == whole.cut
    for cut, full in zip(dataset, whole, strict=True):
        assert captions(cut) == captions(full)[:2]
    assert dataset.cut == sum(len(captions(full)) > 2 for full in whole)


def test_videos_without_frames_are_left_out_and_counted(tiny):
    split = tiny.split("train")
    assert BROKEN not in {example.video for example in split.examples}
    assert (split.without_frames, split.videos_without_frames) == (3, 1)
    assert "3 captions of 1 videos" in split.describe()


def test_the_frames_are_the_moments(tiny):
    example = tiny.split("train").examples[0]
    assert example.frames == (1, 3, 4)  # of 0..5 s, the moment is 1 to 4 s


def test_prompts_follow_the_language_and_the_chat_template(tiny):
    assert tiny.tokenizer.decode(tiny.prompts["ko"].after) == "\n한국어\n"
    tokenizer = type(tiny.tokenizer).from_pretrained(tiny.model_folder)
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    prompt = prompts_by_language(tokenizer, {"en": "Tell."})["en"]
    assert tokenizer.decode(prompt.before) == "[user]"
    assert tokenizer.decode(prompt.after) == "\nTell.[assistant]"


def test_a_language_without_a_prompt_is_named(tiny):
    with pytest.raises(UserError, match="'zh'"):
        CaptionDataset(
            tiny.split("train").examples,
            None,
            tiny.tokenizer,
            {"en": None, "ko": None},
            video_token=0,
            limit=9,
        )


def test_padding_is_on_the_right_for_training_and_on_the_left_for_generation(tiny):
    dataset = tiny.dataset("train")
    items = [dataset[0], dataset[1]]
    short, long = sorted(items, key=lambda item: len(item["input_ids"]))
    pad = tiny.tokenizer.pad_token_id
    right, left = Collator(pad)([short, long]), Collator(pad, left=True)([short, long])
    n = len(short["input_ids"])
    assert right["input_ids"][0, :n].tolist() == left["input_ids"][0, -n:].tolist() == short["input_ids"]
    assert right["attention_mask"][0].tolist() == left["attention_mask"][0].tolist()[::-1]
    assert torch.all(right["labels"][0, n:] == IGNORE)
    assert "labels" not in left


def test_captions_of_one_moment_are_generated_once(tiny):
    examples = list(tiny.split("test").examples)
    assert moments_of(examples + examples) == examples
    assert len(examples) == 3 * len(captions_of(0))
