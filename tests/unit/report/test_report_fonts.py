import base64
import io
import unicodedata

from fontTools.ttLib import TTFont

from workflow_scripts.lib.report import fonts


def subset_of(css):
    data = css.partition("base64,")[2].partition('"')[0]
    return TTFont(io.BytesIO(base64.b64decode(data)))


def test_the_font_has_every_hangul_syllable():
    found = TTFont(fonts.font_file(), lazy=True).getBestCmap()
    assert all(code in found for code in range(0xAC00, 0xD7A4))


def test_the_subset_has_just_the_east_asian_characters_used():
    css = fonts.font_face("A caption: 빨간 원이 움직인다, 红色的圆。 قطة")
    font = subset_of(css)
    assert font.flavor == "woff"
    assert set(map(chr, font.getBestCmap())) == set("빨간원이움직인다红色的圆。")
    assert len(css) < 20_000


def test_decomposed_hangul_also_gets_its_syllables():
    assert "영" in fonts.east_asian(unicodedata.normalize("NFD", "영상"))


def test_no_east_asian_text_no_font():
    assert fonts.font_face("plain text, naïve, Ελληνικά") == ""


def test_characters_beyond_the_font_are_said(capsys):
    fonts.font_face("가\u3fff\U0003134a")
    assert "left to the reader's fonts" in capsys.readouterr().out


def test_matplotlib_gets_a_font_for_korean():
    from matplotlib import font_manager

    families = fonts.plot_families("손실")
    assert font_manager.findfont(families[-1]) == str(fonts.font_file())
    assert fonts.plot_families("loss") == ["DejaVu Sans"]
