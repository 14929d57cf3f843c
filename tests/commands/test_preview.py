"""The contact sheet: its pictures are those that the plan makes, and its errors help."""

import os

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from dali_msda import CutMix, FMix, Mixup, MultiMix, blend, draw, mask, targets
from dali_msda.commands import cli, pictures, preview, sheets
from dali_msda.policy import POLICIES

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


@pytest.fixture
def shown(monkeypatch):
    """Rows and title of the sheet that is drawn."""
    drawn = {}

    def recorded(rows, *, title):
        drawn.update(rows=rows, title=title)
        return sheets.sheet(rows, title=title)

    monkeypatch.setattr(preview, "sheet", recorded)
    return drawn


def cell(picture, rows, row, column):
    """Pixels of a cell."""
    x, y = sheets.corners(rows)[0][row][column]
    height, width = rows[0][0].image.shape[:2]
    return np.asarray(picture)[y : y + height, x : x + width]


def assert_drawn(picture, rows):
    """Every cell is where it belongs, and nothing is written over it or beyond the margin."""
    picture = np.asarray(picture)
    for row, cells in enumerate(rows):
        for column, one in enumerate(cells):
            if one is not None:
                image = one.image if one.image.ndim == 3 else one.image[..., None]
                found = cell(picture, rows, row, column)
                np.testing.assert_array_equal(found, np.broadcast_to(image, found.shape))
    margin = sheets.MARGIN - 2
    assert (picture[:, -margin:] == 255).all() and (picture[:, :margin] == 255).all()


@pytest.mark.parametrize(
    "policy", [CutMix(), Mixup(partner="derangement")], ids=["cutmix", "mixup"]
)
def test_shows_what_the_plan_makes(policy, shown):
    images = np.random.default_rng(0).integers(0, 256, (5, 24, 36, 3), dtype=np.uint8)
    plan = draw(policy, 5, 24, 36, seed=1, step=0)
    picture = preview.draw_sheet(images, ["a", "b", "c", "a", "b"], plan, "title")
    assert_drawn(picture, shown["rows"])
    weights, mixed = mask(plan, 24, 36), blend(images, plan)
    for row in range(5):
        own, partner, grey, result = (one.image for one in shown["rows"][row])
        np.testing.assert_array_equal(own, images[row])
        np.testing.assert_array_equal(partner, images[plan["partner"][row]])
        np.testing.assert_array_equal(grey, np.rint(weights[row] * 255))
        np.testing.assert_array_equal(result, mixed[row])
    assert [one.head for one in shown["rows"][0]] == ["own", "partner", "own weight", "mixed"]


def test_interpolations_stand_in_columns(shown):
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 36, 3), dtype=np.uint8)
    names = ["a", "b", "c"]
    plan = draw(MultiMix(FMix(partner="roll"), 4), 3, 24, 36, seed=1, step=0)
    assert_drawn(preview.draw_sheet(images, names, plan, "title"), shown["rows"])
    weights, mixed = mask(plan, 24, 36), blend(images, plan)
    labels = targets(np.arange(3), plan, num_classes=3)
    for slot in range(3):
        above, below = shown["rows"][2 * slot : 2 * slot + 2]
        np.testing.assert_array_equal(above[0].image, images[slot])
        np.testing.assert_array_equal(below[0].image, images[slot - 1])
        for k in range(4):
            own, partner = labels[slot, k, slot], labels[slot, k, slot - 1]
            np.testing.assert_array_equal(above[1 + k].image, np.rint(weights[slot, k] * 255))
            np.testing.assert_array_equal(below[1 + k].image, mixed[slot, k])
            assert above[1 + k].head == f"lam {plan['lam'][slot, k]:.2f}"
            assert above[1 + k].text == f"mean {weights[slot, k].mean():.3f}"
            assert below[1 + k].text == f"{own:.2f} {names[slot]}   {partner:.2f} {names[slot - 1]}"
            assert [share for share, _ in below[1 + k].shares] == [own, partner]


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


def test_command(folder, tmp_path, capsys, shown):
    output = tmp_path / "preview.png"
    size = ("--size", "32x48", "--rows", "4")
    assert run(folder, "--policy", "cutmix", "--lam", 0.6, "-o", output, *size) == 0
    assert capsys.readouterr().out == f"{output}: 4 samples of {folder}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "preview.png"]
    assert shown["title"] == "cutmix: lam 0.6, alpha 1, box clip, seed 0"
    rows = shown["rows"]
    assert_drawn(Image.open(output), rows)
    for own, partner, grey, mixed in rows:
        pasted = grey.image == 0
        np.testing.assert_array_equal(mixed.image[pasted], partner.image[pasted])
        np.testing.assert_array_equal(mixed.image[~pasted], own.image[~pasted])
        assert 1 - pasted.mean() >= 0.6 - 0.05  # the box is clipped, so the own share grows only


@pytest.mark.parametrize("name", preview.KINDS)
def test_every_method(folder, tmp_path, shown, name):
    output = tmp_path / "preview.png"
    assert run(folder, "--policy", name, "--size", "40x48", "--rows", 4, "-o", output) == 0
    assert_drawn(Image.open(output), shown["rows"])
    assert shown["title"].startswith(f"{name}: ") and shown["title"].endswith(", seed 0")
    for own, partner, grey, mixed in shown["rows"]:
        share = grey.image[..., None] / 255
        weight = mixed.shares[0][0]
        if name == "cutout":
            assert partner is None and weight == 1 and 0 < share.mean() < 1
        if name != "resizemix":  # whose partner is shrunk
            other = 0 if partner is None else partner.image
            expected = share * own.image + (1 - share) * other
            assert np.abs(expected - mixed.image).max() <= 1.5  # of the grey's and its own rounding
        if name == "lamix":
            np.testing.assert_array_equal(grey.image, 128)
        elif name != "cutout":
            assert weight == pytest.approx(share.mean(), abs=0.003)
        assert sum(share for share, _ in mixed.shares) == pytest.approx(1)


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"cutout"}))
def test_every_method_interpolated(folder, tmp_path, shown, name):
    output = tmp_path / "preview.png"
    options = ("--policy", name, "--multimix", 3, "--size", "20x24", "--rows", 3)
    assert run(folder, *options, "-o", output) == 0
    assert_drawn(Image.open(output), shown["rows"])
    assert shown["title"].startswith(f"{name}, 3 interpolations: lam drawn")
    assert [len(row) for row in shown["rows"]] == [4] * 6


def test_all_methods(folder, tmp_path, shown, capsys):
    files = [folder / "apple/0.png", folder / "pear/1.png"]
    output = tmp_path / "all.png"
    assert run(*files, "--all", "--size", "60x90", "-o", output) == 0
    assert f"{len(preview.KINDS)} methods of" in capsys.readouterr().out
    rows = shown["rows"]
    assert_drawn(Image.open(output), rows)
    own, partner = rows[0][0].image, rows[1][0].image
    for path, image in zip(files, (own, partner), strict=True):
        np.testing.assert_array_equal(
            image, np.broadcast_to(Image.open(path).getpixel((0, 0)), image.shape)
        )
    bands = [*zip(rows[::2], rows[1::2], strict=True)]
    singles = [pair for band in bands[:-2] for pair in zip(*band, strict=True) if pair[0]][1:]
    names = [kind.__name__ for kind in preview.KINDS.values()]
    assert [above.head for above, _ in singles] == names
    for name, (above, below) in zip(names, singles, strict=True):
        share, mean = above.image[..., None] / 255, float(above.text.removeprefix("mean "))
        assert share.mean() == pytest.approx(mean, abs=0.003)
        other = 0 if name == "Cutout" else partner  # of one colour, so that shrinking it is nothing
        assert np.abs(share * own + (1 - share) * other - below.image).max() <= 1.5
        if name in ("Mixup", "FMix", "HMix", "LaMix"):
            assert below.text == "0.60 0   0.40 1"
        if name == "Cutout":
            assert below.text == "1.00 0" and mean < 1
    for (above, below), name in zip(bands[-2:], ("CutMix", "FMix"), strict=True):
        assert above[0].head.startswith(f"MultiMix({name}(), k=5)")
        weights = np.stack([one.image for one in above]).astype(int)
        assert (np.diff(weights, axis=0) <= 0).all() and (weights[0] > weights[-1]).any()
        for one, mixed in zip(weights, below, strict=True):
            np.testing.assert_array_equal(mixed.image, np.where(one[..., None] > 0, own, partner))
            assert mixed.shares[0][0] == pytest.approx(one.mean() / 255, abs=1e-6)


def test_files_are_taken_as_named(folder, tmp_path, shown):
    files = [folder / name / "0.png" for name in CLASSES[:3]]
    assert run(*files, "--size", "8x8", "-o", tmp_path / "x.png") == 0
    assert [row[0].text for row in shown["rows"]] == ["0", "0", "0"]
    colours = [tuple(row[0].image[0, 0]) for row in shown["rows"]]
    assert colours == [Image.open(path).getpixel((0, 0)) for path in files]
    assert run(*files, "--size", "8x8", "--rows", 2, "-o", tmp_path / "x.png") == 0
    assert len(shown["rows"]) == 2


def test_salient_boxes(folder, tmp_path, shown):
    output = tmp_path / "preview.png"
    size = ("--size", "32x48", "--rows", "4")
    flags = ("--policy", "saliencymix", "--box", "inside", "--lam", 0.75)
    assert run(folder, *flags, "-o", output, *size) == 0
    assert_drawn(Image.open(output), shown["rows"])
    assert [(row[2].image == 0).sum() for row in shown["rows"]] == [16 * 24] * 4


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


def test_long_texts_are_cut():
    dark, long = np.zeros((20, 60), np.uint8), "one very long name " * 5
    rows = [[preview.Cell(dark, long, head=long), preview.Cell(dark, head="next")], [None, None]]
    picture = sheets.sheet(rows, title="t")
    assert_drawn(picture, rows)
    (x, _), (right, _) = sheets.corners(rows)[0][0]
    gap = np.asarray(picture)[:, x + 60 + 1 : right - 1]
    assert (gap == 255).all()  # neither the heading nor the caption runs into the next cell


def test_headings_run_on_over_cells_without():
    dark = np.zeros((20, 60), np.uint8)
    rows = [[preview.Cell(dark, head="a heading of more than 60"), preview.Cell(dark)]]
    (_, y), (right, _) = sheets.corners(rows)[0][0]
    picture = np.asarray(sheets.sheet(rows, title="t"))
    assert (picture[y - 20 : y - 2, right:] < 128).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--lam", "1.5"], "lam: expected values in [0, 1], got 1.5"),
        (["--alpha", "0"], "alpha: expected"),
        (["--rows", "1"], "rows: expected at least 2, got 1"),
        (["--seed", "-1"], "seed: expected 0 <= seed < 2**64, got -1"),
        (["--policy", "puzzlemix", "--size", "34x51"], "size: expected height and width that a"),
        (["--policy", "mixup", "--box", "wrap"], "box: expected none with policy 'mixup'"),
        (["--policy", "lamix", "--alpha", "1"], "alpha: expected none with policy 'lamix'"),
        (["--policy", "lamix", "--multimix", "5"], "multimix: expected none with policy 'lamix'"),
        (["--policy", "cutout", "--multimix", "5"], "policy: expected methods that mix two"),
        (["--multimix", "1"], "multimix: expected 2 to 64 interpolations, got 1"),
        (["--all", "--policy", "mixup"], "policy: expected none with --all, which shows every"),
        (["--all", "--multimix", "5"], "multimix: expected none with --all"),
        (["--all", "--rows", "3"], "rows: expected none with --all"),
        (["--all", "--lam", "-1"], "lam: expected values in [0, 1], got -1"),
        (["data/pear/0.png"], "images: expected one folder or image files, got"),
        (["a.png", "b.png", "--all"], "images: expected two files with --all, got 3"),
        (["--seed", str(2**64)], "seed: expected 0 <= seed < 2**64, got"),
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


def test_no_other_program_is_started(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript, whatever the name of the file."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    Image.new("RGB", (30, 20)).save(tmp_path / "x.jpg", "EPS")
    with pytest.raises(UnidentifiedImageError):
        pictures.decode(tmp_path / "x.jpg", (16, 16))
    assert not (tmp_path / "started").exists()
