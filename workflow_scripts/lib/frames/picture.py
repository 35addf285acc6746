"""Pictures brought to the size of the stored frames, and their bytes."""

import io

from PIL import Image


def fit(image: Image.Image, size: tuple[int, int], how: str, pixel_aspect: float = 1.0) -> Image.Image:
    """The image at `size` (height, width): centre-cropped, stretched or padded with black; antialiased.

    `how` is crop, stretch or pad; `pixel_aspect` is the width of a source pixel over its height.
    """
    height, width = size
    shape = image.width * pixel_aspect / image.height  # as it should look, width over height
    wanted = width / height
    if how == "pad":
        inner = (
            (width, max(1, round(width / shape)))
            if shape > wanted
            else (max(1, round(height * shape)), height)
        )
        canvas = Image.new("RGB", (width, height))
        canvas.paste(_resize(image, inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas
    box = None
    if how == "crop":
        across = image.width * min(1.0, wanted / shape)
        down = image.height * min(1.0, shape / wanted)
        left, top = (image.width - across) / 2, (image.height - down) / 2
        box = (left, top, left + across, top + down)
    return _resize(image, (width, height), box)


def _resize(image: Image.Image, size: tuple[int, int], box: tuple | None = None) -> Image.Image:
    return image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
