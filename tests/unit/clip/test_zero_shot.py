"""Zero-shot classification of pictures in a folder a class."""

import pytest

from tests.unit.clip.colours import COLOURS, class_folders, colour_clip, picture
from workflow_scripts.lib.clip.zero_shot import accuracies, find_pictures, read_classes
from workflow_scripts.lib.config_clip import ZeroShotConfig
from workflow_scripts.lib.errors import UserError


def measured(images, classes, models=None, **more):
    setting = ZeroShotConfig(classes=classes, images=str(images), **more)
    return accuracies(models or [colour_clip()], setting, threads=2)


def test_every_class_is_found_by_a_model_that_knows_it(tmp_path):
    [found] = measured(class_folders(tmp_path), list(COLOURS))
    assert found == {
        "top1": 100, "top5": 100, "mean_class": 100, "pictures": 14, "classes": 7, "chance_top1": 14.2857,
    }  # fmt: skip


def test_classes_that_all_score_the_same_are_not_found(tmp_path):
    seeing, blind = measured(class_folders(tmp_path), list(COLOURS), [colour_clip(), colour_clip(blind=True)])
    assert (seeing["top1"], blind["top1"], blind["top5"]) == (100, 0, 0)


def test_two_classes_have_no_top_5_and_a_class_weighs_as_much_as_another(tmp_path):
    folder = class_folders(tmp_path, classes=("red", "blue"))
    for k in range(6):  # blue pictures among the red ones
        (folder / "red" / f"wrong {k}.png").write_bytes(picture("blue"))
    [found] = measured(folder, ["red", "blue"])
    assert "top5" not in found
    assert (found["top1"], found["mean_class"]) == (
        40,
        62.5,
    )  # 4 of 10; a quarter of the red ones, all blue ones


def test_templates_are_sentences_around_the_name(tmp_path):
    folder = class_folders(tmp_path, classes=("red", "blue"))
    for templates, count, first in (
        (["a {} thing", "{}"], 2, "a red thing"),
        ("simple", 7, "itap of a red."),
        ("openai", 80, "a bad photo of a red."),
    ):
        model = colour_clip()
        measured(folder, ["red", "blue"], [model], templates=templates)
        assert (len(model.model.read), model.model.read[0]) == (2 * count, first)


def test_a_file_of_classes_may_name_folders_that_are_called_otherwise(tmp_path):
    images = tmp_path / "images"
    for folder, name in (("n01", "red"), ("n02", "blue")):
        class_folders(images, classes=(name,))
        (images / name).rename(images / folder)
    file = tmp_path / "classes.txt"
    file.write_text("n01\tred car\nn02\tblue car\n\n", encoding="utf-8")
    [found] = measured(images, str(file))
    assert (found["top1"], found["classes"]) == (100, 2)
    assert read_classes(["빨강", "파랑"]) == [("빨강", "빨강"), ("파랑", "파랑")]


def test_classes_of_one_name_are_told(tmp_path, capsys):
    """ImageNet has two such pairs."""
    file = tmp_path / "classes.txt"
    file.write_text("red\ta red car\ngreen\ta red car\nblue\tblue\n", encoding="utf-8")
    [found] = measured(class_folders(tmp_path, classes=("red", "green", "blue")), str(file))
    assert found["top1"] == 33.3333
    assert "of the same name (a red car) cannot be told apart" in capsys.readouterr().out


def test_pictures_of_subfolders_count_and_other_folders_are_told(tmp_path, capsys):
    folder = class_folders(tmp_path, classes=("red", "blue", "green"))
    (folder / "red/more").mkdir()
    (folder / "red/more/0.PNG").write_bytes(picture("red"))
    (folder / "red/notes.txt").touch()
    assert len(find_pictures(folder, ["red", "blue"])) == 5
    assert "1 folders of no class are left out: green" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["red", "violet"], r"no picture of the class 'violet'.*name the folder as the class is"),
        (["red", "red"], r"'red' is there twice"),
        ("no/such.txt", r"no/such.txt cannot be read"),
        ("one.txt", r"1 classes found; at least two"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, monkeypatch, classes, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.txt").write_text("red\n")
    with pytest.raises(UserError, match=message):
        measured(class_folders(tmp_path / "images"), classes)


def test_a_picture_that_is_none_is_named(tmp_path):
    folder = class_folders(tmp_path, classes=("red", "blue"))
    (folder / "red/broken.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"red/broken\.jpg cannot be decoded.*remove it"):
        measured(folder, ["red", "blue"])


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match=r"clip\.zeroshot\.images: .*/none is no folder"):
        measured(tmp_path / "none", ["red", "blue"])
