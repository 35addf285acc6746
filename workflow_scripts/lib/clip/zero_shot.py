"""Zero-shot classification: pictures in a folder a class, against the classes' names in sentences."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch

from workflow_scripts.lib.clip.embed import Clip, decoded, in_threads
from workflow_scripts.lib.config_clip import ZeroShotConfig
from workflow_scripts.lib.errors import UserError

TEMPLATES = {
    "openai": open_clip.OPENAI_IMAGENET_TEMPLATES,  # 80 of the CLIP paper
    "simple": open_clip.SIMPLE_IMAGENET_TEMPLATES,  # the 7 best of them
}
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


class Labelled(NamedTuple):
    """A picture and the place of its class."""

    path: Path
    label: int


def accuracies(models: list[Clip], setting: ZeroShotConfig, threads: int) -> list[dict[str, float]]:
    """Top-1 accuracy in percent, top-5 where there are more than 5 classes, and the mean over classes, a model.

    The embedding of a class is the mean of its name's unit vectors in all templates (Radford et al., 2021, section 3.1.4).
    A class that scores as high as the right one counts as ahead of it.
    """
    classes = read_classes(setting.classes)
    pictures = find_pictures(Path(setting.images), [folder for folder, _ in classes])
    classifiers = [_classifier(model, [name for _, name in classes], setting.templates) for model in models]
    ahead = [[] for _ in models]

    def load(picture: Labelled) -> tuple[torch.Tensor, int]:
        return models[0].preprocess(decoded(picture.path, str(picture.path))), picture.label

    for batch in in_threads(pictures, load, threads):
        pixels = torch.stack([one for one, _ in batch])
        labels = torch.tensor([label for _, label in batch])
        for model, classifier, found in zip(models, classifiers, ahead, strict=True):
            scores = (model.images(pixels) @ classifier).cpu()
            right = scores.gather(1, labels[:, None])
            found.append((~(scores < right)).sum(dim=1) - 1)  # itself is not behind
    labels = torch.tensor([picture.label for picture in pictures])
    return [_summary(torch.cat(found), labels, len(classes)) for found in ahead]


def read_classes(classes: Sequence[str] | str) -> list[tuple[str, str]]:
    """Folder and name of every class. UserError for a file that cannot be read, or a folder that is there twice."""
    if isinstance(classes, str):
        try:
            lines = Path(classes).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"clip.zeroshot.classes: {classes} cannot be read as text ({error}); give a file with a class a line,"
                " or a list of names"
            ) from None
        classes = [line for line in lines if line.strip()]
    found = []
    for line in classes:
        folder, _, name = line.strip().partition("\t")
        found.append((folder, name.strip() or folder))
    if len(found) < 2:
        raise UserError(f"clip.zeroshot.classes: {len(found)} classes found; at least two are needed")
    folders, names = ([one[k] for one in found] for k in (0, 1))
    if double := _twice(folders):
        raise UserError(f"clip.zeroshot.classes: {double[0]!r} is there twice; each class is its own")
    if double := _twice(names):
        print(
            f"zero-shot: classes of the same name ({', '.join(double)}) cannot be told apart, and are misses",
            flush=True,
        )
    return found


def _twice(values: list[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def find_pictures(folder: Path, classes: list[str]) -> list[Labelled]:
    """The pictures of every class, in the order of their paths; folders that are no class are left out, and told."""
    if not folder.is_dir():
        raise UserError(f"clip.zeroshot.images: {folder} is no folder; give one with a folder a class")
    found = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in ENDINGS)
        if not files:
            raise UserError(
                f"clip.zeroshot: no picture of the class {name!r} in {folder / name} ({', '.join(ENDINGS)});"
                " name the folder as the class is, or give the class as FOLDER<TAB>name in a file"
            )
        found += [Labelled(path, label) for path in files]
    others = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in classes)
    if others := [name for name in others if not name.startswith(".")]:
        print(
            f"zero-shot: {len(others)} folders of no class are left out: {', '.join(others[:10])}", flush=True
        )
    return found


def _classifier(model: Clip, names: list[str], templates: Sequence[str] | str) -> torch.Tensor:
    """[D, classes]."""
    sentences: Sequence[str | Callable] = TEMPLATES[templates] if isinstance(templates, str) else templates
    return open_clip.build_zero_shot_classifier(
        model.model, model.tokenizer, names, list(sentences), device=model.device
    ).float()


def _summary(ahead: torch.Tensor, labels: torch.Tensor, classes: int) -> dict[str, float]:
    right = (ahead == 0).double()
    of_class = [right[labels == label].mean() for label in range(classes)]
    return {
        "top1": _percent(right.mean()),
        **({"top5": _percent((ahead < 5).double().mean())} if classes > 5 else {}),
        "mean_class": _percent(torch.stack(of_class).mean()),
        "pictures": len(labels),
        "classes": classes,
        "chance_top1": round(100 / classes, 4),
    }


def _percent(share: torch.Tensor) -> float:
    return round(100 * float(share), 4)
