"""The command: whole reports against NumPy over the model's own logits, and what it refuses."""

import csv
import json
import re
import shutil

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dali_msda.pipelines import evaluate
from dali_msda.pipelines.data import decoding
from dali_msda.pipelines.training.config import Config
from dali_msda.pipelines.training.learner import Learner
from dali_msda.pipelines.training.models import make_model
from dali_msda.pipelines.training.processes import Process
from dali_msda.pipelines.training.resuming import settings
from tests.evaluation.numpy_measures import wanted
from tests.support.coloured_folders import write_folder

MODEL, SIZE, RESIZE, NAMES = "timm:test_resnet", 96, 108, [f"class{k}" for k in range(4)]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
MEASURES = ("images", "top1", "top5", "loss", "ece")


def write_pictures(folder, count):
    """PNGs of smooth noise, each other than all others."""
    folder.mkdir(parents=True)
    for number in range(count):
        rng = np.random.default_rng([number, *folder.name.encode()])
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        small.resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{number:02d}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images, some of their classes in a folder of their own, a list, boxes and checkpoints."""
    root = tmp_path_factory.mktemp("evaluate")
    write_folder(root / "train", (1,) * 4)
    for name, count in zip(NAMES, (3, 2, 4, 3), strict=True):
        write_pictures(root / "val" / name, count)
    for name in ("class1", "class3"):
        shutil.copytree(root / "val" / name, root / "some" / name)
    shutil.copytree(root / "val/class2", root / "flat")
    lines = [f"{number:02d}.png {label}" for number, label in enumerate((0, 2, 2, 3))]
    (root / "list.txt").write_text("\n".join(lines))
    files = sorted(file.relative_to(root / "val") for file in root.glob("val/*/*.png"))
    rows = [f"{file},{4 + k},{3 + k},{24 + k},{30 + k}" for k, file in enumerate(files)]
    (root / "boxes.csv").write_text("\n".join(["path,x0,y0,x1,y1", *rows]))
    config = Config(
        data="x", model=MODEL, size=SIZE, val_resize=RESIZE, ema=0.5, device="cpu", lr=1.0,
        warmup_epochs=0.0,
    )  # fmt: skip
    learner = Learner(config, Process(0, 1, 0, 1, torch.device("cpu")), 4)
    for number in (1, 2):
        learner.step(number, 0.5, torch.rand(4, 3, SIZE, SIZE), [torch.arange(4)])
    state = {"config": settings(config, 1), "step": 2, "ranks": [{}]}
    state |= learner.optimisation.state_dict()
    for key in ("model", "model_ema"):  # turned so that the answers differ
        weights = state[key]
        weights["fc.weight"] = 10 * weights["fc.weight"]
        mean = logits_of(weights, files_of(root / "val", NAMES)[0]).mean(0)
        weights["fc.bias"] = weights["fc.bias"] - torch.from_numpy(mean)
    torch.save(state, root / "checkpoint.pt")
    plain = {f"module.{name}": value for name, value in state["model"].items()}
    torch.save(plain, root / "plain.pt")
    data = bytearray((root / "checkpoint.pt").read_bytes())
    data[len(data) // 2] ^= 1
    (root / "damaged.pt").write_bytes(data)
    shutil.copytree(root / "val/class0", root / "strange/other")
    return root


def report_of(place, out, *more, checkpoint="checkpoint.pt", loader="torch"):
    arguments = [place / checkpoint, "--data", place, "--out", out, "--device", "cpu"]
    arguments += ["--loader", loader, "--threads", 1, *more]
    assert evaluate.main([str(one) for one in arguments]) == 0
    return json.loads((out / "evaluation.json").read_text())


def crops_of(files):
    """Pixels in [0, 1], ``(N, H, W, 3)``."""
    return np.stack([decoding.central_crop(Image.open(x), RESIZE, SIZE) for x in files]) / 255


def model_of(state):
    model = make_model(MODEL, 4)
    model.load_state_dict(state)
    return model.eval()


def normalised(crops):
    images = ((crops - MEAN) / STD).transpose(0, 3, 1, 2)
    return torch.from_numpy(images.astype(np.float32))


def logits_of(state, files):
    with torch.no_grad():
        return model_of(state)(normalised(crops_of(files))).numpy()


def files_of(folder, names):
    files = [file for name in names for file in sorted((folder / name).iterdir())]
    return files, np.array([names.index(file.parent.name) for file in files])


def expect(report, logits, labels, bins=15, slack=1e-3):
    assert {name: report["clean"][name] for name in MEASURES} == pytest.approx(
        wanted(logits, labels, bins), abs=slack
    )


def test_a_report_says_what_numpy_says(place, tmp_path, capsys):
    """Of the average, which a checkpoint has, and of the last weights, also without the trainer."""
    state, (files, labels) = torch.load(place / "checkpoint.pt"), files_of(place / "val", NAMES)
    averaged, last = (logits_of(state[key], files) for key in ("model_ema", "model"))
    assert np.abs(averaged - last).max() > 0.01
    report = report_of(place, tmp_path / "a", "--bins", 10, loader="dali")
    expect(report, averaged, labels, bins=10, slack=0.2)  # DALI's pixels differ by 1 in 255
    assert (report["weights"], report["size"], report["resize"]) == ("average", SIZE, RESIZE)
    assert "12 images, answers among 4 of 4 classes" in capsys.readouterr().out
    expect(report_of(place, tmp_path / "b", "--weights", "last"), last, labels)
    how = ("--model", MODEL, "--size", SIZE, "--resize", RESIZE)
    expect(report_of(place, tmp_path / "c", *how, checkpoint="plain.pt"), last, labels)
    table = list(csv.DictReader((tmp_path / "a/classes.csv").open()))
    assert [(row["class"], row["images"]) for row in table] == [*zip(NAMES, "3243", strict=True)]
    assert [float(row["top1"]) for row in table] == pytest.approx(
        [100 * (averaged[labels == k].argmax(1) == k).mean() for k in range(4)]
    )
    with Image.open(tmp_path / "a/reliability.png") as picture:
        assert picture.size[0] > 500


def test_some_of_the_classes(place, tmp_path):
    """The model answers among these, or with --all-answers among its own."""
    own = ["class1", "class3"]
    (files, labels), some = files_of(place / "some", own), ("--val", place / "some")
    logits = logits_of(torch.load(place / "checkpoint.pt")["model_ema"], files)
    report = report_of(place, tmp_path / "a", *some)
    expect(report, logits[:, [1, 3]], labels)
    assert (report["classes"], report["answers_among"]) == (4, 2)
    assert [row["class"] for row in report["by_class"]] == own
    report = report_of(place, tmp_path / "b", *some, "--all-answers")
    expect(report, logits, 2 * labels + 1)
    assert [row["images"] for row in report["by_class"]] == [0, 2, 0, 3]
    one = ("--val", place / "one")
    shutil.copytree(place / "some/class3", place / "one/class3", dirs_exist_ok=True)
    assert report_of(place, tmp_path / "c", *one)["clean"] == dict(
        images=3, top1=100, top5=100, loss=0, ece=0
    )


def test_a_list_may_leave_classes_empty(place, tmp_path):
    how = ("--val", place / "flat", "--val-list", place / "list.txt")
    report = report_of(place, tmp_path, *how)
    logits = logits_of(torch.load(place / "checkpoint.pt")["model_ema"], sorted(
        (place / "flat").iterdir()))  # fmt: skip
    expect(report, logits, np.array([0, 2, 2, 3]))
    row = report["by_class"][1]
    assert row["class"] == "class1" and row["images"] == 0 and row["top1"] is None


def test_harder_images_and_boxes(place, tmp_path):
    """Made here once more, by the definitions; and the same however large the batches are."""
    how = ("--fgsm", 4, 8.5, "--boxes", place / "boxes.csv", "--localise", "--seed", 7)
    report = report_of(place, tmp_path / "a", *how, "--batch-size", 5)
    again = report_of(place, tmp_path / "b", *how, loader="dali")
    files, labels = files_of(place / "val", NAMES)
    model, crops = model_of(torch.load(place / "checkpoint.pt")["model_ema"]), crops_of(files)

    def check(kind, name, pixels):
        with torch.no_grad():
            want = wanted(model(normalised(pixels)).numpy(), labels, 15)
        assert report[kind][name] == pytest.approx(want, rel=1e-3)
        assert report[kind][name]["loss"] != pytest.approx(report["clean"]["loss"], abs=1e-4)
        assert again[kind][name]["loss"] == pytest.approx(want["loss"], abs=0.05)

    order, corners = np.random.default_rng(7).permutation(12), list(true_boxes())
    others = np.empty(12, int)
    others[order] = np.roll(order, 1)
    outside = np.ones((12, SIZE, SIZE, 1), bool)
    for number, (x0, y0, x1, y1) in enumerate(corners):
        outside[number, y0:y1, x0:x1] = False
    check("background", "replaced", np.where(outside, crops[others], crops))
    noise = np.random.default_rng(7).standard_normal((12, 3, SIZE, SIZE), np.float32)
    noisy = np.clip(crops + 0.1 * noise.transpose(0, 2, 3, 1), 0, 1)
    check("background", "noise", np.where(outside, noisy, crops))
    images = normalised(crops).requires_grad_()
    torch.nn.functional.cross_entropy(model(images), torch.from_numpy(labels)).backward()
    sign = np.sign(images.grad.numpy().transpose(0, 2, 3, 1))
    for step in (4, 8.5):
        check("fgsm", f"{step:g}", np.clip(crops + step / 255 * sign, 0, 1))

    with torch.no_grad():
        features = model.forward_features(normalised(crops)).numpy()
        best = model(normalised(crops)).argmax(1).numpy()
    overlaps, weights = [], model.fc.weight.detach().numpy()
    for number, corner in enumerate(corners):
        small = np.pad(np.tensordot(weights[best[number]], features[number], 1), 1)
        summed = sum(small[y : y + 3, x : x + 3] for y in range(3) for x in range(3))
        large = cv2.resize(summed, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
        inside = (255 * (large - large.min()) / (large.max() - large.min())).astype(np.uint8) > 63
        _, _, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
        x, y, width, height, _ = stats[1 + stats[1:, 4].argmax()]
        one, two = np.zeros((2, SIZE, SIZE), bool)
        one[y : y + height, x : x + width] = True
        two[corner[1] : corner[3], corner[0] : corner[2]] = True
        overlaps.append((one & two).sum() / (one | two).sum())
    overlaps = np.array(overlaps)
    assert report["localisation"] == pytest.approx({
        "published": 100 * (overlaps > 0.25).mean(),
        "released": 100 * ((overlaps >= 0.5) & (best == labels)).mean(),
        "mean_overlap": overlaps.mean(),
    }, abs=1e-3)  # fmt: skip
    with Image.open(tmp_path / "a/images.png") as picture:
        assert min(picture.size) > 6 * SIZE


def true_boxes():
    """Those of the fixture in the crops: files of 48 x 40 become 130 x 108 pixels."""
    for k in range(12):
        corner = np.array([4 + k, 3 + k, 24 + k, 30 + k]) * [130 / 48, 2.7, 130 / 48, 2.7]
        yield np.floor(np.clip(corner - [17, 6, 17, 6], 0, SIZE)).astype(int).tolist()


# What is refused.


def test_logits_of_nan_leave_nothing(place, tmp_path, capsys):
    state = torch.load(place / "checkpoint.pt")["model"]
    state["fc.bias"][2] = torch.nan
    torch.save(state, tmp_path / "nan.pt")
    arguments = f"{tmp_path}/nan.pt --data {place} --model {MODEL} --loader torch --device cpu"
    assert evaluate.main([*arguments.split(), "--out", str(tmp_path / "out")]) == 1
    assert "error: logits: expected finite numbers" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("checkpoint", "more", "message"),
    [
        ("plain.pt", "", "model: expected a name with .* Give --model NAME"),
        ("plain.pt", "--model resnet18", "checkpoint: expected the weights of resnet18, got oth"),
        ("plain.pt", f"--model {MODEL} --weights last", "weights: expected only, which"),
        ("checkpoint.pt", "--classes-of {0}/some", "classes: expected 4 class folders, .* 2"),
        ("checkpoint.pt", "--val {0}/none", "val: expected a folder, .* where there is nothing"),
        ("checkpoint.pt", "--val {0}/strange", "val: expected folders of the model's .* 'other'"),
        ("checkpoint.pt", "--localise", "localise: expected --boxes with it"),
        ("checkpoint.pt", "--boxes {0}/list.txt", "boxes: expected a folder of XML files"),
        ("checkpoint.pt", "--size 120", "resize: expected at least size, 120, got 108"),
        ("damaged.pt", "", "checkpoint: .* which is damaged|cannot be read as one"),
        ("list.txt", "", "checkpoint: expected a checkpoint .* cannot be read as one"),
        ("missing.pt", "", "No such file or directory: .*missing.pt"),
    ],
)
def test_what_does_not_fit_is_refused(place, tmp_path, capsys, checkpoint, more, message):
    arguments = [str(place / checkpoint), "--data", str(place), "--loader", "torch"]
    arguments += ["--device", "cpu", "--out", str(tmp_path / "out")]
    assert evaluate.main([*arguments, *more.format(place).split()]) == 1
    error = capsys.readouterr().err
    assert re.search(f"error: .*({message})", error), error
    assert not list((tmp_path / "out").iterdir())
