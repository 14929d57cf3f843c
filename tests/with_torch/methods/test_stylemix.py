"""StyleMix and StyleCutMix: arithmetic, draws and labels, with a small encoder and decoder."""

import numpy as np
import pytest
import torch
from torch import nn

import dali_msda as msda
from dali_msda.torch import (
    StyleCutMix,
    StyleMix,
    adain,
    style_gammas,
    style_vectors,
    stylecutmix,
    stylemix,
)
from dali_msda.torch.draw_key import derived_seed
from tests.reference import style as reference

CLASSES, BATCH, SIZE = 5, 4, (8, 6)
torch.manual_seed(0)
ENCODER, DECODER = nn.Conv2d(3, 6, 2, stride=2), nn.ConvTranspose2d(6, 3, 2, stride=2)
LABELS = torch.arange(BATCH) % CLASSES


def images(seed=0, size=SIZE):
    return torch.rand(BATCH, 3, *size, generator=torch.Generator().manual_seed(seed))


def plain(tensor):
    return tensor.detach().double().numpy()


def test_adain_takes_the_style_of_the_other():
    content, style = images(1), 3 * images(2) - 1
    found = adain(content, style)
    for i in range(BATCH):
        np.testing.assert_allclose(found[i], reference.adain(content[i], style[i]), atol=1e-5)
    vectors = style_vectors([content, style])
    expected = [part.reshape(3, -1) for part in (plain(content[0]), plain(style[0]))]
    deviations = [np.sqrt(part.var(1, ddof=1) + 1e-5) for part in expected]
    pairs = zip(expected, deviations, strict=True)
    rows = [value for part, spread in pairs for value in (part.mean(1), spread)]
    np.testing.assert_allclose(vectors[0], np.concatenate(rows), atol=1e-6)


def test_where_the_ratios_agree_it_is_mixup():
    own, partner = images(1), images(2)
    mixed = stylemix(own, partner, 0.3, 0.3, 0.3)
    torch.testing.assert_close(mixed, 0.3 * own + 0.7 * partner)
    box = torch.zeros(BATCH, 1, *SIZE)
    box[:, :, 2:5] = 1
    pasted = stylecutmix(own, partner, own, partner, box, 0.4, 0.2)
    torch.testing.assert_close(pasted, torch.where(box > 0, own, partner))


@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_stylemix_is_the_definition(scope):
    mix = StyleMix(ENCODER, DECODER, CLASSES, prob=0.7, scope=scope, seed=3, rank=1)
    policy = msda.Mixup(alpha=0.5, prob=0.7, scope=scope)
    seen = set()
    for step in range(6):
        batch, key = images(step), dict(seed=3, step=step, rank=1)
        mixed, targets = mix(batch, LABELS)
        plan = msda.draw(policy, BATCH, *SIZE, **key)
        key["seed"] = derived_seed(3, "style")
        styles = msda.draw(msda.Mixup(alpha=0.5, scope=scope), BATCH, 1, 1, **key)["lam"]
        key["seed"] = 3
        features = plain(ENCODER(batch))
        for i, p in enumerate(plan):
            seen.add(int(p["sources"]))
            if p["sources"] == 1:
                assert torch.equal(mixed[i], batch[i]) and targets[i, LABELS[i]] == 1
                continue
            content, style = float(p["lam"]), float(styles[i])
            t = reference.both(0 if scope == "batch" else i, content, style, **key)
            made = reference.stylemix(features[i], features[p["partner"]], content, style, t)
            expected = DECODER(torch.from_numpy(made).float()[None])[0]
            torch.testing.assert_close(mixed[i], expected, rtol=1e-4, atol=1e-5)
            own = 0.7 * content + 0.3 * style
            row = np.zeros(CLASSES)
            row[LABELS[i]] += own
            row[LABELS[p["partner"]]] += 1 - own
            np.testing.assert_allclose(targets[i], row, atol=1e-6)
    assert seen == {1, 2} and not mixed.requires_grad


@pytest.mark.parametrize("auto", [False, True])
def test_stylecutmix_is_the_definition(auto):
    gammas = torch.rand(CLASSES, CLASSES) if auto else None
    mix = StyleCutMix(ENCODER, DECODER, CLASSES, prob=1.0, gammas=gammas, seed=4, share=0.6)
    for step in range(4):
        batch, key = images(step), dict(seed=4, step=step)
        mixed, targets = mix(batch, LABELS)
        plan = msda.draw(msda.CutMix(), BATCH, *SIZE, **key)
        ratios = {}
        for name, alpha in (("style", 1.0), ("gamma", 0.8)):
            drawn = msda.Mixup(alpha=alpha)
            ratios[name] = msda.draw(drawn, BATCH, 1, 1, seed=derived_seed(4, name), step=step)
        features = plain(ENCODER(batch))
        for i, p in enumerate(plan):
            j, style, gamma = p["partner"], ratios["style"]["lam"][i], ratios["gamma"]["lam"][i]
            if auto:
                gamma = gammas[LABELS[i], LABELS[j]].item()
            box = np.zeros(SIZE)
            box[p["y0"] : p["y1"], p["x0"] : p["x1"]] = 1
            styled = [reference.adain(features[a], features[b]) for a, b in ((i, j), (j, i))]
            styled = plain(DECODER(torch.from_numpy(np.stack(styled)).float()))
            pair = plain(batch[i]), plain(batch[j])
            made = reference.stylecutmix(*pair, *styled, box, style, gamma)
            np.testing.assert_allclose(mixed[i], made, atol=1e-5)
            lam = box.mean()
            own = 0.6 * lam + 0.4 * (gamma * lam + (1 - gamma) * style)
            row = np.zeros(CLASSES)
            row[LABELS[i]] += own
            row[LABELS[j]] += 1 - own
            np.testing.assert_allclose(targets[i], row, atol=1e-6)


def test_gammas_of_classes_count_every_image():
    vectors, labels = torch.rand(12, 3), torch.arange(12) % 3
    found = style_gammas(vectors, labels, 3, delta=0.5)
    means = [plain(vectors[labels == k]).mean(0) for k in range(3)]
    for a in range(3):
        for b in range(3):
            expected = np.tanh(((means[a] - means[b]) ** 2).mean() / 0.5)
            assert found[a, b].item() == pytest.approx(expected, abs=1e-6)


def test_sizes_types_and_compact_targets():
    sizes = []
    encoder = lambda x: sizes.append(x.shape[2:]) or ENCODER(x.float())  # noqa: E731
    for kind in (StyleMix, StyleCutMix):
        mix = kind(encoder, DECODER, prob=1.0, size=16, compact=True)
        mixed, labels, weights = mix(images().half(), LABELS)
        assert mixed.shape == (BATCH, 3, *SIZE) and mixed.dtype == torch.float16
        np.testing.assert_allclose(weights[:, 0], mix.plan["weight"])
        assert labels.tolist() == [[i, j] for i, j in mix.plan[["own", "partner"]].tolist()]
    assert set(sizes) == {(16, 16)}


def test_it_goes_on_from_its_state():
    for kind in (StyleMix, StyleCutMix):
        whole, again = (kind(ENCODER, DECODER, CLASSES, prob=0.8, seed=6) for _ in range(2))
        for step in range(4):
            state = whole.state_dict()
            assert state == {"seed": 6, "step": step}
            mixed, targets = whole(images(step), LABELS)
        again.load_state_dict(state)
        ours = again(images(3), LABELS)
        assert torch.equal(ours[0], mixed) and torch.equal(ours[1], targets)
        with pytest.raises(ValueError, match="expected seed 1, as in this run, got 6"):
            kind(ENCODER, DECODER, CLASSES, seed=1).load_state_dict(state)


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="share: expected a share in"):
        StyleMix(ENCODER, DECODER, share=2.0)
    with pytest.raises(TypeError, match="images: expected floats, normalised"):
        StyleMix(ENCODER, DECODER, CLASSES)(images().byte(), LABELS)
    mix = StyleCutMix(ENCODER, DECODER, CLASSES, prob=1.0, gammas=torch.rand(CLASSES, CLASSES))
    with pytest.raises(ValueError, match="labels: expected class indices .B,. with gammas"):
        mix(images(), nn.functional.one_hot(LABELS, CLASSES).float())
