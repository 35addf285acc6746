"""Readable Korean and Chinese where no such font is installed: Noto Sans CJK, as `mplfonts` ships it."""

import base64
import importlib.util
import io
import re
import unicodedata
from functools import cache
from pathlib import Path

from fontTools import subset

FAMILY = "Vidloom CJK"
# Hangul jamo; everything from the CJK radicals to the Hangul syllables; compatibility ideographs; vertical,
# half and full width forms; the ideographs beyond the basic plane. Other scripts are left to the reader's fonts.
EAST_ASIAN = re.compile(
    "[\u1100-\u11ff\u2e80-\ua4cf\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)


@cache
def font_file() -> Path:
    """NotoSansCJKsc-Regular.otf; all 11,172 Hangul syllables are in it."""
    # find_spec, since importing mplfonts loads pyplot.
    package = Path(importlib.util.find_spec("mplfonts").origin).parent
    return package / "fonts" / "NotoSansCJKsc-Regular.otf"


def east_asian(text: str) -> str:
    """The different East Asian characters of `text`, sorted; decomposed Hangul also as the syllables it makes."""
    return "".join(
        sorted(set(EAST_ASIAN.findall(text)) | set(EAST_ASIAN.findall(unicodedata.normalize("NFC", text))))
    )


def font_face(text: str) -> str:
    """A CSS @font-face rule with just the East Asian characters of `text`; empty when there are none.

    WOFF, compressed with zlib: every browser reads it, and no other package is needed. About 130 bytes a
    character. Characters that the font does not have are left to the reader's own fonts.
    """
    characters = east_asian(text)
    if not characters:
        return ""
    options = subset.Options(flavor="woff", desubroutinize=True, notdef_outline=True)
    font = subset.load_font(str(font_file()), options)
    missing = [character for character in characters if ord(character) not in font.getBestCmap()]
    if missing:
        print(f"not in {font_file().name}, left to the reader's fonts: {''.join(missing)}", flush=True)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=characters)
    subsetter.subset(font)
    data = io.BytesIO()
    subset.save_font(font, data, options)
    url = "data:font/woff;base64," + base64.b64encode(data.getvalue()).decode()
    return f'@font-face {{ font-family: "{FAMILY}"; src: url("{url}") format("woff"); }}'


def plot_families(text: str) -> list[str]:
    """Font families for matplotlib to draw `text` with; the large font is loaded only when it is needed."""
    if not east_asian(text):
        return ["DejaVu Sans"]
    from matplotlib import font_manager

    font_manager.fontManager.addfont(str(font_file()))
    return ["DejaVu Sans", font_manager.FontProperties(fname=str(font_file())).get_name()]
