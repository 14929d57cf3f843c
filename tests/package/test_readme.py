"""What the READMEs say is true: their code runs, and what they name exists."""

import contextlib
import importlib.util
import inspect
import io
import re
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import dali_msda
from dali_msda import policy
from dali_msda.commands import cli, gallery, manual
from dali_msda.pipelines.training.command_line import presets
from dali_msda.pipelines.training.config import Config
from dali_msda.policy import METHODS, POLICIES
from dali_msda.torch.torchvision_cpu import declare_operators
from tests.cuda.host_gpu import HostArray, install
from tests.release import releases
from tests.support.coloured_folders import write_folder

declare_operators()
ROOT = Path(__file__).parents[2]
PATHS = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md"))]
PAGES = {str(path.relative_to(ROOT)): path.read_text() for path in PATHS}
FIRST_PAGE, MANUAL = PAGES["README.md"], PAGES["dali_msda/README.md"]
MAKEFILE = (ROOT / "Makefile").read_text()
# Names in examples that stand for the reader's own files.
THEIRS = {"imagenet", "runs", "demo", "train", "val", "train.txt", "my_preset.yaml", ".venv"}


def sections(page):
    """Heading and text of each section of a page, those under it not included."""
    parts = re.split(
        r"^#+ (.*)\n", re.sub(r"^```.*?^```$", hidden, page, flags=re.M | re.S), flags=re.M
    )
    return {head: shown(text) for head, text in zip(parts[1::2], parts[2::2], strict=True)}


def hidden(block):
    """A block of code whose comments are no headings."""
    return block[0].replace("#", "\0")


def shown(text):
    return text.replace("\0", "#")


def blocks(text, language="python"):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


CODE = {
    (name, head): "\n".join(blocks(text))
    for name, page in PAGES.items()
    for head, text in sections(page).items()
    if blocks(text)
}
GPU, LIGHTNING = ("dali_msda/README.md", "On a GPU"), ("dali_msda/README.md", "Lightning")
DALI, FFCV = ("dali_msda/README.md", "DALI"), ("dali_msda/README.md", "FFCV")
PLAIN = [key for key in CODE if key not in (GPU, LIGHTNING, DALI, FFCV)]  # which have tests below


def run_code(key):
    """The names that the code of a section defines; its blocks go on from one another."""
    names = {}
    exec(compile(CODE[key], ": ".join(key), "exec"), names)
    return names


@pytest.mark.parametrize("key", PLAIN, ids=": ".join)
def test_code_runs(key):
    run_code(key)


def test_all_doors_have_code():
    heads = {head for name, head in CODE if name == "dali_msda/README.md"}
    assert heads >= {"DALI", "FFCV", "PyTorch", "timm", "torchvision", "Lightning", "Arrays"}
    assert heads >= {"Compositions", "Annotations", "On a GPU"}


def test_the_pipeline_of_dali_runs(tmp_path):
    write_folder(tmp_path, [40, 40])
    pipeline = run_code(DALI)["training"](str(tmp_path))
    pipeline.build()
    images, targets = pipeline.run()
    assert images.as_tensor().shape() == [64, 3, 224, 224]
    assert np.allclose(np.asarray(targets.as_tensor()).sum(1), 1)


def test_the_loader_of_ffcv_is_made(tmp_path):
    pytest.importorskip("ffcv")
    from dali_msda.pipelines.write_beton import write_beton

    beton = tmp_path / "few.beton"
    write_beton(write_folder(tmp_path / "few", [2, 2]), beton, workers=1)
    names = run_code(FFCV)
    loader = names["training"](str(beton))
    assert loader.batch_size == 256  # it checks its pipelines when it is made
    from dali_msda import ffcv

    example = textwrap.dedent(ffcv.__doc__.partition("::\n\n")[2].partition("\n:class")[0])
    normal = names["NORMAL"]
    names |= {"CutMix": dali_msda.CutMix, "MEAN": normal["mean"], "STD": normal["std"]}
    code = example.replace("train.beton", str(beton)).replace("num_workers=8", "num_workers=1")
    exec(compile(code, "dali_msda.ffcv", "exec"), names)
    assert names["loader"].batch_size == 256


class HostCupy:
    """As much of CuPy as the manual uses, in CPU memory."""

    uint8, float16 = "uint8", "float16"
    zeros, empty, arange = (
        staticmethod(lambda *how, make=make: HostArray(make(*how)))
        for make in (np.zeros, np.empty, np.arange)
    )


def test_code_for_a_gpu_runs(monkeypatch):
    device = install(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", HostCupy)
    names = run_code(GPU)
    assert device.launched == ["msda_field_masks", "msda_blend_uint8_float16",
                               "msda_targets_dense_int64"]  # fmt: skip
    assert names["targets"].shape == (8, 1000)


def test_code_for_lightning_runs(monkeypatch):
    """With as much of Lightning as calls the hooks."""
    module = SimpleNamespace(LightningModule=type("LightningModule", (), {}))
    monkeypatch.setitem(sys.modules, "lightning", module)
    ours, batch = run_code(LIGHTNING)["Mixed"](), (torch.rand(4, 3, 8, 8), torch.arange(4))
    ours.trainer = SimpleNamespace(training=False)
    assert ours.on_after_batch_transfer(batch, 0) is batch
    ours.trainer.training = True
    images, targets = ours.on_after_batch_transfer(batch, 0)
    assert images.shape == batch[0].shape and targets.shape == (4, 1000)
    checkpoint = {}
    ours.on_save_checkpoint(checkpoint)
    want = ours.on_after_batch_transfer(batch, 0)
    ours.on_load_checkpoint(checkpoint)
    assert torch.equal(ours.on_after_batch_transfer(batch, 0)[1], want[1])


# Lengths.


@pytest.mark.parametrize("name", PAGES)
def test_lines_have_at_most_100_columns(name):
    assert [line for line in PAGES[name].splitlines() if len(line) > 100] == []


def test_the_first_page_is_one_page():
    assert len(FIRST_PAGE.splitlines()) <= 120
    (example,) = blocks(FIRST_PAGE)
    assert len(example.splitlines()) <= 8
    figures = FIRST_PAGE.split("report: begin -->")[1].split("<!-- end -->")[0]
    assert 1 <= figures.count("\n* ") <= 5


# Tables and cards.


def test_lines_to_change_are_counted():
    """Against the examples of the manual, where each such line is marked."""
    rows = re.findall(r"^\| (\w+) \| \[.*\]\(dali_msda/README\.md#(\w+)\) \| (\d+) \|$",
                      FIRST_PAGE, re.M)  # fmt: skip
    assert [row[0] for row in rows] == "DALI FFCV torch timm torchvision Lightning".split()
    heads = {head.lower(): text for head, text in sections(MANUAL).items()}
    for name, anchor, count in rows:
        marked = re.findall(r"  # changed$", heads[anchor], re.M)
        assert len(marked) == int(count), name


def test_methods_are_those_of_the_cards():
    """The first page's table and the manual's cards are what `make manual` writes."""
    assert manual.replaced(FIRST_PAGE, manual.table()) == FIRST_PAGE
    assert manual.replaced(MANUAL, manual.cards()) == MANUAL
    assert all(f"### {method.policy}\n" in MANUAL for method in METHODS.values())


@pytest.mark.parametrize("name", METHODS)
def test_a_card_tells_every_argument(name):
    card, method, kind = manual.card(name), METHODS[name], POLICIES[name]
    flat = " ".join(card.split())
    own = [one for one in inspect.signature(kind).parameters.values()
           if one.name not in inspect.signature(policy.Leaf).parameters]  # fmt: skip
    for one in own:
        default = f'"{one.default}"' if isinstance(one.default, str) else one.default
        assert f"* `{one.name}={default}`: " in flat, one.name
    for text in (method.definition, method.label_weight, method.when, method.deviations):
        assert text in flat
    assert manual.told(kind).keys() == {one.name for one in own}


def test_a_line_of_a_card_never_begins_with_a_product():
    lines = manual._wrapped("n * m " * 200).splitlines()
    assert len(lines) > 9 and not [line for line in lines if line.startswith("*")]


def test_pictures_are_those_of_the_cards():
    """Up to what another version of the encoder or of the font's renderer does."""
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("skimage")
    drawn = dict(gallery.pictures())
    sheets = {f"{name}.jpg" for name in (*METHODS, "methods", "multimix", "comixup")}
    assert drawn.keys() == {*sheets, "policies.png"}
    files = {path.name: path for path in (manual.PACKAGE / manual.GALLERY).iterdir()}
    assert files.keys() == drawn.keys()
    for name, picture in drawn.items():
        stream = io.BytesIO()
        picture.save(stream, files[name].suffix[1:].replace("jpg", "jpeg"), quality=gallery.QUALITY)
        with image.open(files[name]) as kept, image.open(stream) as made:
            assert kept.size == made.size, f"{name}: make manual"
            shown = [np.asarray(one.convert("RGB"), np.int16) for one in (kept, made)]
        assert np.abs(shown[0] - shown[1]).mean() < 1, f"{name}: make manual"
        assert f"]({manual.GALLERY}/{name})" in MANUAL + FIRST_PAGE.replace("(dali_msda/", "(")
        assert files[name].stat().st_size < 60_000
    assert sum(path.stat().st_size for path in files.values()) < 700_000


def test_histograms_are_of_the_policies_that_they_name():
    for text, drawn in gallery.DRAWN.items():
        assert eval(text, vars(dali_msda).copy()) == drawn


def test_the_version_is_the_same_everywhere():
    newest = re.search(r"^\* \*\*([\d.]+)\*\*", sections(MANUAL)["Versions"], re.M)
    cited = re.search(r"^ +version = \{(.*)\},$", FIRST_PAGE, re.M)
    assert newest[1] == cited[1] == dali_msda.__version__


def test_the_table_of_dali_holds_every_release():
    """As `make dali-matrix` writes it, where everything works."""
    rows = re.findall(r"^\| (\d[\d.]+) \| ([\d, ]+) \| (.*) \|$", sections(MANUAL)["Install"], re.M)
    assert [row[0] for row in rows] == list(releases.VERSIONS)
    for version, cudas, answers in rows:
        assert cudas == "12, 13" and set(answers.split(" | ")) <= {"yes", "needs a GPU"}, version


# Links, paths and commands.


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in sections(page)}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for text, link in re.findall(r"\[([^\]]*)\]\(([^)]*)\)", prose(PAGES[name])):
        assert text and link and not re.search(r"\s", link), (text, link)
        path, _, anchor = link.partition("#")
        if path.startswith("https://"):
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def code_spans(page):
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def prose(page):
    return re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)


SUFFIXES = ".py .md .h .cuh .cu .cpp .cc .yaml .jsonl .svg .jpg .toml".split()
FOLDERS = ("bench", "dali_msda", "kernels", "pipelines", "tests")
ON_A_GPU = {"gpu.jsonl", "peers-cuda.svg"}  # written where there is one


@pytest.fixture(scope="module")
def known_paths():
    """Every file and folder of the project, with as few of the folders above it as one likes."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder, *(ROOT / folder).rglob("*"))]
    parts = [path.relative_to(ROOT).parts for path in (*paths, *ROOT.glob("*.*"))]
    return {part[k:] for part in parts for k in range(len(part))}


@pytest.mark.parametrize("name", PAGES)
def test_files_exist(name, known_paths):
    """Paths and file names in back-ticks."""
    for span in code_spans(PAGES[name]):
        is_path = re.fullmatch(r"\.?[\w-]+(/[\w.-]+)*/?(\.\w+)?", span) and (
            "/" in span or Path(span).suffix in SUFFIXES
        )
        if is_path and Path(span).parts[0] not in THEIRS and span not in ON_A_GPU:
            assert Path(span).parts in known_paths, span


def command_lines(page):
    """What a shell would get: indented blocks and back-ticks, a command each."""
    indented = re.sub(r"\\\n\s*", "", prose(page))
    lines = [line.split("  #")[0].strip() for line in re.findall(r"^    (.*)$", indented, re.M)]
    return [*lines, *code_spans(page)]


def commands(page, first):
    return [line for line in command_lines(page) if line.startswith(first)]


def helped(module, *words):
    """What ``--help`` of a module says."""
    with contextlib.redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as end:
        main = cli.main if module == "dali_msda" else importlib.import_module(module).main
        main([*words, "--help"])
    assert end.value.code == 0
    return said.getvalue()


PLAIN_COMMANDS = ("bench.suites.loaders",)  # without --help
MODULES = {"bench": "bench.__main__", "bench.card": "bench.card.__main__"}
BENCH_COMMANDS = "list", "compare", "report", "papers", "accuracy"
SUBCOMMANDS = {"dali_msda": cli.COMMANDS, "bench": BENCH_COMMANDS}


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_python_exist(name):
    """Modules, their commands and their options."""
    for line in command_lines(PAGES[name]):
        found = re.search(r"-m ((?:dali_msda|bench)[\w.]*)(.*)", line)
        if not found or line.startswith("pip"):
            continue
        module, rest = found[1], found[2].split()
        if module in PLAIN_COMMANDS:
            assert importlib.util.find_spec(module) and not rest, line
            continue
        words = []
        if module in SUBCOMMANDS and rest and re.fullmatch("[a-z]+", rest[0]):
            assert rest[0] in SUBCOMMANDS[module], line
            words = rest[:1]
        elif module == "bench":
            words = ["run"]
        said = helped(MODULES.get(module, module), *words)
        for option in re.findall(r"(?<!\S)--?[a-z][\w-]*", " ".join(rest)):
            assert re.search(rf"{option}\b", said), line
        if module.endswith(".train") and rest and rest[0] != "--help":
            assert rest[0] in presets(), line


def test_options_in_the_prose_exist():
    known = "".join(
        helped(f"dali_msda.pipelines.{x}") for x in ("train", "write_beton", "evaluate")
    )
    for span in code_spans(PAGES["pipelines/README.md"]):
        if span.startswith("--"):
            assert span.split()[0] in known, span


@pytest.mark.parametrize("name", PAGES)
def test_targets_of_make_exist(name):
    for line in commands(PAGES[name], "make"):
        for word in line.split()[1:]:
            if re.fullmatch("[a-z-]+", word):
                assert re.search(rf"^{word}:", MAKEFILE, re.M), line


@pytest.mark.parametrize("name", PAGES)
def test_extras_exist(name):
    text = (ROOT / "pyproject.toml").read_text()
    for extra in re.findall(r"'\.\[(\w+)\]'", PAGES[name]):
        assert re.search(rf"^{extra} = \[", text, re.M), extra


def test_errors_are_quoted_as_they_are():
    """Each message of the troubleshooting table stands in the sources."""
    folders = (ROOT / "dali_msda", ROOT / "pipelines", ROOT / "kernels")
    files = [path for folder in folders for path in sorted(folder.rglob("*.*"))
             if path.suffix in {".py", ".h", ".cpp"}]  # fmt: skip
    sources = re.sub(r'"\s*f?"', "", "".join(path.read_text() for path in files))
    quoted = re.findall(r'^\| "(.*?)" \|', sections(MANUAL)["Troubleshooting"], re.M)
    assert len(quoted) >= 5
    for text in quoted:
        found = text.replace("expected FFCV 1.0.2", "expected FFCV {VERSION}")
        assert found in sources, text


def test_the_preset_of_the_example_is_one():
    (text,) = blocks(PAGES["pipelines/README.md"], "yaml")
    assert Config(data="somewhere", **yaml.safe_load(text)).model == "resnet50"


def test_policies_and_functions_exist():
    """Names of the package in back-ticks, such as `msda.saliency` and `MultiMix(...)`."""
    import dali_msda

    for page in PAGES.values():
        for span in code_spans(page):
            if found := re.fullmatch(r"msda\.(\w+)(\(.*)?", span):
                assert hasattr(dali_msda, found[1]), span
