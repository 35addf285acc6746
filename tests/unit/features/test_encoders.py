"""Encoders of both libraries, on tiny models with random weights."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from tests.unit.clip.fake_corpus import TINY
from workflow_scripts.lib.clip.demo_model import write_demo_model
from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders import load_encoder, pool_grid

TEXTS = ["a red square", "빨간 사각형이 있다", "a green square and a red square"]
CPU = torch.device("cpu")


def open_clip_folder(folder):
    folder.mkdir()
    torch.manual_seed(0)
    write_demo_model(folder, TEXTS, TINY.model_copy(update={"image_size": 64}))
    save_file(
        open_clip.create_model(f"local-dir:{folder}").state_dict(), folder / "open_clip_model.safetensors"
    )
    return EncoderConfig(name="x", kind="open_clip", model=f"local-dir:{folder}", token_grid=[2, 2])


def word_tokenizer(*, asks_for_mask):
    words = [
        "<pad>",
        "<s>",
        "<unk>",
        "a",
        "red",
        "green",
        "square",
        "and",
        "빨간",
        "사각형이",
        "있다",
        "</s>",
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    start = "<s> $0 </s>" if asks_for_mask else "$0 </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=start, special_tokens=[("<s>", 1), ("</s>", 11)]
    )
    names = ["input_ids", "attention_mask"] if asks_for_mask else ["input_ids"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=names,
    )


TEXT = {"vocab_size": 12, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 10, "eos_token_id": 11, "pad_token_id": 0, "bos_token_id": 1}  # fmt: skip
VISION = {"image_size": 24, "patch_size": 8, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
          "num_attention_heads": 2}  # fmt: skip


def transformers_folder(folder, family):
    torch.manual_seed(0)
    size = {"height": 24, "width": 24}
    if family == "clip":
        model = CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24))
        processor = CLIPImageProcessorPil(size=size, crop_size=size)
    else:
        model = SiglipModel(SiglipConfig(text_config=TEXT | {"projection_size": 32}, vision_config=VISION))
        processor = SiglipImageProcessorPil(size=size)
    for part in (model, processor, word_tokenizer(asks_for_mask=family == "clip")):
        part.save_pretrained(folder)
    return EncoderConfig(name="x", kind="transformers", model=str(folder), token_grid=[2, 2])


@pytest.fixture(scope="module", params=["open_clip", "clip", "siglip"])
def encoder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "model"
    config = (
        open_clip_folder(folder)
        if request.param == "open_clip"
        else transformers_folder(folder, request.param)
    )
    return load_encoder(config, None, CPU)


def images(count=5):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)) for _ in range(count)]


def encode(encoder, pictures):
    samples = [encoder.preprocess(picture) for picture in pictures]
    return encoder.encode_frames({name: torch.stack([s[name] for s in samples]) for name in samples[0]})


def test_images_and_texts_lie_in_one_space(encoder):
    frames, captions = encode(encoder, images()), encoder.encode_captions(TEXTS)
    assert frames.embeddings.shape[0] == 5
    assert frames.tokens.shape == (5, 4, 64 if type(encoder.model).__name__ == "CLIP" else 32)
    for caption in captions:
        assert caption.sentence.shape == frames.embeddings.shape[1:]
        assert caption.tokens.shape[1] == caption.sentence.shape[0]


def test_a_batch_gives_what_single_items_give(encoder):
    together, one_by_one = encode(encoder, images()), [encode(encoder, [image]) for image in images()]
    torch.testing.assert_close(together.embeddings, torch.cat([one.embeddings for one in one_by_one]))
    torch.testing.assert_close(together.tokens, torch.cat([one.tokens for one in one_by_one]))
    for text, caption in zip(TEXTS, encoder.encode_captions(TEXTS), strict=True):
        [single] = encoder.encode_captions([text])
        torch.testing.assert_close(single.tokens, caption.tokens)
        torch.testing.assert_close(single.sentence, caption.sentence)


def test_only_real_tokens_are_kept(encoder):
    short, long = encoder.encode_captions(["a red square", "a green square and a red square"])
    assert len(long.tokens) == len(short.tokens) + 4
    extra = 1 if "siglip" in type(getattr(encoder, "model", None)).__name__.lower() else 2
    assert len(short.tokens) == 3 + extra  # the words, the end and, but for SigLIP, the start


def test_the_last_token_of_a_clip_caption_is_the_sentence(encoder):
    for caption in encoder.encode_captions(TEXTS):
        alike = torch.allclose(caption.tokens[-1], caption.sentence, atol=1e-5)
        # SigLIP takes the last padded position instead
        assert alike == ("Siglip" not in type(encoder.model).__name__)


def test_word_embeddings_know_nothing_of_the_other_words(encoder):
    contextual = encoder.encode_captions(["a red square", "a green square"])
    original = encoder.config
    try:
        encoder.config = original.model_copy(update={"text_layer": 0})
        words = encoder.encode_captions(["a red square", "a green square"])
        encoder.config = original.model_copy(update={"text_layer": 9})
        with pytest.raises(UserError, match="text_layer 9"):
            encoder.encode_captions(["a red square"])
    finally:
        encoder.config = original
    for before, after in zip(contextual, words, strict=True):
        torch.testing.assert_close(before.sentence, after.sentence)
        assert len(before.tokens) == len(after.tokens)
    torch.testing.assert_close(words[0].tokens[-2], words[1].tokens[-2])  # "square"
    assert not torch.allclose(contextual[0].tokens[-2], contextual[1].tokens[-2])


def test_a_caption_that_is_too_long_fills_the_context(encoder):
    [caption] = encoder.encode_captions([" ".join(["a red square"] * 9)])
    assert len(caption.tokens) == encoder.context_length


def test_the_identity_tells_weights_and_settings_and_is_json(encoder):
    assert json.loads(json.dumps(encoder.identity)) == encoder.identity
    assert len(encoder.identity["weights_sha256"]) == 64
    with torch.no_grad():
        first = next(encoder.model.parameters())
        first.add_(1)
        from workflow_scripts.lib.features.encoders import weights_digest

        assert weights_digest(encoder.model) != encoder.identity["weights_sha256"]
        first.sub_(1)


def test_open_clip_embeddings_are_those_of_encode_image_and_encode_text(tmp_path):
    config = open_clip_folder(tmp_path / "model")
    encoder = load_encoder(config, None, CPU)
    model, _, preprocess = open_clip.create_model_and_transforms(config.model)
    model.eval()
    with torch.inference_mode():
        expected = model.encode_image(torch.stack([preprocess(image) for image in images()]))
        text = model.encode_text(open_clip.get_tokenizer(config.model)(TEXTS))
    torch.testing.assert_close(encode(encoder, images()).embeddings, expected)
    sentences = torch.stack([caption.sentence for caption in encoder.encode_captions(TEXTS)])
    torch.testing.assert_close(sentences, text)
    plain = load_encoder(config.model_copy(update={"token_grid": None}), None, CPU)
    torch.testing.assert_close(encode(plain, images()).embeddings, expected)
    assert encode(plain, images()).tokens is None


def test_transformers_preprocessing_is_the_models_own(tmp_path):
    config = transformers_folder(tmp_path / "model", "siglip")
    encoder = load_encoder(config, None, CPU)
    large = Image.new("RGB", (100, 50), (255, 0, 0))
    pixels = encoder.preprocess(large)["pixel_values"]
    assert pixels.shape == (3, 24, 24)
    assert pixels[0].max() == 1 and pixels[1].min() == -1


def test_half_precision_is_near_full(tmp_path):
    config = open_clip_folder(tmp_path / "model")
    full = encode(load_encoder(config, None, CPU), images()).embeddings
    half = encode(
        load_encoder(config.model_copy(update={"precision": "bf16"}), None, CPU), images()
    ).embeddings
    assert half.dtype != full.dtype
    torch.testing.assert_close(half.float(), full, atol=0.05, rtol=0.05)


def test_pooling_averages_row_by_row():
    grid = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert pool_grid(grid, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_grid(grid, (1, 4)).flatten().tolist() == [6, 7, 8, 9]
    with pytest.raises(UserError, match="5 x 2 is finer than the 4 x 4"):
        pool_grid(grid, (5, 2))


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("transformers", "/no/such/folder"),
        ("open_clip", "local-dir:/no/such/folder"),
        ("open_clip", "ViT-Z-99"),
    ],
)
def test_a_model_that_cannot_be_had_is_named(kind, model):
    with pytest.raises(UserError, match=f"encoder 'x'.*{model.split(':')[-1]}"):
        load_encoder(EncoderConfig(name="x", kind=kind, model=model), None, CPU)


def test_an_untrained_open_clip_model_is_refused():
    with pytest.raises(UserError, match="ViT-B-32"):
        load_encoder(EncoderConfig(name="x", kind="open_clip", model="ViT-B-32"), None, CPU)


def test_trained_clip_needs_its_folder():
    with pytest.raises(UserError, match="--trained-clip"):
        load_encoder(EncoderConfig(name="x", kind="trained_clip"), None, CPU)
