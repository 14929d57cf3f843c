"""One table of formats, sizes and damage: ``check`` and the loaders accept and refuse alike."""

import io
import os
import stat
import struct
import tarfile

import numpy as np
import pytest
from nvidia.dali import Pipeline, fn
from PIL import Image

from dali_msda.pipelines import check as check_tool
from dali_msda.pipelines.data import datasets, decodable, decoding, image_formats
from dali_msda.pipelines.loaders import dali
from dali_msda.pipelines.loaders.dali_failures import decodes
from dali_msda.pipelines.write_beton import write_beton
from tests.support.ffcv_processes import needs_ffcv
from tests.support.hostile_files import encode, picture

PICTURE = picture(96, 72)
DEEP = Image.fromarray(np.arange(4800, dtype=np.uint16).reshape(60, 80) * 13)
BASELINE, PROGRESSIVE = encode(PICTURE), encode(PICTURE, progressive=True)
GREY = Image.new("RGB", (40, 32), (128, 128, 128))


def modes(kind, names, **how):
    return {f"{kind} {mode}": encode(PICTURE.convert(mode), kind, **how) for mode in names.split()}


def after_scan_header(data):
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def with_height(data, height):
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + height.to_bytes(2, "big") + data[at + 2 :]


def with_restart_interval(data, blocks):
    at = data.index(b"\xff\xda")
    return data[:at] + b"\xff\xdd\0\4" + blocks.to_bytes(2, "big") + data[at:]


READ = {
    **modes("JPEG", "L RGB CMYK"),
    **modes("PNG", "1 L LA P RGB RGBA"),
    **modes("BMP", "1 L P RGB RGBA"),
    **modes("WEBP", "RGB RGBA", lossless=True),
    **modes("JPEG2000", "L RGB RGBA"),
    **modes("TIFF", "L P RGB RGBA CMYK YCbCr"),
    **modes("PPM", "1 L RGB"),
    **{f"{kind} 16": encode(DEEP, kind) for kind in ("PNG", "TIFF", "JPEG2000")},
    "animated PNG": encode(PICTURE, "PNG", save_all=True, append_images=[picture(96, 72)]),
    "progressive": PROGRESSIVE,
    "grey": encode(GREY),  # as libjpeg fills in, but whole
    "grey, progressive": encode(GREY, progressive=True),
    "grey, restarts": encode(GREY, restart_marker_blocks=1),
    "grey, one long restart interval": with_restart_interval(encode(GREY), 6),
    "grey, long restart interval, progressive": with_restart_interval(
        encode(GREY, progressive=True), 30
    ),
    "whole, zeros in place of its end mark": BASELINE[:-2] + bytes(99),
    "ASCII PPM": b"P3\n2 2\n255\n" + b"10 20 30 " * 4,
    "PPM with remarks": b"P6\n#" + b" 1 1 100" * 20 + b"\n2 2\n#\n255\n" + b"abc" * 4,
}
REFUSED = {
    **modes("GIF", "P"),
    **modes("AVIF", "RGB"),
    **modes("ICO", "RGB"),
    **modes("TGA", "RGB"),
    **modes("PCX", "RGB"),
    **modes("EPS", "RGB"),
    **modes("TIFF", "1 LA F I"),
    **modes("PPM", "F I"),
    **modes("JPEG2000", "LA"),
    "PPM 16": encode(DEEP, "PPM"),
    "PPM to 100": b"P6\n2 2\n100\n" + bytes([50] * 12),
    "PPM to 100 with remarks": b"P6\n# 255\n2 2\n100\n" + bytes([50] * 12),
    "text": b"no image\n",
    "empty": b"",
}


TRUNCATED = {
    "cut": BASELINE[: len(BASELINE) // 2],
    "cut at its end": BASELINE[:-2],
    "cut, progressive": PROGRESSIVE[: len(PROGRESSIVE) * 9 // 10],
}
DAMAGED = {  # all end as a JPEG should, and decode
    "no scan data": BASELINE[: after_scan_header(BASELINE)] + b"\xff\xd9",
    "half": BASELINE[: len(BASELINE) // 2] + b"\xff\xd9",
    "half, CMYK": READ["JPEG CMYK"][: len(READ["JPEG CMYK"]) // 2] + b"\xff\xd9",
    "half, progressive": PROGRESSIVE[: len(PROGRESSIVE) // 2] + b"\xff\xd9",
    "false height": with_height(BASELINE, 300),
    "false restart interval": with_restart_interval(BASELINE, 1),
}
BEYOND_HEADERS = ("half", "half, CMYK", "half, progressive", "false height")  # of those


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("formats")
    for number, (kind, files) in enumerate(
        {"read": READ, "refused": REFUSED | TRUNCATED | DAMAGED}.items()
    ):
        (root / f"{number}{kind}").mkdir()
        for name, data in files.items():
            (root / f"{number}{kind}" / f"{name}.jpg").write_bytes(data)
    return root


@pytest.fixture(scope="module")
def report(folder):
    return check_tool.check(folder, workers=2)


@pytest.fixture(scope="module")
def pixels_of_dali(folder):
    """What DALI's decoder makes of each file that is accepted, and nothing of the others."""
    saved = os.dup(1), os.dup(2)
    found = {}
    try:
        with decodable.Decoder() as decoder:
            for name in READ:
                found[name] = decoder.decode(folder / "0read" / f"{name}.jpg").copy()
    finally:
        for number, descriptor in enumerate(saved, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
    return found


@pytest.mark.parametrize("name", READ)
def test_what_is_on_the_list_is_read_to_the_same_pixels(folder, report, pixels_of_dali, name):
    assert (f"0read/{name}.jpg", 0) in report.good, report.bad
    ours = np.asarray(decoding.decode(str(folder / "0read" / f"{name}.jpg")), int)
    assert ours.shape == pixels_of_dali[name].shape
    assert abs(ours - pixels_of_dali[name]).max() <= 1
    assert decodes(np.frombuffer(READ[name], np.uint8))


@pytest.mark.parametrize("name", [*REFUSED, *TRUNCATED, *DAMAGED])
def test_what_is_not_is_refused_by_check_and_the_torch_loader(folder, report, name):
    path = f"1refused/{name}.jpg"
    assert path in report.bad
    with pytest.raises((image_formats.Undecodable, OSError)):
        decoding.decode(str(folder / path))
    if name in DAMAGED:
        assert report.bad[path] == image_formats.INCOMPLETE


@pytest.mark.parametrize(
    "name", [*REFUSED, *TRUNCATED, *(name for name in DAMAGED if name not in BEYOND_HEADERS)]
)
def test_what_is_not_is_refused_by_the_dali_loader(folder, name):
    """It names the file, in training and in evaluation.

    Training decodes the rows down to the end of a crop; what was cut off lies behind some crops.
    """
    path = str(folder / "1refused" / f"{name}.jpg")
    source = datasets.ImageFolder(str(folder), ("a",), (path,), (0,))
    for kind in (dali.EvaluationLoader, dali.TrainingLoader)[: 1 if name in TRUNCATED else 2]:
        refused = pytest.raises(datasets.DatasetError, match="expected an image, got a file that")
        with kind(source, batch_size=1, size=32, threads=1) as loader, refused as error:
            next(iter(loader))
        assert str(error.value).startswith(path)


@pytest.mark.parametrize("copies", [1, 2])
def test_the_dali_loader_reads_what_is_on_the_list(folder, copies):
    files = tuple(str(folder / "0read" / f"{name}.jpg") for name in READ)
    source = datasets.ImageFolder(str(folder), ("a",), files, (0,) * len(files))
    options = dict(batch_size=len(files), size=32, threads=1)
    with dali.TrainingLoader(source, copies=copies, **options) as loader:
        ((images, _),) = loader
    assert len(images) == copies * len(files)
    with dali.EvaluationLoader(source, **options) as loader:
        ((_, labels),) = loader
    assert len(labels) == len(files)


def test_the_header_of_a_shard_s_image_is_looked_at(tmp_path):
    """The file is named by its archive."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in (("x.jpg", REFUSED["TIFF F"]), ("x.cls", b"0")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    source = datasets.find(str(tmp_path / "a.tar"))
    options = dict(num_classes=1, batch_size=1, size=32, threads=1)
    refused = pytest.raises(datasets.DatasetError, match=r"a\.tar.*: expected an image")
    with dali.TrainingLoader(source, **options) as loader, refused:
        next(iter(loader))


@needs_ffcv
@pytest.mark.parametrize("name", ["half", "GIF P", "PPM 16"])
def test_what_is_not_is_not_written(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes((REFUSED | DAMAGED)[name])
    with pytest.raises(ValueError, match=r"x\.jpg: expected an image, got a file that cannot be"):
        write_beton(tmp_path, tmp_path / "out.beton", workers=1)


def test_no_other_program_is_started(tmp_path, monkeypatch):
    """Pillow hands EPS to Ghostscript, whatever the name of the file."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "x.JPEG").write_bytes(REFUSED["EPS RGB"])
    Image.open(tmp_path / "x.JPEG").load  # noqa: B018  the file is one that Pillow opens
    with pytest.raises(image_formats.Undecodable, match="EPS: the loaders do not take"):
        decoding.decode(str(tmp_path / "x.JPEG"))
    assert not (tmp_path / "started").exists()


def test_pipes_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(image_formats.Undecodable, match="not a regular file"):
        decoding.decode(str(tmp_path / "pipe.jpg"))


def header_only(width, height):
    """A JPEG that says that it is so large, with the data of a small one."""
    at = BASELINE.index(b"\xff\xc0") + 5
    size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return BASELINE[:at] + size + BASELINE[at + 4 :]


WIDE, HIGH = 16385, 16384  # one column too many
SIZES = {  # where headers hold width and height, the place that the bytes of a small one have there
    "PNG": ("PNG", ">II", lambda data: 16),
    "BMP": ("BMP", "<ii", lambda data: 18),
    "JPEG 2000": ("JPEG2000", ">II", lambda data: data.index(b"\xff\x4f\xff\x51") + 8),
}


def with_size(kind, order, place):
    data = encode(PICTURE, kind)
    at = place(data)
    assert struct.unpack_from(order, data, at) == PICTURE.size
    return data[:at] + struct.pack(order, WIDE, HIGH) + data[at + 8 :]


@pytest.mark.parametrize("name", [*SIZES, "BMP, top down", "PNM", "TIFF", "JPEG"])
def test_the_limit_of_size_holds_in_dali_s_graph(name):
    """Found in the header, before anything is decoded."""
    if name in SIZES:
        data = with_size(*SIZES[name])
    elif name == "BMP, top down":
        data = bytearray(encode(PICTURE, "BMP"))
        struct.pack_into("<ii", data, 18, WIDE, -HIGH)
    elif name == "PNM":
        data = b"P5 # %d\n# 1 1 255\n%d %d\n255\n" % (HIGH, WIDE, HIGH)
    elif name == "TIFF":
        data = bytearray(encode(PICTURE, "TIFF"))
        entries = int.from_bytes(data[4:8], "little") + 2
        for tag, size in ((256, WIDE), (257, HIGH)):
            at = next(
                k
                for k in range(entries, len(data), 12)
                if data[k : k + 2] == struct.pack("<H", tag)
            )
            struct.pack_into("<HIH", data, at + 2, 3, 1, size)
    else:
        data = header_only(WIDE, HIGH)
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipeline:
        encoded = fn.external_source([np.frombuffer(bytes(data), np.uint8)[np.newaxis]], cycle=True)
        pipeline.set_outputs(fn.msda.check_encoded(encoded))
    with pytest.raises(RuntimeError, match=f"{WIDE} x {HIGH} pixels, more than 268435456"):
        pipeline.run()


def test_one_limit_of_size_for_all(tmp_path, monkeypatch):
    """Pillow's own limits, which lie lower, do not count; a huge file is not read at all."""
    image_formats.opened(header_only(16384, 16384))
    for width, height in ((16385, 16384), (65500, 65500)):
        with pytest.raises(image_formats.Undecodable, match=f"{width} x {height} pixels, more"):
            image_formats.opened(header_only(width, height))
    with pytest.warns(Image.DecompressionBombWarning):  # and Pillow's are as before for others
        Image.open(io.BytesIO(header_only(12000, 12000)))
    (tmp_path / "a").mkdir()
    with open(tmp_path / "a" / "huge.jpg", "wb") as file:
        file.write(BASELINE)
        file.truncate(image_formats.MAX_BYTES + 1)
    (tmp_path / "a" / "wide.jpg").write_bytes(header_only(65500, 65500))
    (tmp_path / "a" / "x.jpg").write_bytes(BASELINE)
    bad = check_tool.check(tmp_path, workers=1).bad
    assert bad["a/huge.jpg"].startswith("larger than")
    assert bad["a/wide.jpg"].startswith("65500 x 65500 pixels")
    assert datasets.find(str(tmp_path)).labels.tolist() == [0, 0, 0]
