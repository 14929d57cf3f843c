"""Class activation maps, the boxes around their parts, and boxes in files and crops."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dali_msda.pipelines.data import datasets, decoding
from dali_msda.pipelines.evaluation import boxes, localisation
from dali_msda.pipelines.training.models import make_model
from tests.support.coloured_folders import write_folder


class Small(nn.Module):
    """Pools as many networks do, by a function."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3, stride=4), nn.Linear(6, 5)

    def forward(self, images):
        self.seen = torch.relu(self.conv(images))
        return self.fc(nn.functional.adaptive_avg_pool2d(self.seen, 1).flatten(1))


def test_maps_are_those_of_numpy():
    torch.manual_seed(0)
    model, images, classes = Small().eval(), torch.rand(3, 3, 30, 30), torch.tensor([4, 0, 2])
    with torch.no_grad():
        found = localisation.ActivationMaps(model)(images, classes).numpy()
    features, weights = model.seen.numpy(), model.fc.weight.detach().numpy()
    for number, label in enumerate(classes.tolist()):
        small = sum(w * one for w, one in zip(weights[label], features[number], strict=True))
        padded = np.pad(small, 1)
        summed = sum(padded[y : y + 7, x : x + 7] for y in range(3) for x in range(3))
        large = cv2.resize(summed, (30, 30), interpolation=cv2.INTER_CUBIC)
        want = (large - large.min()) / (large.max() - large.min())
        np.testing.assert_allclose(found[number], want, atol=1e-4)


@pytest.mark.parametrize("name", ["timm:test_resnet", "preactresnet18_tiny"])
def test_models_by_name_have_maps(name):
    with torch.no_grad():
        model = localisation.ActivationMaps(make_model(name, 4).eval())
        found = model(torch.rand(2, 3, 96, 96), torch.tensor([1, 3]))
    assert found.shape == (2, 96, 96) and found.amax((1, 2)).tolist() == [1, 1]


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_convnext"])
def test_models_without_maps_are_refused(name):
    with torch.no_grad(), pytest.raises(ValueError, match="localise: expected a model that aver"):
        localisation.ActivationMaps(make_model(name, 4).eval())(
            torch.rand(1, 3, 160, 160), torch.tensor([1])
        )


def test_a_map_of_rounding_is_flat():
    """Of 2 x 2 places, each of which has all others around it."""
    with torch.no_grad():
        model = localisation.ActivationMaps(make_model("timm:test_resnet", 4).eval())
        assert not model(torch.rand(2, 3, 64, 64), torch.tensor([1, 3])).any()


def released_boxes(activation):
    """The boxes of the largest contours, as Co-Mixup's released code finds one with OpenCV."""
    grey = np.clip(activation * 255, 0, 255).astype(np.uint8)
    _, binary = cv2.threshold(grey, int(0.25 * grey.max()), 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    most = max(map(cv2.contourArea, contours))
    largest = [cv2.boundingRect(one) for one in contours if cv2.contourArea(one) == most]
    return {(x, y, x + width, y + height) for x, y, width, height in largest}


@pytest.mark.parametrize("blur", [1, 3, 9])
def test_boxes_are_those_of_opencv(blur):
    """Of many parts, with holes, that touch at corners, and at the borders."""
    rng, several = np.random.default_rng(blur), 0
    for _ in range(40):
        noise = cv2.GaussianBlur(rng.random((24, 31)), (blur, blur), 0)
        activation = np.clip((noise - np.quantile(noise, rng.uniform(0.3, 0.8))) * 3, 0, 1)
        several += localisation.connected_parts(activation > 0.25, corners=True)[1] > 1
        assert localisation.box_of(activation) in released_boxes(activation)
    assert several > 20


def test_a_map_without_differences_has_the_box_of_the_released_code():
    assert localisation.box_of(np.zeros((9, 9))) == (0, 0, 1, 1)


def test_overlaps_count_pixels():
    rng = np.random.default_rng(4)
    for _ in range(50):
        corners = np.sort(rng.integers(0, 9, (4, 2, 2)), axis=1).reshape(4, 4)
        corners[:, 2:] += 1
        grids = boxes.masks(corners[:, None], 10)
        want = max((grids[0] & one).sum() / (grids[0] | one).sum() for one in grids[1:])
        assert localisation.overlap(tuple(corners[0]), corners[1:]) == pytest.approx(want)


def test_a_hit_is_published_in_one_way_and_released_in_another():
    overlaps, right = np.array([0.25, 0.3, 0.5, 0.5, 0.9]), np.array([1, 1, 1, 0, 1], bool)
    found = localisation.scores(overlaps, right)
    assert found == pytest.approx({"published": 80, "released": 40, "mean_overlap": 0.49})


# Boxes in files and in crops.


def test_boxes_lie_where_the_crop_shows_them():
    rng = np.random.default_rng(5)
    for _ in range(20):
        width, height = rng.integers(60, 200, 2)
        x0, y0 = (int(rng.integers(0, side - 40)) for side in (width, height))
        picture = np.zeros((height, width, 3), np.uint8)
        picture[y0 : y0 + 39, x0 : x0 + 38] = 255
        crop = decoding.central_crop(Image.fromarray(picture), 96, 80)[..., 0] > 127
        (found,) = boxes.in_crop(np.array([[x0, y0, x0 + 38, y0 + 39]]), width, height, 96, 80)
        if crop.any():
            ys, xs = np.nonzero(crop)
            shown = xs.min(), ys.min(), xs.max() + 1, ys.max() + 1
            assert np.abs(found - shown).max() <= 1
        else:
            assert found[0] >= found[2] - 1 or found[1] >= found[3] - 1


def voc(box):
    sides = zip(boxes.SIDES, box, strict=True)
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in sides)
    return f"<annotation><object><bndbox>{inner}</bndbox></object></annotation>"


def test_boxes_are_read_from_xml_and_from_tables(tmp_path):
    source = datasets.find(str(write_folder(tmp_path / "images", (1, 1))))
    names = [f"class{label}/00.jpg" for label in range(2)]
    for label, name in enumerate(names):
        file = (tmp_path / "xml" / name).with_suffix(".xml")
        file.parent.mkdir(parents=True)
        file.write_text(voc((label, 2, 30, 20)))
    rows = [f"{name},{label},2,30,20" for label, name in enumerate(names)]
    table = tmp_path / "boxes.csv"
    table.write_text("\n".join(["path,x0,y0,x1,y1", *rows, f"{names[1]},1,1,2,2"]))
    one, two = boxes.read_boxes(str(tmp_path / "xml"), source)
    assert one.tolist() == [[0, 2, 30, 20]] and two.tolist() == [[1, 2, 30, 20]]
    assert boxes.read_boxes(str(table), source)[1].tolist() == [[1, 2, 30, 20], [1, 1, 2, 2]]
    wrong = {
        "path,x0,y0,x1,y1\n" + rows[0]: "got none in .* for class1/00.jpg",
        "a,b\n1,2\n": "first line path,x0,y0,x1,y1",
        "path,x0,y0,x1,y1\n" + rows[0] + "\n" + names[1] + ",1,x,2,2": "numbers in line 3",
        "path,x0,y0,x1,y1\n" + rows[0] + "\n" + names[1] + ",5,1,2,2": "x0 < x1",
    }
    for text, message in wrong.items():
        table.write_text(text)
        with pytest.raises(ValueError, match=f"boxes: expected .*{message}"):
            boxes.read_boxes(str(table), source)
    (tmp_path / "xml/class1/00.xml").write_text("<annotation><bndbox></bndbox></annotation>")
    with pytest.raises(ValueError, match="boxes: expected XML with a bndbox of xmin"):
        boxes.read_boxes(str(tmp_path / "xml"), source)
