"""Tokens of captions in the tokenizers of CLIP models."""

import json

import pytest

from benchmarks import clip_tokens


@pytest.fixture(scope="module")
def sentences():
    return clip_tokens.read_table(clip_tokens.HERE / "clip_sentences.tsv")


def test_korean_takes_several_times_the_tokens_and_is_cut(sentences):
    counts = {language: clip_tokens.clip_tokens(texts) for language, texts in sentences.items()}
    assert len(counts["en"]) == len(counts["ko"]) == 32
    assert sum(counts["ko"]) > 2.5 * sum(counts["en"])
    assert max(counts["en"]) <= clip_tokens.CONTEXT < max(counts["ko"])


def test_every_pair_of_sentences_is_in_both_scripts(sentences):
    for english, korean in zip(sentences["en"], sentences["ko"], strict=True):
        assert english.isascii()
        assert any("가" <= letter <= "힣" for letter in korean)


def test_counts_are_those_of_the_text_tower(sentences):
    import open_clip

    texts = sentences["ko"][:10]
    ids = open_clip.get_tokenizer("ViT-B-32")(texts, context_length=100)
    assert clip_tokens.clip_tokens(texts) == (ids != 0).sum(dim=1).tolist()


def test_the_table_and_the_captions_of_ones_own(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.tsv").write_text('en\tko\na "red" car\t빨간 차\nanother\t\n', encoding="utf-8")
    results = tmp_path / "results.json"
    monkeypatch.setattr(
        "sys.argv", ["clip_tokens", "--captions", str(tmp_path / "mine.tsv"), "--results", str(results)]
    )
    clip_tokens.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[3].startswith("| mine.tsv | CLIP's own BPE | ko | 4.0 |")
    assert not results.exists()  # which are of the sentences that everyone has


def test_the_results_are_those_of_the_guide():
    """The guide quotes the file."""
    found = json.loads((clip_tokens.HERE / "results/clip_tokens.json").read_text(encoding="utf-8"))
    guide = (clip_tokens.HERE.parent / "docs/openclip_guide.md").read_text(encoding="utf-8")
    assert clip_tokens.as_table(found) in guide
