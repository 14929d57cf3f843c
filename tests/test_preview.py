"""The contact sheet: its pictures are those that the plan makes, and its errors help."""

import numpy as np
import pytest
from PIL import Image

from dali_msda import CutMix, Mixup, blend, cli, draw, mask, preview

CLASSES = ("apple", "pear", "quince", "übername einer sehr langen Klasse")


@pytest.fixture
def folder(tmp_path):
    """Two images of each class, of one colour each."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            colour = tuple(int(value) for value in rng.integers(256, size=3))
            Image.new("RGB", (40, 30), colour).save(tmp_path / "data" / name / f"{index}.png")
    return tmp_path / "data"


def run(*arguments):
    return cli.main(["preview", *map(str, arguments)])


def cell(picture, row, column, size):
    """Pixels of a cell, found as a reader of the picture would: by the layout's numbers."""
    top = preview.MARGIN + preview.TITLE_SIZE + preview.TEXT_SIZE + 3 * preview.GAP
    y = top + row * (size[0] + preview.BAR + preview.TEXT_SIZE + 3 * preview.GAP)
    x = preview.MARGIN + column * (size[1] + preview.GAP)
    return np.asarray(picture)[y : y + size[0], x : x + size[1]]


@pytest.mark.parametrize(
    "policy", [CutMix(), Mixup(partner="derangement")], ids=["cutmix", "mixup"]
)
def test_shows_what_the_plan_makes(policy):
    images = np.random.default_rng(0).integers(0, 256, (5, 24, 36, 3), dtype=np.uint8)
    plan = draw(policy, 5, 24, 36, seed=1, step=0)
    picture = preview.draw_sheet(images, ["a", "b", "c", "a", "b"], plan, "title")
    weights, mixed = mask(plan, 24, 36), blend(images, plan)
    for row in range(5):
        own, partner, grey, result = (cell(picture, row, column, (24, 36)) for column in range(4))
        np.testing.assert_array_equal(own, images[row])
        np.testing.assert_array_equal(partner, images[plan["partner"][row]])
        np.testing.assert_array_equal(grey[..., 0], np.rint(weights[row] * 255))
        np.testing.assert_array_equal(result, mixed[row])


def test_bar_is_as_long_as_the_weights(monkeypatch):
    shown = []
    monkeypatch.setattr(preview, "sheet", lambda rows, **_: shown.extend(rows))
    images = np.zeros((3, 8, 8, 3), np.uint8)
    plan = draw(Mixup(partner="roll"), 3, 8, 8, seed=0, step=0, lam=0.25)  # of 0, 1, 2: 2, 0, 1
    preview.draw_sheet(images, ["a", "a", "b"], plan, "title")
    own, partner = preview.SOURCES[:2]
    assert [row[3].text for row in shown] == ["0.25 a   0.75 b", "1.00 a", "0.25 b   0.75 a"]
    assert [row[3].shares for row in shown] == [
        ((0.25, own), (0.75, partner)),
        ((1.0, own),),
        ((0.25, own), (0.75, partner)),
    ]


def test_command(folder, tmp_path, capsys):
    output = tmp_path / "preview.png"
    size = ("--size", "32x48", "--rows", "4")
    assert run(folder, "--policy", "cutmix", "--lam", 0.6, "-o", output, *size) == 0
    assert capsys.readouterr().out == f"{output}: 4 samples of {folder}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "preview.png"]
    picture = Image.open(output)
    shares = []
    for row in range(4):
        own, partner, grey, mixed = (cell(picture, row, column, (32, 48)) for column in range(4))
        pasted = grey[..., 0] == 0
        np.testing.assert_array_equal(mixed[pasted], partner[pasted])
        np.testing.assert_array_equal(mixed[~pasted], own[~pasted])
        shares.append(1 - pasted.mean())
    assert min(shares) >= 0.6 - 0.05  # the box is clipped, so the own share grows only


def test_salient_boxes(folder, tmp_path):
    output = tmp_path / "preview.png"
    size = ("--size", "32x48", "--rows", "4")
    flags = ("--policy", "saliencymix", "--box", "inside", "--lam", 0.75)
    assert run(folder, *flags, "-o", output, *size) == 0
    picture = Image.open(output)
    for row in range(4):
        grey = cell(picture, row, 2, (32, 48))
        assert (grey[..., 0] == 0).sum() == 16 * 24


def test_same_arguments_same_bytes(folder, tmp_path):
    for name in ("a.png", "b.png"):
        assert run(folder, "--policy", "mixup", "--seed", 3, "-o", tmp_path / name) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_takes_one_image_of_each_class_in_turn(folder):
    names = [name for _, name in preview.load(folder, 4, (8, 8), seed=0)]
    assert sorted(names) == sorted(CLASSES)
    assert len(preview.load(folder, 99, (8, 8), seed=0)) == 2 * len(CLASSES)


def test_flat_folder_is_named_by_its_files(folder, tmp_path):
    names = [name for _, name in preview.load(folder / "pear", 4, (8, 8), seed=0)]
    assert sorted(names) == ["0", "1"]


def test_unusual_images(tmp_path, capsys):
    """Everything but the broken file is decoded, and is white."""
    white = Image.new("RGB", (9, 5), "white")
    white.convert("CMYK").save(tmp_path / "cmyk.jpg")
    white.convert("L").save(tmp_path / "grey.jpg")
    white.convert("P").save(tmp_path / "palette.png")
    white.convert("RGBA").save(tmp_path / "alpha.png")
    white.save(tmp_path / "png.JPEG", "PNG")
    Image.fromarray(np.full((5, 9), 65535, np.uint16)).save(tmp_path / "sixteen.png")
    Image.new("RGB", (1, 1), "white").save(tmp_path / "pixel.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    (tmp_path / "README.txt").write_text("not a picture")
    found = preview.load(tmp_path, 99, (6, 7), seed=0)
    assert len(found) == 7
    for image, name in found:
        assert image.shape == (6, 7, 3)
        assert image.min() > 250, name
    assert "passed over" in capsys.readouterr().err


def test_upright(tmp_path):
    image = Image.new("RGB", (20, 10), "black")
    image.paste("white", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: left is up
    image.save(tmp_path / "turned.png", exif=exif)
    ((pixels, _),) = preview.load(tmp_path, 1, (20, 10), seed=0)
    assert pixels[:9].min() == 255
    assert pixels[11:].max() == 0


def test_long_caption_is_cut():
    cells = [[preview.Cell(np.zeros((20, 60), np.uint8), "one very long name " * 5)]]
    picture = np.asarray(preview.sheet(cells, title="t"))
    assert (picture[:, -preview.MARGIN + 2 :] == 255).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--lam", "1.5"], "lam: expected values in [0, 1], got 1.5"),
        (["--alpha", "0"], "alpha: expected"),
        (["--rows", "1"], "rows: expected at least 2, got 1"),
        (["--seed", "-1"], "seed: expected at least 0, got -1"),
        (["--policy", "mixup", "--box", "wrap"], "box: expected none with policy 'mixup'"),
        (["-o", "sheet.txt"], "output: expected a file name that ends in .png"),
        (["-o", "none/sheet.png"], "output: expected a file in an existing folder"),
        (["-o", "taken.png"], "output: expected a file to write, got 'taken.png'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_arguments(folder, tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "taken.png").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run(folder, *arguments) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "taken.png"]


@pytest.mark.parametrize("arguments", [["--size", "224"], ["--size", "0x3"], ["--policy", "nomix"]])
def test_usage(folder, arguments):
    with pytest.raises(SystemExit) as error:
        run(folder, *arguments)
    assert error.value.code == 2


def test_folders_without_images(tmp_path, capsys):
    assert run(tmp_path, "-o", tmp_path / "x.png") == 1
    assert "expected at least 2 images that can be decoded, got 0" in capsys.readouterr().err
    assert run(tmp_path / "missing", "-o", tmp_path / "x.png") == 1
    assert "expected a folder of images" in capsys.readouterr().err
