"""The model: causal, filled with visual tokens, and with the loss that the paper means."""

from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from workflow_scripts.lib.captioner.loading import load_captioner, save_captioner
from workflow_scripts.lib.captioner.model import (
    IGNORE,
    CaptionerForConditionalGeneration,
    CaptionerModelConfig,
    caption_loss,
)
from workflow_scripts.lib.errors import UserError


@pytest.fixture(scope="module")
def captioner(tiny) -> PeftModel:
    return tiny.captioner().eval()


@pytest.fixture(scope="module")
def batch(tiny) -> dict[str, torch.Tensor]:
    dataset = tiny.dataset("train")
    return tiny.collator([dataset[index] for index in range(5)])


def without_labels(batch):
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


@torch.no_grad()
def test_a_later_token_changes_no_earlier_logit(captioner, batch):
    inputs = without_labels(batch)
    before = captioner(**inputs).logits
    changed = inputs["input_ids"].clone()
    last = int(inputs["attention_mask"][0].sum()) - 1
    changed[0, last] = (changed[0, last] + 1) % 50
    after = captioner(**{**inputs, "input_ids": changed}).logits
    assert torch.equal(before[0, :last], after[0, :last])
    assert not torch.equal(before[0, last], after[0, last])


@torch.no_grad()
def test_every_visual_token_and_the_order_of_frames_reach_the_logits(captioner, batch):
    inputs = without_labels(batch)
    before = captioner(**inputs).logits[:, -1]
    for frame in range(inputs["visual"].shape[1]):
        changed = inputs["visual"].clone()
        changed[:, frame, 0] += torch.randn(changed.shape[-1])
        after = captioner(**{**inputs, "visual": changed}).logits[:, -1]
        assert (before - after).abs().max() > 1e-6
    backwards = captioner(**{**inputs, "visual": inputs["visual"].flip(1)}).logits[:, -1]
    assert (before - backwards).abs().max() > 1e-6


def test_places_and_visual_tokens_must_be_as_many(captioner, batch):
    inputs = without_labels(batch)
    with pytest.raises(ValueError, match="places"):
        captioner(**{**inputs, "frames": inputs["frames"] - 1})


@torch.no_grad()
def test_a_moment_with_fewer_frames_is_the_same_beside_a_longer_one(tiny, captioner):
    dataset = tiny.dataset("train")
    first, second = dataset.examples[0], dataset.examples[1]
    dataset.examples = [replace(first, frames=(1, 4)), second]
    alone, beside = tiny.collator([dataset[0]]), tiny.collator([dataset[0], dataset[1]])
    assert beside["visual"].shape[1] > alone["visual"].shape[1] == 2
    one = captioner(**without_labels(alone)).logits[0]
    two = captioner(**without_labels(beside)).logits[0, : len(one)]
    assert torch.allclose(one, two, atol=1e-5)


def by_hand(logits, labels, smoothing):
    """(1 - s) * NLL of the next token + s * mean NLL over the vocabulary, over all labels but the first place's."""
    losses = []
    for row in range(labels.shape[0]):
        for place in range(labels.shape[1] - 1):
            if labels[row, place + 1] != IGNORE:
                nll = -logits[row, place].log_softmax(-1)
                losses.append((1 - smoothing) * nll[labels[row, place + 1]] + smoothing * nll.mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_on_shifted_labels_and_smoothed_in_training_only(tiny, batch, smoothing):
    captioner = tiny.captioner().eval()
    captioner.base_model.model.config.label_smoothing = smoothing
    with torch.no_grad():
        logits = captioner(**without_labels(batch)).logits
        assert captioner(**batch).loss.item() == pytest.approx(
            by_hand(logits, batch["labels"], 0).item(), rel=1e-5
        )
        for module in captioner.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        captioner.train()
        expected = by_hand(logits, batch["labels"], smoothing).item()
        assert captioner(**batch).loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_batch_that_only_fills_up_costs_no_logits(captioner, batch):
    nothing = {**batch, "labels": torch.full_like(batch["labels"], IGNORE)}
    output = captioner(**nothing, num_items_in_batch=5)
    assert output.logits.shape[1] <= 2
    assert output.loss.item() == 0
    output.loss.backward()  # every process of several has gradients to share
    trained = [value for value in captioner.parameters() if value.requires_grad]
    assert all(value.grad is not None and not value.grad.any() for value in trained)


def test_accumulated_losses_add_up(captioner, batch):
    labels = int((batch["labels"] != IGNORE).sum())
    with torch.no_grad():
        whole = captioner(**batch).loss
        halves = [
            captioner(
                **{name: tensor[rows] for name, tensor in batch.items()}, num_items_in_batch=labels
            ).loss
            for rows in (slice(0, 2), slice(2, 5))
        ]
    assert sum(halves).item() == pytest.approx(whole.item(), rel=1e-5)


def test_prompts_visual_tokens_and_padding_are_not_to_be_predicted(tiny, captioner):
    """A padded batch has the loss of each caption alone; and what the labels do not ask for counts nothing."""
    dataset = tiny.dataset("train")
    items = [dataset[index] for index in (0, 1, 5)]
    assert len({len(item["input_ids"]) for item in items}) > 1
    with torch.no_grad():
        alone = [captioner(**tiny.collator([item]), num_items_in_batch=1).loss for item in items]
        counts = [sum(label != IGNORE for label in item["labels"]) for item in items]
        batch = tiny.collator(items)
        whole = captioner(**batch).loss.item()
        assert whole == pytest.approx(sum(alone).item() / sum(counts), rel=1e-5)
        for left_out in ("prompt", "padding"):  # a usual mistake: labels are a copy of the ids
            wrong = batch["labels"].clone()
            real = batch["attention_mask"].bool()
            asked = (wrong == IGNORE) & (real & (batch["input_ids"] < 50) if left_out == "prompt" else ~real)
            wrong[asked] = batch["input_ids"][asked]
            assert asked.any() and captioner(**batch | {"labels": wrong}).loss.item() != pytest.approx(
                whole, rel=1e-3
            )


def test_loss_without_labels_in_a_row_is_the_other_rows():
    logits, labels = torch.randn(2, 4, 7), torch.tensor([[IGNORE, IGNORE, 1, 2], [IGNORE] * 4])
    assert caption_loss(logits, labels, 0.0).item() == pytest.approx(
        by_hand(logits, labels, 0.0).item(), rel=1e-5
    )


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_a_saved_captioner_answers_the_same(tiny, batch, tmp_path, quantization):
    captioner = tiny.captioner(quantization, seed=1).eval()
    for name, parameter in captioner.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_captioner(captioner, tmp_path)
    again = load_captioner(tmp_path, tiny.language_model(quantization)).eval()
    with torch.no_grad():
        assert torch.equal(captioner(**batch).logits, again(**batch).logits)
    saved = sum(file.stat().st_size for file in tmp_path.iterdir())
    trained = sum(
        p.numel() * 4 for n, p in captioner.named_parameters() if "lora_" in n or "modules_to_save" in n
    )
    assert saved < trained + 30_000  # the language model is not among it


def test_nf4_holds_the_language_model_in_four_bits(tiny):
    captioner = tiny.captioner("nf4").base_model.model
    kinds = {name.rpartition(".")[2]: type(module).__name__ for name, module in captioner.named_modules()}
    assert kinds["base_layer"] == kinds["gate_proj"] == "Linear4bit"
    assert captioner.projector.original_module.enter.weight.dtype == torch.float32


def test_four_bits_learn_the_same_after_a_validation(tiny, batch, monkeypatch):
    monkeypatch.setattr(
        "bitsandbytes.nn.modules.has_avx512bf16", lambda: True
    )  # also where the processor lacks it
    captioner = tiny.captioner("nf4")

    def gradients():
        captioner.train().zero_grad()
        torch.manual_seed(0)
        captioner(**batch).loss.backward()
        return {name: p.grad.clone() for name, p in captioner.named_parameters() if p.grad is not None}

    before = gradients()
    with torch.no_grad():
        captioner.eval()(**batch)
    after = gradients()
    assert any("lora_B" in name and grad.any() for name, grad in before.items())
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], grad) for name, grad in before.items())


@torch.no_grad()
def test_a_whole_captioner_is_a_hugging_face_folder(tiny, batch, tmp_path):
    captioner = tiny.captioner().merge_and_unload().eval()
    captioner.save_pretrained(tmp_path)
    again = CaptionerForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert torch.equal(captioner(**batch).logits, again(**batch).logits)


def test_the_config_keeps_its_own_copy_of_the_language_models(tiny):
    text_config = tiny.language_model().config
    assert CaptionerModelConfig(text_config).text_config is not text_config


def test_another_language_model_is_refused(tiny, tmp_path):
    save_captioner(tiny.captioner(), tmp_path)
    other = tiny.language_model()
    other.config.hidden_size = 64
    with pytest.raises(UserError, match="width 32"):
        load_captioner(tmp_path, other)
    with pytest.raises(UserError, match="no captioner here"):
        load_captioner(tmp_path / "nothing", tiny.language_model())
