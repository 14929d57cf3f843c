"""Writing .beton files: what is in them, and that no file, signal or crash leaves half of one."""

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from nvidia.dali import Pipeline, fn

from dali_msda.pipelines import check, write_beton
from dali_msda.pipelines.data import datasets
from tests.support.coloured_folders import write_folder
from tests.support.ffcv_processes import needs_ffcv
from tests.support.hostile_files import GOOD, JPEG, encode, picture, write_hostile

pytestmark = needs_ffcv
LIMIT = 300  # seconds, many times what a command takes


@pytest.fixture(autouse=True)
def own_sigterm():
    before = signal.getsignal(signal.SIGTERM)  # main() sets another
    yield
    signal.signal(signal.SIGTERM, before)


def command(*arguments):
    return [sys.executable, "-m", "dali_msda.pipelines.write_beton", *map(str, arguments)]


def refused(*arguments):
    """The last line of an error, where nothing else went wrong."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert write_beton.main([*map(str, arguments)]) == 1
    return said.getvalue().splitlines()[-1]


def read(path):
    """Images, labels and whether each is stored as pixels, by FFCV's tables, not its loader."""
    import dali_msda.ffcv  # noqa: F401  isort: skip
    from ffcv.reader import Reader

    reader, data = Reader(path), np.fromfile(path, np.uint8)
    assert reader.field_names == ["image", "label"]
    sizes = {int(ptr): int(size) for _, ptr, size in reader.alloc_table}
    table, images = reader.metadata["f0"], []
    for mode, width, height, ptr in table.tolist():
        stored = data[ptr : ptr + sizes[ptr]]
        if not mode:
            stored = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1]
            assert stored.shape == (height, width, 3)
        images.append(stored.reshape(height, width, 3))
    return images, reader.metadata["f1"].tolist(), table["mode"].tolist()


def decoded(files):
    """What the decoder of the other loaders makes of files."""
    pipeline = Pipeline(batch_size=1, num_threads=1, device_id=None)
    with pipeline:
        encoded, _ = fn.readers.file(files=list(files))
        pipeline.set_outputs(fn.decoders.image(encoded))
    return [pipeline.run()[0].at(0) for _ in files]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return write_hostile(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def textures(tmp_path_factory):
    from tests.support.photographs import write_textures

    return write_textures(tmp_path_factory.mktemp("textures"), (7, 9, 4))


@pytest.fixture(scope="module")
def written(textures, tmp_path_factory):
    """Whole files, to be copied and damaged."""
    paths = {mode: tmp_path_factory.mktemp("written") / f"{mode}.beton" for mode in ("raw", "jpg")}
    for mode, path in paths.items():
        write_beton.write_beton(textures, path, write_mode=mode, workers=1)
    return paths


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_hostile_files_by_list(hostile, tmp_path):
    """Whatever the check takes is written, to the pixel as the other loaders see it."""
    listed = tmp_path / "good.txt"
    check.check(hostile, workers=1).write(listed)
    small = "".join(
        line for line in listed.read_text().splitlines(True) if "twenty_mega" not in line
    )
    listed.write_text(small)
    out = tmp_path / "all.beton"
    options = dict(file_list=str(listed), workers=2, chunk_size=3)
    assert write_beton.write_beton(hostile, out, **options) == len(GOOD) + 1
    source = datasets.find(str(hostile), file_list=str(listed))
    images, labels, raw = read(out)
    assert labels == list(source.labels) == [0, 0] + [1] * (len(GOOD) - 1)
    assert all(raw)
    for file, ours, theirs in zip(source.files, images, decoded(source.files), strict=True):
        assert np.array_equal(ours, theirs), file
    assert names(tmp_path) == ["all.beton", "good.txt"]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_hostile_file_is_named(hostile, tmp_path, workers):
    where = hostile, tmp_path / "all.beton", "--write-mode", "jpg", "--workers", workers
    done = subprocess.run(command(*where), capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    said = done.stderr.splitlines()[-1]
    assert re.match(rf"error: {hostile}/bad/.*: expected an image, got a file that cannot", said)
    assert "--list good.txt then writes only those" in said
    assert names(tmp_path) == []


def test_files_too_large_or_missing_are_named(hostile, tmp_path):
    listed, out = tmp_path / "list.txt", tmp_path / "x.beton"
    listed.write_text("bad/still_good.jpg 0\ngood/twenty_megapixels.jpg 1\n")
    assert "twenty_megapixels.jpg: expected an image that takes at most 8388608 bytes" in refused(
        hostile, out, "--list", listed
    )
    listed.write_text("bad/still_good.jpg 0\ngood/gone.jpg 1\n")
    assert "good/gone.jpg', got nothing there" in refused(hostile, out, "--list", listed)
    listed.write_text("bad/still_good.jpg 0\nbad/link.jpg 0\ngood/plain.jpg 1\n")
    assert "bad/link.jpg', got a broken link" in refused(hostile, out, "--list", listed)
    listed.write_text("bad/pipe.jpg 0\ngood/plain.jpg 1\n")
    assert "bad/pipe.jpg', got another kind of file" in refused(hostile, out, "--list", listed)
    assert names(tmp_path) == ["list.txt"]


def test_labels_and_order_are_those_of_the_folder(textures, tmp_path):
    source = datasets.find(str(textures))
    where = textures, tmp_path / "a.beton", "--workers", 3, "--chunk-size", 2
    done = subprocess.run(command(*where), capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0 and "20/20" in done.stderr, done.stderr
    images, labels, _ = read(tmp_path / "a.beton")
    assert labels == list(source.labels)
    for ours, theirs in zip(images, decoded(source.files), strict=True):
        assert np.array_equal(ours, theirs)


def test_modes(textures, tmp_path):
    files = datasets.find(str(textures)).files
    originals, path = decoded(files), tmp_path / "a.beton"

    def written(**options):
        write_beton.write_beton(textures, path, **options)
        return read(path)

    def error(images):
        pairs = zip(images, originals, strict=True)
        return np.mean([np.abs(ours.astype(int) - theirs).mean() for ours, theirs in pairs])

    fine, _, raw = written(write_mode="jpg", jpeg_quality=95)
    coarse, *_ = written(write_mode="jpg", jpeg_quality=20)
    assert not any(raw) and 0 < error(fine) < error(coarse) < 40
    bytes_each = originals[0].nbytes
    assert all(written(write_mode="smart", smart_threshold=bytes_each)[2])
    assert not any(written(write_mode="smart", smart_threshold=bytes_each - 1)[2])
    mixed = dict(write_mode="proportion", compress_probability=0.3)
    first = written(**mixed, workers=1)[2]
    assert 0 < sum(first) < 20
    assert written(**mixed, workers=3, chunk_size=1)[2] == first
    small, *_ = written(max_resolution=32)
    assert {image.shape for image in small} == {(int(32 / 57 * 43), 32, 3)}
    same, *_ = written(max_resolution=57)
    assert error(same) == 0


def test_images_may_be_narrow(tmp_path):
    (tmp_path / "d/a").mkdir(parents=True)
    for size in ((900, 1), (1, 1), (2, 700)):
        (tmp_path / f"d/a/{size[0]}.jpg").write_bytes(encode(picture(*size)))
    write_beton.write_beton(tmp_path / "d", tmp_path / "a.beton", max_resolution=200)
    assert {image.shape for image in read(tmp_path / "a.beton")[0]} == {
        (1, 200, 3),
        (1, 1, 3),
        (200, 1, 3),
    }


CRASH = """
import os, signal, sys
from dali_msda.pipelines import write_beton
from dali_msda.pipelines.data import decodable
# the processes, which import this file, have it too
original = decodable.Decoder.decode
def deadly(self, path):
    if path.endswith("05.jpg"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return original(self, path)
decodable.Decoder.decode = deadly
if __name__ == "__main__":
    sys.exit(write_beton.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("workers", ["1", "3"])
def test_a_crash_of_the_decoder_is_named(textures, tmp_path, workers):
    (tmp_path / "crash.py").write_text(CRASH)
    arguments = [textures, tmp_path / "a.beton", "--workers", workers, "--chunk-size", "4"]
    done = subprocess.run(
        [sys.executable, "crash.py", *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.search(r"05\.jpg: expected an image, got .* ended \(SIGSEGV\)", done.stderr)
    assert names(tmp_path) == ["crash.py"]


def test_a_process_that_cannot_start_is_no_fault_of_a_file(textures, tmp_path):
    """A script without the guard, which every process would run from its beginning."""
    (tmp_path / "bare.py").write_text(
        "import sys\n"
        "from dali_msda.pipelines.write_beton import write_beton\n"
        "write_beton(sys.argv[1], 'a.beton', workers=1)\n"
    )
    command = [sys.executable, "bare.py", textures]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 1
    assert "ended (exit code 1) between files" in done.stderr.splitlines()[-1]
    assert 'needs `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    assert names(tmp_path) == ["bare.py"]


@pytest.fixture
def many(tmp_path):
    """A folder that takes a while."""
    (tmp_path / "d/a").mkdir(parents=True)
    (tmp_path / "d/a/0.jpg").write_bytes(encode(picture(3000, 3000)))
    for number in range(1, 200):
        os.link(tmp_path / "d/a/0.jpg", tmp_path / f"d/a/{number}.jpg")
    return tmp_path


def running(folder, out):
    """A command in the midst of writing."""
    process = subprocess.Popen(
        # pages of two images
        command(folder, out, "--max-resolution", 1000, "--workers", 2, "--chunk-size", 50),
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    )
    seen = b""
    while b"1/200" not in seen and b"2/200" not in seen:
        seen += process.stderr.read(64)
        assert process.poll() is None, seen
    return process


def processes_of(session):
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, *_, group = stat.read_text().rsplit(")", 1)[1].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(group) == session and state != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.parametrize(
    "signum, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_stopped_command_leaves_the_file_that_was_there(many, signum, code):
    out = many / "x.beton"
    out.write_bytes(b"an older file")
    process = running(many / "d", out)
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert b"Traceback" not in said
    assert out.read_bytes() == b"an older file"
    end = time.monotonic() + 30
    while processes_of(process.pid):
        assert time.monotonic() < end, "processes are left behind"
        time.sleep(0.05)
    left = [name for name in names(many) if name.startswith(".")]
    assert left == ([".x.beton.unfinished"] if signum == signal.SIGKILL else [])
    if left:  # the next run begins it anew
        (many / "e/a").mkdir(parents=True)
        (many / "e/a/0.jpg").write_bytes(JPEG)
        write_beton.write_beton(many / "e", out)
        assert len(read(out)[1]) == 1
        assert not [name for name in names(many) if name.startswith(".")]


def test_two_commands_do_not_write_one_file(many):
    process = running(many / "d", many / "x.beton")
    try:
        assert "which another process is writing" in refused(many / "d", many / "x.beton")
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(out="a.tar"), "out: expected a name that ends in .beton, got 'a.tar'"),
        (dict(workers=0), "workers: expected at least 1, got 0"),
        (dict(chunk_size=0), "chunk_size: expected at least 1"),
        (dict(max_resolution=-1), "max_resolution: expected at least 1"),
        (dict(write_mode="png"), "write_mode: expected one of raw, jpg, smart, proportion"),
        (dict(jpeg_quality=0), r"jpeg_quality: expected a number in \[1, 100\]"),
        (dict(write_mode="smart"), "smart_threshold: expected bytes with write_mode 'smart'"),
        (dict(smart_threshold=9), "smart_threshold: expected bytes .* got 9 with 'raw'"),
        (dict(compress_probability=1.5), r"compress_probability: expected a number in \[0, 1\]"),
        (dict(folder="nowhere"), "folder: expected a folder"),
    ],
)
def test_wrong_arguments(textures, tmp_path, monkeypatch, wrong, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        write_beton.write_beton(**dict(folder=textures, out="a.beton") | wrong)
    assert names(tmp_path) == []


def test_places_that_cannot_be_written(textures, tmp_path):
    write_folder(tmp_path / "d", (1, 1))
    assert "No such file" in refused(tmp_path / "d", tmp_path / "no/a.beton")
    (tmp_path / "a.beton").mkdir()
    assert "Is a directory" in refused(tmp_path / "d", tmp_path / "a.beton")
    assert names(tmp_path) == ["a.beton", "d"]


HEADERS = [("version", 3, "a file of version 3, not 2"), ("num_samples", 0, "no images")]
HEADERS += [("page_size", 4096, "a page size of"), ("page_size", 3 << 22, "a page size of")]
HEADERS += [("num_samples", 2**61, "tables that lie"), ("num_fields", 60000, "tables that lie")]
HEADERS += [
    ("alloc_table_ptr", 2**63, "tables that lie"),
    ("num_samples", 5, "which holds more images"),
]


@pytest.mark.parametrize("field, value, message", HEADERS)
def test_false_headers_are_found(written, tmp_path, field, value, message):
    """Before FFCV allocates memory by them, or loses samples."""
    path = shutil.copy(written["raw"], tmp_path)
    changed(path, "header", lambda reader: reader.header.reshape(1), field, value)
    with pytest.raises(ValueError, match=f"path: expected a .*{message}"):
        datasets.find(str(path))


def test_a_damaged_label_asks_for_no_classes(written, tmp_path):
    path = shutil.copy(written["raw"], tmp_path)
    changed(path, "metadata", lambda reader: reader.metadata, "f1", 2**40)
    source = datasets.find(str(path))
    with pytest.raises(ValueError, match=f"num_classes: expected at least {2**40 + 1}.* got none"):
        datasets.number_of_classes(source, None)
    assert datasets.number_of_classes(source, 2**41) == 2**41


FALSE_SIZES = [("raw", "width", 0), ("raw", "width", 65535), ("raw", "height", 44)]
FALSE_SIZES += [("jpg", "height", 0), ("jpg", "width", 65535)]  # of which less is known


@pytest.mark.parametrize("mode, field, value", FALSE_SIZES)
def test_false_sizes_are_found_when_a_file_is_opened(written, tmp_path, mode, field, value):
    """Before FFCV allocates memory by them."""
    path = shutil.copy(written[mode], tmp_path)
    changed(path, "metadata", lambda reader: reader.metadata["f0"], field, value)
    with pytest.raises(ValueError, match="whose images cannot have the sizes that it tells"):
        datasets.find(str(path))


@pytest.mark.parametrize("field, value", [("ptr", 2**64 - 8), ("size", 2**64 - 8), ("ptr", 2**40)])
def test_regions_outside_of_a_file_are_found(written, tmp_path, field, value):
    path = shutil.copy(written["raw"], tmp_path)
    changed(path, "regions", lambda reader: reader.alloc_table, field, value)
    with pytest.raises(ValueError, match="whose end is missing"):
        datasets.find(str(path))


def changed(path, what, table_of, field, value):
    """Write another value into the first row of one of a file's tables."""
    import dali_msda.ffcv  # noqa: F401  isort: skip
    from ffcv.reader import Reader

    reader, data = Reader(path), bytearray(Path(path).read_bytes())
    table = table_of(reader).copy()
    row = table[:1].copy()
    start = data.index(row.tobytes())
    row[field] = value
    data[start : start + len(row.tobytes())] = row.tobytes()
    Path(path).write_bytes(data)
