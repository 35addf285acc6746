"""Captions that are generated while a stage trains, and what they say about it."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate.utils import gather_object
from peft import PeftModel

from workflow_scripts.lib.captioner.data import CaptionDataset
from workflow_scripts.lib.captioner.examples import Examples
from workflow_scripts.lib.captioner.generation import generate, moments_of, row
from workflow_scripts.lib.captioner.metrics import validation_scores, warn_of_collapse
from workflow_scripts.lib.config import Generation
from workflow_scripts.lib.frames.sampling import spread


def some_moments(examples: Examples, count: int) -> Examples:
    """All captions of `count` moments a language, spread evenly over the split."""
    moments, (names, codes) = examples.moments(), examples.languages()
    chosen = [spread(_in_order(moments[codes == code]), count) for code in range(len(names))]
    return examples.take(np.flatnonzero(np.isin(moments, np.concatenate(chosen or [[]]))))


def _in_order(moments: np.ndarray) -> np.ndarray:
    """Each moment once, in the order of the corpus."""
    return moments[np.sort(np.unique(moments, return_index=True)[1])]


@dataclass
class CaptionCheck:
    """Captions of a few moments, `dataset` being those without their captions; greedy, without dropout.

    Under torchrun, every process captions its share of the moments, and all of them know the scores.
    """

    examples: Examples
    dataset: CaptionDataset
    max_new_tokens: int
    batch_size: int
    floor: float

    @classmethod
    def of(cls, examples: Examples, count: int, make_dataset, **options) -> "CaptionCheck":
        """Of `count` moments a language of the split; `make_dataset` makes a dataset without captions of examples."""
        some = some_moments(examples, count)
        return cls(some, make_dataset(moments_of(some)), **options)

    def __call__(self, model: PeftModel, rank: int = 0, world: int = 1) -> dict[str, float]:
        """Scores by name, without the prefix. A warning is printed when a language's captions repeat themselves."""
        moments = self.dataset.examples
        own = range(rank, len(moments), world)
        device = next(model.parameters()).device
        training = model.training
        captions = generate(
            model,
            torch.utils.data.Subset(self.dataset, own),
            self.dataset.tokenizer,
            Generation(batch_size=self.batch_size),
            device,
            max_new_tokens=self.max_new_tokens,
            seed=0,
        )
        said = gather_object(
            [(moments[index].moment, made) for index, made in zip(own, captions, strict=True)]
        )
        model.train(training)
        generated = dict(said)
        rows = [row(example, generated) for example in self.examples]
        scores, collapsed = validation_scores(rows, self.floor)
        warn_of_collapse(collapsed, self.floor)
        return scores
