"""A model that knows colours: what a CLIP would be at its best, without a training."""

import io
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from workflow_scripts.lib.clip.embed import Clip

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250), "yellow": (250, 250, 0),
           "pink": (250, 0, 250), "cyan": (0, 250, 250), "white": (250, 250, 250)}  # fmt: skip


class ColourModel(torch.nn.Module):
    """Embeddings are colours; a text's is that of the word in it. `blind`: of every word, the same."""

    def __init__(self, blind: bool = False):
        super().__init__()
        self.blind = blind
        self.seen = 0
        self.read: list[str] = []

    def encode_image(self, pixels, normalize):
        self.seen += len(pixels)
        return torch.nn.functional.normalize(pixels.float().mean(dim=(2, 3)) - 60, dim=1)

    def encode_text(self, ids, normalize):
        colours = torch.tensor([list(COLOURS.values())[0 if self.blind else i] for i in ids.tolist()])
        return torch.nn.functional.normalize(colours.float() - 60, dim=1)

    def tokenize(self, texts):
        self.read += texts
        return torch.tensor([next(i for i, word in enumerate(COLOURS) if word in text) for text in texts])


def colour_clip(blind: bool = False) -> Clip:
    model = ColourModel(blind)
    return Clip(model, pil_to_tensor, model.tokenize, torch.device("cpu"))


def picture(colour: str, shade: int = 0) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(max(0, value - shade) for value in COLOURS[colour])).save(data, "PNG")
    return data.getvalue()


def class_folders(folder: Path, count: int = 2, classes=tuple(COLOURS)) -> Path:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for k in range(count):
            (folder / name / f"{k}.png").write_bytes(picture(name, 10 * k))
    return folder
