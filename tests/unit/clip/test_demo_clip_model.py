"""The demo's tokenizer and model folder."""

import shutil

import open_clip
import pytest
from PIL import Image

from tests.unit.clip.fake_corpus import TINY
from workflow_scripts.lib.clip.demo_model import learn_tokenizer, write_demo_model
from workflow_scripts.lib.errors import UserError

CAPTIONS = [
    "a red circle moves left over a striped background",
    "줄무늬 배경 위에서 빨간 원이 왼쪽으로 움직인다",
    "a blue star moves up over a plain background",
    "단색 배경 위에서 파란 별이 위쪽으로 움직인다",
] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    write_demo_model(folder, CAPTIONS, TINY)
    moved = folder.with_name("moved elsewhere")
    shutil.move(folder, moved)
    return moved


def test_captions_come_back_whole_through_open_clip(folder):
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    for text in CAPTIONS:
        ids = tokenizer([text], context_length=40)[0]
        assert tokenizer.tokenizer.decode(ids, skip_special_tokens=True).strip() == text


def test_any_script_is_coded_without_loss():
    tokenizer = learn_tokenizer(CAPTIONS, merges=20)
    for text in ("猫が好き", "ქართული", "naïve café 3", "हिन्दी"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.decode(ids).split() == text.lower().replace("3", " 3 ").split()


def test_merges_make_words_of_korean_syllables():
    few, many = (learn_tokenizer(CAPTIONS, merges) for merges in (0, 320))
    korean = CAPTIONS[1]
    assert len(many.encode(korean).ids) == len(korean.split()) + 2
    assert len(few.encode(korean).ids) == len(korean.replace(" ", "").encode()) + 2


def test_the_vocabulary_has_the_size_that_the_config_promises():
    assert learn_tokenizer(CAPTIONS, merges=20).get_vocab_size() == 512 + 20 + 2


def test_the_same_captions_give_the_same_tokenizer():
    assert learn_tokenizer(CAPTIONS, 50).to_str() == learn_tokenizer(CAPTIONS, 50).to_str()


def test_the_model_takes_frames_of_any_size_and_longer_captions_end_with_the_end_token(folder):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    assert model.visual.image_size == TINY.image_size
    assert preprocess(Image.new("RGB", (48, 24))).shape == (3, TINY.image_size, TINY.image_size)
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(["red " * 50])
    assert ids.shape == (1, TINY.context_length)
    assert ids[0, -1] == model.text_eos_id == model.vocab_size - 1


def test_no_training_captions(tmp_path):
    with pytest.raises(UserError, match="no captions"):
        write_demo_model(tmp_path, [], TINY)
