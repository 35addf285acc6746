"""Captions generated while a stage trains: scores, a collapse seen, and a stage that stops by them."""

import numpy as np
import pytest
import torch
from peft import PeftModel

from tests.unit.captioner.test_captioner_training import train, weights
from tests.unit.captioner.tiny import config
from workflow_scripts.lib.captioner import validation
from workflow_scripts.lib.captioner.captions_file import Generated
from workflow_scripts.lib.captioner.demo_lm import make_language_model
from workflow_scripts.lib.captioner.generation import moments_of
from workflow_scripts.lib.captioner.loading import new_captioner
from workflow_scripts.lib.captioner.training import train_projector_only
from workflow_scripts.lib.captioner.validation import CaptionCheck, some_moments
from workflow_scripts.lib.config import Stage


def check_of(tiny, count=3) -> CaptionCheck:
    def dataset(moments):
        found = tiny.dataset("val", with_caption=False)
        found.examples = moments
        return found

    examples = tiny.split("val").examples
    return CaptionCheck.of(examples, count, dataset, max_new_tokens=20, batch_size=4, floor=0.5)


def test_moments_are_spread_over_the_split_with_all_their_captions(tiny):
    examples = tiny.split("train").examples
    twice = examples.take(np.repeat(np.arange(len(examples)), 2))
    some = list(some_moments(twice, 3))
    assert len(some) == 3 * 3 * 2  # moments, languages, captions
    assert len(moments_of(some)) == 9
    videos = sorted({example.video for example in some})
    assert videos[0] < 4 and videos[-1] >= 8
    assert [one.key for one in some] == [one.key for one in twice if one in some]


def test_scores_are_in_the_log_and_leave_the_training_as_it_is(tiny, tmp_path):
    models = []
    for check in (None, check_of(tiny)):
        model = tiny.captioner(seed=3)
        stage = Stage(epochs=2, batch_size=8, lr=1e-2)
        log = train(tiny, model, tmp_path / str(check is None), stage, check=check).state.log_history
        models.append(weights(model))
    names = ("eval_loss", "eval_cider", "eval_chrf", "eval_diversity")
    assert sum(all(name in entry for name in names) for entry in log) == 2
    assert all(torch.equal(weight, models[1][name]) for name, weight in models[0].items())


def test_a_model_that_says_one_sentence_is_told_of_in_the_log(tiny, tmp_path, capsys):
    """A language model that never saw a caption, and a projector that has not learned: the same words for all."""
    torch.manual_seed(0)
    deaf = make_language_model(config().demo_language_model, tiny.tokenizer)
    model = new_captioner(deaf, tiny.config.lora, visual_width=8, tokens_per_frame=2, max_frames=3)
    train_projector_only(model)
    for parameter in model.base_model.model.projector.parameters():
        parameter.data.zero_()
    train(tiny, model, tmp_path / "c", stage=Stage(batch_size=8, lr=1e-6), check=check_of(tiny))
    out = capsys.readouterr().out
    assert "WARNING: the captions in en, ko, zh repeat themselves: fewer than 0.5" in out


def test_captions_are_scored_by_the_moments_that_they_are_of(tiny, monkeypatch, capsys):
    """With the references for captions, all is right; with one English sentence, English alone has collapsed."""

    def say(english):
        def generate(model, dataset, *arguments, **options):
            examples = [dataset.dataset.examples[index] for index in dataset.indices]
            texts = [english(one.text) if one.language == "en" else one.text for one in examples]
            return iter([Generated(text, cut=False) for text in texts])

        monkeypatch.setattr(validation, "generate", generate)
        return check_of(tiny)(tiny.captioner())

    scores = say(lambda text: text)
    assert scores["chrf"] == pytest.approx(100) and scores["diversity"] == scores["reference_diversity"]
    assert not capsys.readouterr().out
    assert say(lambda text: "the red one")["diversity"] < scores["diversity"]
    assert "WARNING: the captions in en repeat themselves" in capsys.readouterr().out


class Falling(CaptionCheck):
    """Scores that are best at the second validation."""

    scores = (10.0, 20.0, 19.0, 20.00001, 5.0, 30.0)

    def __call__(self, model, rank=0, world=1):
        self.asked = getattr(self, "asked", 0) + 1
        self.seen = [*getattr(self, "seen", []), weights(model)]
        return {"cider": self.scores[self.asked - 1]}


def falling(tiny) -> Falling:
    return Falling(None, None, 0, 0, 0.5)


def test_a_stage_stops_by_a_caption_metric_and_keeps_its_best_model(tiny, tmp_path):
    stage = Stage(epochs=6, batch_size=8, lr=1e-2, metric="cider", patience=2, threshold=0.1)
    check, model = falling(tiny), tiny.captioner(seed=3)
    trainer = train(tiny, model, tmp_path / "c", stage=stage, check=check)
    assert check.asked == 4  # 20.00001 is no better by the threshold
    assert trainer.state.global_step == 4 * 5
    kept = weights(model)
    assert all(
        torch.equal(kept[name], weight) for name, weight in check.seen[3].items()
    )  # yet it is the best
    again = train(tiny, tiny.captioner(seed=3), tmp_path / "c", stage=stage, check=falling(tiny))
    assert again.state.global_step == 4 * 5  # what was stopped is not taken up again
    assert all(torch.equal(kept[name], weight) for name, weight in weights(again.model).items())


def test_the_best_weights_are_read_on_the_device_of_the_process(tiny, tmp_path, monkeypatch):
    """Where nobody says which, PEFT takes the first GPU, for every process."""
    devices, load = [], PeftModel.load_adapter

    def load_adapter(model, *args, torch_device=None, **kwargs):
        devices.append(torch_device)
        return load(model, *args, torch_device=torch_device, **kwargs)

    monkeypatch.setattr(PeftModel, "load_adapter", load_adapter)
    stage = Stage(epochs=2, batch_size=8, lr=1e-2, metric="cider", patience=0)
    for _ in range(2):  # the second one goes on from the last checkpoint, too
        train(tiny, tiny.captioner(seed=3), tmp_path / "c", stage=stage, check=falling(tiny))
    assert devices == ["cpu"] * 3


def test_patience_lasts_over_a_kill(tiny, tmp_path):
    stage = Stage(epochs=6, batch_size=8, lr=1e-2, metric="cider", patience=2, threshold=0.1)

    class KilledAtTheFourth(Falling):
        def __call__(self, model, rank=0, world=1):
            found = super().__call__(model)
            if self.asked == 4:
                raise KeyboardInterrupt
            return found

    with pytest.raises(KeyboardInterrupt):
        train(
            tiny,
            tiny.captioner(seed=3),
            tmp_path / "c",
            stage=stage,
            check=KilledAtTheFourth(None, None, 0, 0, 0.5),
        )
    check = falling(tiny)
    check.asked = 3
    assert (
        train(tiny, tiny.captioner(seed=3), tmp_path / "c", stage=stage, check=check).state.global_step == 20
    )
    assert check.asked == 4
