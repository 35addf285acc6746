"""Generation: the same in a batch as alone, the same again, and every option has its effect."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.unit.captioner.language_models import write_language_model
from tests.unit.captioner.tiny import GRID, WIDTH
from workflow_scripts.lib.captioner.captions_file import Generated
from workflow_scripts.lib.captioner.data import CaptionDataset
from workflow_scripts.lib.captioner.generation import generate, generate_batches, moments_of, new_tokens, row
from workflow_scripts.lib.captioner.loading import load_language_model, load_tokenizer, new_captioner
from workflow_scripts.lib.captioner.prompts import prompts_by_language
from workflow_scripts.lib.config import Generation
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.captioner(seed=4)


@pytest.fixture
def said(tiny, model):
    dataset = tiny.dataset("test", with_caption=False)

    def captions(seed=0, longest=12, first=0, **options):
        found = generate_batches(
            model,
            dataset,
            tiny.tokenizer,
            Generation(**options),
            CPU,
            max_new_tokens=longest,
            seed=seed,
            first=first,
        )
        return [caption for batch in found for caption in batch]

    return captions


def ids_of(tiny, captions):
    return [tiny.tokenizer(caption.text, add_special_tokens=False)["input_ids"] for caption in captions]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"repetition_penalty": 1.5, "min_new_tokens": 12},
        {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "num_beams": 2},
        {"min_new_tokens": 6},
    ],
    ids=str,
)
def test_a_batch_says_what_each_of_it_says_alone(tiny, said, options):
    dataset = tiny.dataset("test", with_caption=False)
    assert len({len(dataset[index]["input_ids"]) for index in range(len(dataset))}) > 1  # so there is padding
    together, alone = said(batch_size=len(dataset), **options), said(batch_size=1, **options)
    assert together == alone
    assert len(set(alone)) > 1


def test_so_it_is_with_learned_positions(tiny, tmp_path):
    """GPT-2's, which count the padding unless they are told where a row begins."""
    folder = write_language_model(tmp_path / "gpt2", "gpt2", ["red green blue", "English", "한국어", "中文"])
    tokenizer = load_tokenizer(str(folder))
    language_model = load_language_model(str(folder), "none", "fp32", CPU)
    torch.manual_seed(0)
    captioner = new_captioner(
        language_model, tiny.config.lora, visual_width=WIDTH, tokens_per_frame=GRID, max_frames=3
    ).eval()
    first, *others = tiny.split("test").examples
    dataset = CaptionDataset(
        [replace(first, frames=first.frames[:1]), *others],
        open_features(tiny.folder / "features", "token"),
        tokenizer,
        prompts_by_language(tokenizer, tiny.config.prompts),
        video_token=language_model.config.vocab_size,
        limit=60,
        with_caption=False,
    )
    assert len({len(dataset[index]["input_ids"]) for index in range(len(dataset))}) > 1

    def captions(size):
        options = Generation(batch_size=size)
        return list(generate(captioner, dataset, tokenizer, options, CPU, max_new_tokens=10, seed=0))

    together = captions(len(dataset))
    assert together == captions(1)
    assert len(set(together)) > 1


def test_the_captions_are_those_of_the_batches(tiny, model, said):
    captions = generate(
        model,
        tiny.dataset("test", with_caption=False),
        tiny.tokenizer,
        Generation(batch_size=4),
        CPU,
        max_new_tokens=12,
        seed=0,
    )
    assert list(captions) == said(batch_size=4)


def test_sampling_depends_on_the_seed_alone(said):
    options = {"do_sample": True, "temperature": 1.5, "batch_size": 2}
    once = said(seed=1, **options)
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    assert said(seed=1, **options) == once
    assert torch.equal(torch.random.get_rng_state(), state)  # nobody else's draws are moved
    assert said(seed=2, **options) != once


def test_sampling_goes_on_where_it_was(said):
    options = {"do_sample": True, "temperature": 1.5, "batch_size": 2}
    assert said(seed=1, first=4, **options) == said(seed=1, **options)[4:]


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_sampling_from_the_likeliest_alone_is_greedy(said, narrow):
    assert said(do_sample=True, **narrow) == said()
    assert said(do_sample=True, temperature=3.0) != said()


def test_repetition_is_kept_down(tiny, said):
    def most(captions):
        return max(ids.count(token) for ids in ids_of(tiny, captions) for token in ids)

    def repeats_a_pair(captions):
        return any(len(set(pairwise(ids))) < len(ids) - 1 for ids in ids_of(tiny, captions) if len(ids) > 1)

    plain = said(longest=40, min_new_tokens=40)
    assert most(plain) > 3 and repeats_a_pair(plain)
    assert most(said(longest=40, min_new_tokens=40, repetition_penalty=5.0)) < most(plain)
    assert said(longest=40, min_new_tokens=40, no_repeat_ngram_size=2) != plain


def test_beams_prefer_the_length_that_the_penalty_asks_for(said):
    short, long = (
        sum(len(caption.text) for caption in said(num_beams=4, length_penalty=penalty))
        for penalty in (-5.0, 5.0)
    )
    assert short < long


def test_the_length_has_two_ends(tiny, said):
    greedy = said(longest=40)
    assert not any(caption.cut for caption in greedy)
    short = said(longest=1)
    assert all(caption.cut for caption in short)
    assert all(whole.text.startswith(part.text) for whole, part in zip(greedy, short, strict=True))
    least = said(longest=40, min_new_tokens=20)
    assert min(map(len, ids_of(tiny, least))) >= 15  # a token more or less, in the round trip over text
    assert min(map(len, ids_of(tiny, greedy))) < 15


@pytest.mark.parametrize(("quantization", "precision"), [("none", "bf16"), ("none", "fp16"), ("nf4", "bf16")])
def test_half_precision_and_four_bits_say_nearly_the_same(tiny, model, quantization, precision):
    language_model = tiny.language_model(quantization, precision)
    torch.manual_seed(4)
    other = new_captioner(
        language_model,
        tiny.config.lora,
        visual_width=WIDTH,
        tokens_per_frame=GRID,
        max_frames=tiny.config.frames,
    )

    def said(captioner):
        options = Generation(batch_size=4)
        dataset = tiny.dataset("test", with_caption=False)
        return list(generate(captioner, dataset, tiny.tokenizer, options, CPU, max_new_tokens=12, seed=0))

    equal = [one == two for one, two in zip(said(model), said(other), strict=True)]
    assert sum(equal) >= len(equal) / 2


def test_auto_is_a_tenth_more_than_nearly_all_captions_have():
    training = {"caption_tokens": {"median": 10, "p99_5": 41.0, "max": 90}}
    assert new_tokens(Generation(), training) == 46
    assert new_tokens(Generation(min_new_tokens=60), training) == 60
    assert new_tokens(Generation(max_new_tokens=7), training) == 7
    with pytest.raises(UserError, match=r"caption_tokens; train it again"):
        new_tokens(Generation(), {})


def test_rows_of_a_moment_share_its_caption(tiny):
    examples = list(tiny.split("test").examples)
    moments = moments_of([*examples, *examples])
    assert moments == examples
    generated = {moment.moment: Generated(f"text {n}", cut=n == 1) for n, moment in enumerate(moments)}
    found = row(examples[1], generated)
    assert (found["generated"], found["cut"], found["reference"]) == ("text 1", True, "빨간 것")
    assert found["frames"] == list(examples[1].frames)
    assert row(examples[2], generated)["cut"] is False
