"""The config models: what a person means is understood, what is wrong is named."""

import copy
from pathlib import Path

import pytest
import yaml

from workflow_scripts.lib.config import (
    Config,
    EncoderConfig,
    RetrievalConfig,
    freeze,
    freeze_side,
    load_section,
    parse_config,
)
from workflow_scripts.lib.config_docs import annotations_markdown, json_schema, markdown
from workflow_scripts.lib.errors import UserError

ROOT = Path(__file__).parents[3]


def demo() -> dict:
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def edited(path: str, value, data: dict | None = None) -> dict:
    data = demo() if data is None else data
    *parents, last = path.split(".")
    place = data
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[last] = value
    return data


@pytest.mark.parametrize("file", [ROOT / "config.yaml", *sorted((ROOT / "examples").glob("*.yaml"))], ids=str)
def test_shipped_configurations_are_valid(file):
    assert parse_config(yaml.safe_load(file.read_text(encoding="utf-8"))).run


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("retrieval.lr", "1e-4", 1e-4),
        ("retrieval.epochs", "1e2", 100),
        ("retrieval.epochs", 50.0, 50),
        ("report.title", "데모 보고서", "데모 보고서"),
        ("run", "실험-1", "실험-1"),
    ],
)
def test_values_are_read_as_a_person_means_them(path, value, expected):
    config = parse_config(edited(path, value))
    for part in path.split("."):
        config = getattr(config, part)
    assert config == expected


def test_unquoted_no_is_norwegian_as_a_language_and_false_as_a_switch():
    data = edited("corpus.languages", [False, "en"])  # YAML 1.1 reads `no` so
    data["captioner"]["languages"] = ["en"]
    config = parse_config(data)
    assert config.corpus.languages == ["no", "en"]
    data = edited("captioner.enabled", yaml.safe_load("no"))
    assert parse_config(data).captioner.enabled is False


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("frames.decoder", "opencv", ["frames.decoder", "opencv", "pyav", "decord"]),
        ("frames.countt", 3, ["frames.countt", "unknown", "count"]),
        ("features.encoders.0.grid", 3, ["features.encoders.0.grid", "token_grid"]),
        ("captioner.lora.rank", 3, ["captioner.lora.rank", "alpha"]),
        ("retrieval.epochs", "many", ["retrieval.epochs", "many"]),
        ("retrieval.epochs", 2.5, ["retrieval.epochs", "2.5"]),
        ("retrieval.lr", True, ["retrieval.lr", "number"]),
        ("retrieval.lr", ".inf", ["retrieval.lr", "number"]),
        ("retrieval.lr", float("inf"), ["retrieval.lr", "finite"]),
        ("retrieval.window_length", -1, ["retrieval.window_length: "]),
        ("retrieval.languages", [], ["retrieval.languages"]),
        ("corpus.languages", ["en", "en"], ["corpus.languages", "once"]),
        ("seed", 2**70, ["seed"]),
        ("run", False, ["run", "quotes"]),
        ("run", "../up", ["run", "../up"]),
        ("retrieval.encoder", "siglip", ["retrieval.encoder", "siglip", "clip"]),
        ("retrieval.n_heads", 7, ["hidden_size 128", "7"]),
        ("clip.enabled", False, ["clip", "train_clip"]),
        ("clip.model", "ViT-B-32", ["clip", "demo_model"]),
        ("captioner.languages", ["zh"], ["captioner.languages", "zh"]),
        ("clip.data", {"languages": ["zh"]}, ["clip.data.languages", "zh"]),
        (
            "clip.data",
            {"val": {"file": []}},
            ["clip.data.val.file: unknown key; allowed: files", "clip.data.val.files: "],
        ),
        ("corpus.adapter", "csv", ["corpus", "annotations"]),
        ("corpus.val_share", 1.2, ["corpus.val_share", "1.2"]),
        ("features.encoders.0.token_grid", None, ["retrieval.encoder", "token_grid"]),
        ("features.encoders.0.kind", "open_clip", ["features.encoders.0", "model"]),
    ],
)
def test_wrong_values_are_refused_by_name(path, value, words):
    with pytest.raises(UserError) as error:
        parse_config(edited(path, value))
    for word in words:
        assert word in str(error.value)


IMPORTED = {
    "run": "x",
    "corpus": {"name": "wv", "adapter": "imported", "videos_per_shard": 20, "shards": 3},
    "features": {"encoders": [{"name": "clip", "kind": "imported", "format": "bigfile", "source": "특징"}]},
    "retrieval": {"encoder": "clip"},
}


def imported(path: str, value) -> dict:
    return edited(path, value, copy.deepcopy(IMPORTED))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("report.title", "제목"),
        ("captioner.enabled", False),
        ("clip.enabled", False),
        ("features.encoders.0.visual", "i3d"),
        ("features.encoders.0.dtype", "float16"),
        ("corpus.languages", ["ko"]),
    ],
)
def test_imported_features_are_a_corpus(path, value):
    config = parse_config(imported(path, value))
    assert config.corpus.is_imported
    assert config.features.encoder("clip").sides() == ["video", "text"]


def test_the_demo_takes_no_annotations():
    """Somebody has added their own to a copy of the demo's configuration."""
    with pytest.raises(UserError, match=r"'demo' renders its own videos and makes no use of annotations"):
        parse_config(edited("corpus.annotations", "videos/captions.csv"))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("corpus.annotations", "x.csv", ["corpus: ", "annotations", "videos_per_shard"]),
        ("corpus.val_share", 0.2, ["corpus: ", "val_share"]),
        ("corpus.languages", ["en", "ko"], ["languages", "en, ko"]),
        ("corpus.adapter", "demo", ["features.encoders", "corpus.adapter: imported", "demo"]),
        ("frames.count", 8, ["frames: ", "no videos"]),
        ("clip.model", "ViT-B-32", ["clip.enabled", "frames"]),
        ("captioner.language_model", "x", ["captioner.enabled", "visual tokens"]),
        ("retrieval.visual", "tokens", ["retrieval.visual", "embeddings"]),
        ("features.encoders.0.token_grid", [2, 2], ["features.encoders.0.token_grid: unknown key", "source"]),
        ("features.encoders.0.precision", "bf16", ["features.encoders.0.precision: unknown key"]),
        ("features.encoders.0.captions", "x.csv", ["features.encoders.0", "`captions`", "bigfile"]),
        ("features.encoders.0.format", "npz", ["features.encoders.0.format: ", "webvid_pt"]),
        ("features.encoders.0.kind", "importd", ["features.encoders.0.kind: ", "'imported'", "importd"]),
        ("features.encoders", [{"name": "a", "source": "b"}], ["features.encoders.0.kind: missing"]),
        (
            "features.encoders",
            [{"name": "a", "kind": "open_clip", "model": "b"}],
            ["exactly one", "open_clip"],
        ),
    ],
)
def test_what_makes_no_sense_with_imported_features_is_refused(path, value, words):
    with pytest.raises(UserError) as error:
        parse_config(imported(path, value))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("side", ["video", "text"])
def test_what_decides_about_a_side_is_each_key_but_those_of_the_other_and_of_running(side):
    other = {"video": [{"text": "sentence"}, {"text_layer": 3}], "text": [{"token_grid": [2, 2]}]}
    encoder = {"name": "a", "kind": "open_clip", "model": "ViT-B-32"}
    running = {"batch_size": 3, "compile": True, "space": "shard"}
    before = freeze_side(EncoderConfig(**encoder), side)
    for change in other[side]:
        assert freeze_side(EncoderConfig(**encoder | running | change), side) == before
    for change in (
        {"model": "x"},
        {"pretrained": "x"},
        {"precision": "bf16"},
        {"dtype": "float32"},
        *(change for found in other.values() if found is not other[side] for change in found),
    ):
        assert freeze_side(EncoderConfig(**encoder | change), side) != before


def test_every_wrong_key_is_named_at_once():
    data = edited("frames.decoder", "x")
    data["retrieval"]["epochs"] = -1
    with pytest.raises(UserError, match=r"(?s)frames\.decoder.*retrieval\.epochs"):
        parse_config(data)


def test_a_broken_frozen_section_is_named(tmp_path):
    file = tmp_path / "설정.yaml"
    with pytest.raises(UserError, match=r"설정\.yaml"):
        load_section(RetrievalConfig, file)
    file.write_text("encoder: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"설정\.yaml"):
        load_section(RetrievalConfig, file)


@pytest.mark.parametrize("section", ["retrieval", "captioner", "frames"])
def test_a_frozen_section_reads_back_as_it_was(tmp_path, section):
    original = getattr(parse_config(demo()), section)
    running = getattr(original, "NOT_FROZEN", set())  # these reach the commands as flags
    file = tmp_path / "section.yaml"
    file.write_text(freeze(original), encoding="utf-8")
    read = load_section(type(original), file)
    assert read.model_dump(exclude=running) == original.model_dump(exclude=running)
    assert not running & yaml.safe_load(file.read_text(encoding="utf-8")).keys()


def test_stages_left_out_are_off():
    data = demo()
    for stage in ("clip", "retrieval", "captioner"):
        del data[stage]
    data["features"]["encoders"] = [{"name": "b32", "kind": "open_clip", "model": "ViT-B-32"}]
    config = parse_config(data)
    assert not (config.clip.enabled or config.retrieval.enabled or config.captioner.enabled)


def test_generated_documents_are_up_to_date():
    hint = "run `make docs` and commit what it writes"
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == markdown(), hint
    assert (ROOT / "docs" / "annotations.md").read_text(encoding="utf-8") == annotations_markdown(), hint
    assert (ROOT / "docs" / "config.schema.json").read_text(encoding="utf-8") == json_schema(), hint


def test_every_key_is_documented():
    def undocumented(definition):
        return [
            k
            for k, f in definition["properties"].items()
            if not f.get("description") and "$ref" not in str(f)
        ]

    schema = Config.model_json_schema()
    missing = {name: found for name, d in schema["$defs"].items() if (found := undocumented(d))}
    assert missing == {}
    assert undocumented(schema) == []
