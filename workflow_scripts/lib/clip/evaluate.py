"""What a CLIP model can do before and after its training."""

from collections.abc import Iterable
from typing import Any

from workflow_scripts.lib.clip.embed import Clip, embed
from workflow_scripts.lib.clip.held_out import Example
from workflow_scripts.lib.clip.recall import by_language
from workflow_scripts.lib.clip.zero_shot import accuracies
from workflow_scripts.lib.config_clip import ZeroShotConfig


def before_and_after(
    before: Clip,
    after: Clip,
    examples: Iterable[Example],
    zero_shot: ZeroShotConfig | None,
    threads: int,
) -> dict[str, Any]:
    """`before` and `test` (after): recalls by language; `zero_shot`: accuracies `before` and `after`, where asked for.

    All in percent. Without examples, `before` and `test` are empty.
    """
    models = [before, after]
    found: dict[str, Any] = {"before": {}, "test": {}}
    if pairs := embed(models, examples, threads):
        for name, images, texts in zip(found, pairs.images, pairs.texts, strict=True):
            found[name] = by_language(images, texts, pairs.image, pairs.text, pairs.languages, after.device)
    if zero_shot:
        found["zero_shot"] = dict(
            zip(("before", "after"), accuracies(models, zero_shot, threads), strict=True)
        )
    return found
