"""The studies: tiny cases, the same numbers twice, and measures beside plain computations."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

import dali_msda  # noqa: E402
import dali_msda.torch  # noqa: E402
from bench import records  # noqa: E402
from bench.__main__ import main  # noqa: E402
from bench.studies import (  # noqa: E402
    accuracy,
    gradient_norms,
    methods,
    photographs,
    report,
    spiral,
    two_moons,
)
from dali_msda.pipelines.evaluation import attacks, measures  # noqa: E402

SOME = [("none", ""), ("AlignMix", "default"), ("FMix", "paper"), ("Co-Mixup", "paper")]
TINY = {
    "spiral": lambda: spiral.run(seeds=2, epochs=2),
    "two_moons": lambda: two_moons.run(steps=(0, 30), draws=20),
    "gradient_norms": lambda: gradient_norms.run(seeds=1, draws=40, steps=150),
    "accuracy": lambda: accuracy.run(2, 1, {key: methods.METHODS[key] for key in SOME}),
    "photographs": lambda: photographs.run(2, 1, {key: methods.METHODS[key] for key in SOME[:2]}),
}


@pytest.fixture(scope="module", autouse=True)
def few_images():
    """Few images to test with: they take the time."""
    images, labels = accuracy.digits()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy, "digits", lambda: (images[:250], labels[:250]))
        some = photographs.photographs(12)
        patch.setattr(photographs, "photographs", lambda: some)
        yield


@pytest.fixture(scope="module")
def lines(few_images):
    """Lines of a tiny case of each study, by study."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {study: list(run()) for study, run in TINY.items()}
    torch.set_num_threads(threads)


@pytest.mark.parametrize("study", TINY)
def test_two_runs_give_the_same_numbers(study, lines):
    """Also after other random numbers were drawn."""
    torch.set_num_threads(1)
    torch.manual_seed(7)
    np.random.seed(7)
    assert [made["figures"] for made in TINY[study]()] == [made["figures"] for made in lines[study]]


def test_every_method_of_the_package_is_compared():
    """By default and with its paper's settings; and each one changes what is learned."""
    compared = {method.replace(" ", "").replace("-", "") for method, _ in methods.METHODS}
    for name in {*dali_msda.__all__, *dali_msda.torch.__all__} - {"StyleMix", "StyleCutMix"}:
        if name.endswith(("Mix", "Mixup", "Cutout")):
            assert name in compared
    for method in {method for method, _ in methods.METHODS} - {"none", "label smoothing"}:
        said = " ".join(settings for name, settings in methods.METHODS if name == method)
        assert "default" in said and "paper" in said, method
    images, labels = accuracy.digits()
    learned = {}
    for key, make in methods.METHODS.items():
        torch.manual_seed(0)
        model = accuracy.Net()
        step = make(model, 0)
        accuracy.train(model, step, images[:100], labels[:100], 3, torch.Generator().manual_seed(0))
        learned.setdefault(model.layer1[0].weight.detach().numpy().tobytes(), []).append(key)
    assert all(len(alike) == 1 for alike in learned.values()), learned.values()


def test_more_interpolations_lower_the_variance(lines):
    found = {
        (made["case"]["lambdas"], made["case"]["k"]): made["figures"]["variance_mean"]
        for made in lines["gradient_norms"]
    }
    assert found["batch", 9] < 0.9 * found["batch", 1]
    assert found["pair", 9] < 0.9 * found["pair", 1]


def test_the_approximation_is_exact_at_first_and_close_to_the_loss(lines):
    for made in lines["two_moons"]:
        true, approximate = made["figures"]["true"], made["figures"]["approximate"]
        assert true[0] == approximate[0] == records.rounded(math.log(2))
        assert 0.9 * true[1] < approximate[1] < true[1] < 0.6


def test_manifold_mixup_of_all_seeds_at_once_is_that_of_each_seed():
    """A network of the stack learns what it learns by itself."""
    sets = [spiral.points(seed) for seed in (0, 1)]
    both = spiral.train(sets, 0.1, spiral.POLICIES[5], 2)
    alone = spiral.train(sets[:1], 0.1, spiral.POLICIES[5], 2)
    for (weight, bias), (own, shift) in zip(both, alone, strict=True):
        torch.testing.assert_close(weight[:1], own, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(bias[:1], shift, rtol=1e-3, atol=1e-5)


def test_calibration_error_is_that_of_a_plain_computation():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(300, 4)) * 2, random.integers(0, 4, 300)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    unsure = shares.max(1) < 0.6  # too unsure there, and too sure elsewhere
    labels[unsure] = shares.argmax(1)[unsure]
    total = 0.0
    for low in np.arange(10) / 10:
        inside = (shares.max(1) > low) & (shares.max(1) <= low + 0.1)
        if inside.any():
            right = (shares.argmax(1) == labels)[inside].mean()
            total += inside.mean() * abs(right - shares.max(1)[inside].mean())
    answers = measures.answers_of(torch.tensor(logits), torch.tensor(labels))
    found = measures.summary(answers, accuracy.BINS)["ece"] / 100
    assert found == pytest.approx(total, abs=1e-9) and found > 0.05


def test_an_attack_steps_along_the_sign_of_the_gradient():
    """Of a linear model: away from the own class's weights."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    model[1].weight.data = torch.tensor([[1.0, -1.0, 2.0, 0.5], [0.0, 0.0, 0.0, 1.0]])
    images = torch.full((1, 1, 2, 2), 0.5)
    direction = attacks.gradient_signs(model, images, torch.tensor([0]))
    assert direction.flatten().tolist() == [-1, 1, -1, 1]


def test_the_commands_write_lines_and_report_shows_them(lines, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    for study, module in zip(
        TINY, (spiral, two_moons, gradient_norms, accuracy, photographs), strict=True
    ):
        monkeypatch.setattr(module, "run", lambda study=study: iter(lines[study]))
    assert main(["papers", "--folder", str(tmp_path)]) == 0
    drawn = (tmp_path / "spiral.svg").read_bytes()
    assert main(["accuracy", "--folder", str(tmp_path)]) == 0
    names = {"STUDIES.md", "accuracy.jsonl", "papers.jsonl", *(f"{study}.svg" for study in TINY)}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "spiral.svg").read_bytes() == drawn  # from the same lines
    text = (tmp_path / "STUDIES.md").read_text()
    none = lines["accuracy"][0]["figures"]
    assert f"| none |  | {none['accuracy_mean']:.1f} +- " in text
    assert "K = 5 over K = 1" in text and "so the order" in text
    lacking = text.split("Not measured: ")[1].split("\n")[0]
    assert "Mixup (paper), " in lacking and "AlignMix (default)" not in lacking
    assert lacking.count("(") - lacking.count("(CIFAR") == len(methods.METHODS) - len(SOME)
    assert "accuracy none" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("values", "others", "words"),
    [
        ([90, 91, 92], [80, 81, 82.5], "shows"),
        ([80, 91, 92], [90, 81, 92], "does not show"),
        ([80, 81, 82], [90, 91, 92.5], "is the reverse"),
    ],
)
def test_the_report_says_whether_an_order_shows(values, others, words):
    assert report._verdict(values, others).endswith(f"so the order {words}")
