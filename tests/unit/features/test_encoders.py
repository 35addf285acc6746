"""Encoders of both libraries, on tiny models with random weights."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pytest
import torch
import transformers
from PIL import Image
from torchvision.transforms import Compose, Lambda, ToTensor

from tests.unit.features.tiny_models import (
    DUAL,
    OPEN_CLIP,
    TEXT_ONLY,
    TEXTS,
    VISION_ONLY,
    demo_folder,
    model_folder,
    transformers_folder,
)
from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.batches import CaptionBatches
from workflow_scripts.lib.features.encoders import preprocessing
from workflow_scripts.lib.features.encoders.encoder import columns, load_encoder, pool_grid
from workflow_scripts.lib.features.encoders.identity import same_space, weights_digest
from workflow_scripts.lib.files import write_json

CPU = torch.device("cpu")
ALL_OPEN_CLIP = [f"open_clip_{family}" for family in OPEN_CLIP]
WITH_IMAGES = ALL_OPEN_CLIP + DUAL + VISION_ONLY
WITH_TEXTS = ALL_OPEN_CLIP + DUAL + TEXT_ONLY


@pytest.fixture(scope="module")
def config_of(tmp_path_factory):
    root, made = tmp_path_factory.mktemp("models"), {}

    def config_of(family):
        if family not in made:
            made[family] = model_folder(root / family, family)
        return made[family]

    return config_of


@pytest.fixture(scope="module")
def encoder_of(config_of):
    made = {}

    def encoder_of(family, **changes):
        key = family, repr(changes)
        if key not in made:
            config = config_of(family).model_copy(update=changes)
            made[key] = load_encoder(config, None, CPU, config.sides())
        return made[key]

    return encoder_of


def images(count=5, width=24, height=24):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(count)]


def encode(encoder, pictures):
    return encoder.encode_frames(encoder.preprocess(pictures))


def describe(encoder, texts):
    return encoder.encode_captions(encoder.tokenize(texts))


@pytest.mark.parametrize("family", WITH_IMAGES)
def test_images_one_by_one_are_those_of_a_batch(encoder_of, family):
    encoder = encoder_of(family)
    together = encode(encoder, images())
    one_by_one = [encode(encoder, [image]) for image in images()]
    assert together.embeddings.shape[0] == together.tokens.shape[0] == 5
    assert together.embeddings.ndim == 2 and together.tokens.ndim == 3
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(together.embeddings, torch.cat([one.embeddings for one in one_by_one]), **near)
    torch.testing.assert_close(together.tokens, torch.cat([one.tokens for one in one_by_one]), **near)
    assert not torch.allclose(together.embeddings[0], together.embeddings[1])


@pytest.mark.parametrize("family", WITH_TEXTS)
def test_texts_one_by_one_are_those_of_a_batch(encoder_of, family):
    encoder = encoder_of(family)
    tokens = encoder.tokenize(TEXTS)
    together = encoder.encode_captions(tokens)
    assert len(tokens.lengths) == 3 and tokens.lengths.dtype == np.int64
    assert together.words.shape[0] == tokens.lengths.sum()
    one_by_one = [describe(encoder, [text]) for text in TEXTS]
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(together.words, torch.cat([one.words for one in one_by_one]), **near)
    torch.testing.assert_close(together.sentences, torch.cat([one.sentences for one in one_by_one]), **near)


@pytest.mark.parametrize("family", ALL_OPEN_CLIP + DUAL)
def test_images_and_texts_lie_in_one_space(encoder_of, family):
    frames, captions = encode(encoder_of(family), images()), describe(encoder_of(family), TEXTS)
    assert frames.embeddings.shape[1] == captions.sentences.shape[1] == captions.words.shape[1]


@pytest.mark.parametrize("family", WITH_TEXTS)
def test_only_real_tokens_are_kept(encoder_of, family):
    if family == "siglip2_naflex":
        pytest.skip("transformers reads any tokenizer beside such a model as its own, which splits words")
    short, long = encoder_of(family).tokenize(["a red square", "a green square and a red square"]).lengths
    assert long == short + 4
    assert short == 3 + (1 if family == "siglip" else 2)  # the words, the end and, but for SigLIP, the start


@pytest.mark.parametrize(
    "family", ["open_clip_demo", "open_clip_xlm_roberta", "clip", "siglip", "roberta", "t5"]
)
def test_a_text_is_cut_when_it_is_longer_than_the_context(encoder_of, family):
    encoder = encoder_of(family)
    fits = encoder.context_length - (1 if family == "siglip" else 2)
    texts = [" ".join(["red"] * words) for words in (fits - 1, fits, fits + 1, 5 * fits)]
    tokens = encoder.tokenize(texts)
    assert tokens.cut.tolist() == [False, False, True, True]
    assert tokens.lengths.tolist() == [encoder.context_length - 1, *[encoder.context_length] * 3]
    assert torch.isfinite(encoder.encode_captions(tokens).words).all()


@pytest.mark.parametrize("family", ["clip", "roberta"])
def test_a_long_text_lengthens_its_own_batch_alone(encoder_of, family):
    texts = ["a", "red", "a red square and a red square", "a red"]
    table = pa.table({"video": range(4), "caption": pa.array([0] * 4, pa.int32()), "text": texts})
    batches = CaptionBatches(table, encoder_of(family), 2)
    assert [batches[k].inputs["input_ids"].shape for k in (0, 1)] == [(2, 3), (2, 9)]


def test_compiled_code_sees_texts_of_few_lengths(encoder_of):
    config = encoder_of("clip").config
    lengths = range(1, 78)
    assert [columns(n, 77, config) for n in lengths] == list(lengths)
    fast = config.model_copy(update={"compile": True})
    found = [columns(n, 77, fast) for n in lengths]
    assert set(found) == {16, 32, 64, 77} and all(n <= width for n, width in zip(lengths, found, strict=True))


@pytest.mark.parametrize("family", ["open_clip_demo", "open_clip_vit", "open_clip_siglip", "clip"])
def test_the_pooled_word_is_the_sentence(encoder_of, family):
    encoder = encoder_of(family)
    tokens = encoder.tokenize(TEXTS)
    found = encoder.encode_captions(tokens)
    ends = found.words[np.cumsum(tokens.lengths) - 1]
    alike = torch.allclose(ends, found.sentences, atol=1e-5)
    assert alike == (family != "open_clip_siglip")  # which takes the last padded position instead


@pytest.mark.parametrize("family", TEXT_ONLY)
def test_the_sentence_of_a_text_model_is_the_mean_of_its_words(encoder_of, family):
    encoder = encoder_of(family)
    tokens = encoder.tokenize(TEXTS)
    found = encoder.encode_captions(tokens)
    means = torch.stack([words.mean(0) for words in found.words.split(tokens.lengths.tolist())])
    assert torch.allclose(means, found.sentences, atol=1e-5) == (family != "clip_text_projected")


@pytest.mark.parametrize("family", WITH_TEXTS)
def test_sentences_alone(encoder_of, family):
    encoder, whole = encoder_of(family, text="sentence"), encoder_of(family)
    tokens = encoder.tokenize(TEXTS)
    found = encoder.encode_captions(tokens)
    assert tokens.lengths.tolist() == [1, 1, 1]
    torch.testing.assert_close(found.words, found.sentences)
    torch.testing.assert_close(found.sentences, describe(whole, TEXTS).sentences, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [*ALL_OPEN_CLIP, "clip", "siglip", "altclip", "bert", "roberta", "t5"])
def test_word_embeddings_know_nothing_of_the_other_words(encoder_of, family):
    texts = ["a red square", "a green square"]
    last, words = (describe(encoder_of(family, **layer), texts) for layer in ({}, {"text_layer": 0}))
    torch.testing.assert_close(last.sentences, words.sentences, rtol=1e-4, atol=1e-5)
    rows = len(words.words) // 2
    square = 2 if family == "siglip" else 3
    torch.testing.assert_close(words.words[square], words.words[rows + square])
    assert not torch.allclose(last.words[square], last.words[rows + square])


def test_layers_in_between_are_what_goes_into_the_next_block(encoder_of):
    layers = [describe(encoder_of("clip", text_layer=layer), TEXTS).words for layer in (0, 1, 2)]
    assert not torch.allclose(layers[0], layers[1]) and not torch.allclose(layers[1], layers[2])
    encoder = encoder_of("open_clip_demo", text_layer=1)
    into, ids = [], encoder.tokenize(TEXTS).inputs["ids"]
    hook = encoder.model.transformer.resblocks[0].register_forward_hook(lambda *call: into.append(call[2]))
    with torch.inference_mode():
        encoder.model.encode_text(ids)
    hook.remove()
    torch.testing.assert_close(describe(encoder, TEXTS).words[:5], into[0][0, :5])


@pytest.mark.parametrize("family", ["open_clip_demo", "open_clip_xlm_roberta", "clip", "bert"])
def test_a_layer_that_is_not_there_is_refused(encoder_of, family):
    with pytest.raises(
        UserError, match=r"encoder 'x': text_layer 9 is not there, the text tower has \d layers"
    ):
        describe(encoder_of(family, text_layer=9), TEXTS)


@pytest.mark.parametrize("family", ALL_OPEN_CLIP)
@pytest.mark.parametrize("grid", [None, [1, 2]])
def test_open_clip_gives_what_encode_image_and_encode_text_give(encoder_of, family, grid):
    encoder = encoder_of(family, token_grid=grid)
    model, _, transform = open_clip.create_model_and_transforms(encoder.config.model)
    model.eval()
    with torch.inference_mode():
        pictures = torch.stack([transform(image) for image in images()])
        expected = model.encode_image(pictures, normalize=False)
        text = model.encode_text(open_clip.get_tokenizer(encoder.config.model)(TEXTS), normalize=False)
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(encode(encoder, images()).embeddings, expected, **near)
    torch.testing.assert_close(describe(encoder, TEXTS).sentences, text, **near)


@pytest.mark.parametrize("family", DUAL)
def test_transformers_gives_what_the_features_of_the_model_are(encoder_of, family):
    encoder = encoder_of(family)
    model = transformers.AutoModel.from_pretrained(encoder.config.model).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(encoder.config.model)
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder.config.model, padding_side="right")
    ids = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=10, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_image_features(**processor(images(), return_tensors="pt")).pooler_output
        text = model.get_text_features(**ids).pooler_output
    near = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(encode(encoder, images()).embeddings, expected, **near)
    torch.testing.assert_close(describe(encoder, TEXTS).sentences, text, **near)


def test_embeddings_of_vision_towers(encoder_of):
    for family, name in (
        ("dinov2", "pooler_output"),
        ("vit", "pooler_output"),
        ("clip_vision_projected", "image_embeds"),
    ):
        encoder = encoder_of(family)
        pixels = encoder.preprocess.finish(encoder.preprocess(images()), CPU)
        with torch.inference_mode():
            expected = encoder.model(**pixels)[name]
        torch.testing.assert_close(encode(encoder, images()).embeddings, expected)
    encoder = encoder_of("vit_classifier", token_grid="all")  # the checkpoint has no pooler
    found = encode(encoder, images())
    torch.testing.assert_close(found.embeddings, found.tokens.mean(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "extra"), [("clip_vision", 1), ("dinov2_registers", 4), ("siglip_vision", 0)]
)
def test_all_patch_tokens_in_order(encoder_of, family, extra):
    encoder = encoder_of(family, token_grid="all")
    pixels = encoder.preprocess.finish(encoder.preprocess(images()), CPU)
    with torch.inference_mode():
        states = encoder.model(**pixels).last_hidden_state
    tokens = encode(encoder, images()).tokens
    torch.testing.assert_close(tokens, states[:, extra:])
    assert tokens.shape[1] == 9
    pooled = encode(encoder_of(family, token_grid=[1, 3]), images()).tokens
    torch.testing.assert_close(pooled, tokens.unflatten(1, (3, 3)).mean(1))


def test_frames_of_other_shapes_in_one_batch(encoder_of):
    encoder = encoder_of("siglip2_naflex")
    wide, high = images(1, 48, 24), images(1, 24, 48)
    mixed = encode(encoder, wide + high)
    torch.testing.assert_close(mixed.tokens[:1], encode(encoder, wide).tokens, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed.tokens[1:], encode(encoder, high).tokens, rtol=1e-4, atol=1e-5)
    every = encoder_of("siglip2_naflex", token_grid="all")
    assert encode(every, wide).tokens.shape[1] <= 12
    with pytest.raises(UserError, match=r"different shapes.*token_grid of rows and columns"):
        encode(every, wide + high)


def test_pooling_averages_row_by_row():
    grid = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert pool_grid(grid, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_grid(grid, (1, 4)).flatten().tolist() == [6, 7, 8, 9]
    assert pool_grid(grid, "all").flatten().tolist() == list(range(16))
    with pytest.raises(UserError, match="5 x 2 is finer than the 4 x 4"):
        pool_grid(grid, (5, 2))


@pytest.mark.parametrize("family", ["open_clip_demo", "open_clip_vit", "open_clip_siglip"])
def test_open_clip_preprocessing_is_the_models_own_bit_for_bit(encoder_of, family):
    encoder = encoder_of(family)
    _, _, transform = open_clip.create_model_and_transforms(encoder.config.model)
    pictures = [*images(2, 300, 200), *images(1, 5, 700), Image.new("L", (64, 64), 7)]
    begun = encoder.preprocess(pictures)
    assert begun["image"].dtype == torch.uint8 and len(begun["image"]) == 4
    assert torch.equal(
        encoder.preprocess.finish(begun, CPU)["image"], torch.stack([transform(p) for p in pictures])
    )


@pytest.mark.parametrize("settings", [{}, {"resize_mode": "longest"}, {"interpolation": "bilinear"}])
def test_all_transforms_of_open_clip_are_split(settings):
    transform = open_clip.image_transform(32, is_train=False, **settings)
    split = preprocessing.of_compose(transform)
    pictures = [*images(2, 50, 30), *images(1, 33, 91)]
    assert split(pictures)["image"].dtype == torch.uint8
    assert torch.equal(
        split.finish(split(pictures), CPU)["image"], torch.stack([transform(p) for p in pictures])
    )


def test_a_transform_of_another_form_is_called_whole():
    transform = Compose([ToTensor(), Lambda(lambda image: image * 2)])
    whole = preprocessing.of_compose(transform)
    assert torch.equal(whole(images())["image"], torch.stack([transform(image) for image in images()]))


@pytest.mark.parametrize("family", DUAL + VISION_ONLY)
def test_transformers_preprocessing_is_the_models_own_bit_for_bit(encoder_of, family):
    encoder = encoder_of(family)
    processor = transformers.AutoImageProcessor.from_pretrained(encoder.config.model)
    pictures = [*images(2, 100, 50), *images(1, 31, 77)]
    begun = encoder.preprocess(pictures)
    expected = processor(images=pictures, return_tensors="pt")
    finished = encoder.preprocess.finish(begun, CPU)
    assert expected.keys() == finished.keys()
    assert all(torch.equal(expected[name], finished[name]) for name in expected)
    assert (begun["pixel_values"].dtype == torch.uint8) == (family != "siglip2_naflex")


@pytest.mark.parametrize("family", ["open_clip_vit", "clip"])
def test_workers_get_the_preprocessing_without_the_model(encoder_of, family):
    preprocess = encoder_of(family).preprocess
    copy = pickle.dumps(preprocess)
    assert len(copy) < 10_000
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            pickle.loads(copy)(images()).values(), preprocess(images()).values(), strict=True
        )
    )


@pytest.mark.parametrize("family", ["open_clip_vit", "open_clip_demo", "clip", "siglip", "dinov2", "bert"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near_full(encoder_of, family, precision):
    full, half = encoder_of(family), encoder_of(family, precision=precision)
    norms = [p for name, p in half.model.named_parameters() if "norm" in name.lower() or "ln_" in name]
    assert all(p.dtype == torch.float32 for p in norms)
    found = []
    if full.config.frames:
        found += [(encode(half, images()).embeddings, encode(full, images()).embeddings)]
    if full.config.text != "none":
        found += [(describe(half, TEXTS).sentences, describe(full, TEXTS).sentences)]
    for one, other in found:
        assert (one.float() - other).norm() < 0.03 * other.norm()
    assert half.identity["space"] == full.identity["space"] and half.identity != full.identity


@pytest.mark.slow
@pytest.mark.parametrize("family", ["open_clip_demo", "clip"])
def test_a_compiled_model_gives_the_same_but_for_rounding(encoder_of, family):
    plain, fast = encoder_of(family), encoder_of(family, compile=True)
    near = {"rtol": 1e-4, "atol": 1e-5}
    for count in (3, 2):
        torch.testing.assert_close(
            encode(fast, images(count)).tokens, encode(plain, images(count)).tokens, **near
        )
        torch.testing.assert_close(
            describe(fast, TEXTS[:count]).words, describe(plain, TEXTS[:count]).words, **near
        )
    assert fast.identity == plain.identity


@pytest.mark.parametrize("family", ["open_clip_demo", "clip", "dinov2", "bert"])
def test_the_identity_is_json_and_tells_weights_and_settings(config_of, family):
    config = config_of(family)
    identity = load_encoder(config, None, CPU, config.sides()).identity
    assert json.loads(json.dumps(identity)) == identity
    assert len(identity["space"]["weights_sha256"]) == 64
    assert config.model.split(":")[-1].rsplit("/", 1)[0] not in json.dumps(identity)  # a machine's folders

    def changed(**settings):
        other = config.model_copy(update=settings)
        return load_encoder(other, None, CPU, other.sides()).identity != identity

    assert changed(dtype="float32") and not changed(batch_size=3) and not changed(name="y")
    assert not changed(compile=True)
    assert changed(token_grid=[1, 1]) == config.frames
    assert changed(text_layer=1) == (config.text != "none")


def test_a_model_that_moves_keeps_its_identity(config_of, tmp_path):
    config = config_of("clip")
    shutil.copytree(config.model, tmp_path / "clip")
    here, there = (
        load_encoder(config.model_copy(update={"model": str(folder)}), None, CPU).identity
        for folder in (config.model, tmp_path / "clip")
    )
    assert here == there


@pytest.mark.parametrize("family", ["open_clip_demo", "clip"])
def test_the_sides_of_an_encoder_share_their_space_and_nothing_else(config_of, family):
    config = config_of(family)

    def shard(side, **settings):
        return json.dumps(load_encoder(config.model_copy(update=settings), None, CPU, [side]).identity)

    frames, captions = shard("video"), shard("text")
    assert same_space(frames, captions)
    assert shard("video", text="sentence", text_layer=0) == frames
    assert shard("text", token_grid="all") == captions
    assert not same_space(frames, json.dumps({"kind": "imported"})) and not same_space(None, None)
    assert not same_space("no JSON", "[1]")  # of other writers


def test_one_weight_changes_the_digest(encoder_of):
    encoder = encoder_of("clip")
    before = weights_digest(encoder.model)
    with torch.no_grad():
        next(encoder.model.parameters()).flatten()[0].add_(1)
    assert weights_digest(encoder.model) != before
    with torch.no_grad():
        next(encoder.model.parameters()).flatten()[0].sub_(1)


@pytest.mark.parametrize(
    ("family", "side", "message"),
    [
        ("dinov2", "text", "is a Dinov2Model, which does not encode texts; give it `text: none`"),
        ("bert", "video", "is a BertModel, which does not encode images; give it `frames: false`"),
    ],
)
def test_a_side_that_a_model_has_not_is_refused(config_of, family, side, message):
    with pytest.raises(UserError, match=message):
        load_encoder(config_of(family), None, CPU, [side])


@pytest.mark.parametrize(
    ("family", "removed", "side", "other", "message"),
    [
        ("clip", "preprocessor_config.json", "video", "text", "no image processor.*`frames: false`"),
        ("clip", "tokenizer*", "text", "video", "no tokenizer with words.*`text: none`"),
        ("altclip", "tokenizer*", "text", "video", "no tokenizer that can be loaded.*`text: none`"),
    ],
)
def test_only_what_a_side_needs_has_to_be_there(config_of, tmp_path, family, removed, side, other, message):
    folder = shutil.copytree(config_of(family).model, tmp_path / "model")
    for file in folder.glob(removed):
        file.unlink()
    config = config_of(family).model_copy(update={"model": str(folder)})
    load_encoder(config, None, CPU, [other])
    with pytest.raises(UserError, match=message):
        load_encoder(config, None, CPU, [side])


def test_a_checkpoint_without_all_weights_is_refused(tmp_path):
    config = transformers_folder(tmp_path / "model", "dinov2")
    model = transformers.Dinov2Model.from_pretrained(config.model)
    weights = model.state_dict()
    del weights["layernorm.weight"]
    model.save_pretrained(config.model, state_dict=weights)
    with pytest.raises(UserError, match=r"lacks 1 weights of a Dinov2Model \(layernorm.weight"):
        load_encoder(config, None, CPU, ["video"])


@pytest.mark.parametrize("family", ["open_clip_demo", "clip"])
def test_a_truncated_checkpoint_is_named(config_of, tmp_path, family):
    config = config_of(family)
    prefix, colon, folder = config.model.rpartition(":")
    copy = shutil.copytree(folder, tmp_path / "모델")
    [weights] = copy.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"encoder 'x'.*cannot load.*모델"):
        load_encoder(config.model_copy(update={"model": f"{prefix}{colon}{copy}"}), None, CPU)


def test_a_checkpoint_in_half_precision_is_run_in_full(tmp_path):
    config = transformers_folder(tmp_path / "model", "clip")
    transformers.CLIPModel.from_pretrained(config.model).half().save_pretrained(config.model)
    assert encode(load_encoder(config, None, CPU), images()).embeddings.dtype == torch.float32


def test_a_checkpoint_file_of_open_clip(config_of, tmp_path):
    config = config_of("open_clip_demo")
    folder = Path(config.model.removeprefix("local-dir:"))
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = str(folder)
    write_json(tmp_path / "tiny-model.json", settings["model_cfg"])
    open_clip.add_model_config(tmp_path / "tiny-model.json")
    weights = shutil.copy(folder / "open_clip_model.safetensors", tmp_path / "epoch_3.safetensors")
    from_file = config.model_copy(update={"model": "tiny-model", "pretrained": str(weights)})
    encoder = load_encoder(from_file, None, CPU)
    assert encoder.identity["space"]["pretrained"] == "epoch_3.safetensors"
    expected = describe(load_encoder(config, None, CPU), TEXTS).sentences
    torch.testing.assert_close(describe(encoder, TEXTS).sentences, expected)
    with pytest.raises(UserError, match=r"pretrained.*goes with the name of a built-in model"):
        load_encoder(config.model_copy(update={"pretrained": str(weights)}), None, CPU)


def test_the_trained_clip(tmp_path):
    demo_folder(tmp_path / "trained")
    encoder = load_encoder(EncoderConfig(name="x", kind="trained_clip"), tmp_path / "trained", CPU)
    assert encoder.identity["space"]["model"] == "trained_clip"
    assert encode(encoder, images()).tokens is None
    with pytest.raises(UserError, match="--trained-clip"):
        load_encoder(EncoderConfig(name="x", kind="trained_clip"), None, CPU)


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("transformers", "/no/such/folder"),
        ("open_clip", "local-dir:/no/such/folder"),
        ("open_clip", "ViT-Z-99"),
        ("open_clip", "ViT-B-32"),  # it has no weights without a pretrained tag
    ],
)
def test_a_model_that_cannot_be_had_is_named(kind, model):
    with pytest.raises(UserError, match=f"encoder 'x'.*{model.split(':')[-1]}") as refused:
        load_encoder(EncoderConfig(name="x", kind=kind, model=model), None, CPU)
    assert "\n" not in str(refused.value)
