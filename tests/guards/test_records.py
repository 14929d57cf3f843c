"""A record is checked whole wherever it enters, whatever its method uses of it."""

import numpy as np
import pytest

import dali_msda as msda

NAN, INF = float("nan"), float("inf")
TOP, BOTTOM = 2**31 - 1, -(2**31)
WRONG = [
    ({"weight": 0.7}, "weights: expected values that sum to 1"),
    ({"weight": 0, "partner_weight": 0}, "weights: expected values that sum to 1 .* a sum of 0"),
    ({"weight": NAN}, "weights: expected"),
    ({"partner_weight": -0.5}, "weights: expected"),
    ({"lam": INF}, "lam: expected"),
    ({"lam": NAN}, "lam: expected"),
    ({"inside": 2.0}, "inside, outside: expected"),
    ({"depth": 0}, "depth"),
    ({"height": 0}, "height"),
    ({"width": -5}, "width"),
    ({"height": BOTTOM}, "height"),
    ({"depth": TOP, "height": TOP}, "depth"),
    ({"point": BOTTOM}, "point: expected a pixel"),
    ({"point": TOP}, "point: expected a pixel"),
    ({"z0": 1}, "z0, z1: expected 0"),
    ({"z1": -1}, "z0, z1: expected 0"),
    ({"y1": TOP}, "y0, y1: expected"),
    ({"x0": BOTTOM}, "x0, x1: expected"),
    ({"count": -1}, "count, soft: expected"),
    ({"count": TOP}, "count, soft: expected"),
    ({"soft": TOP, "count": TOP}, "count, soft: expected"),
    ({"falloff": INF}, "falloff, decay: expected"),
    ({"falloff": -1.0}, "falloff, decay: expected"),
    ({"decay": 11.0}, "decay: expected"),
    ({"modes": -1}, "modes, layer, leaf: expected"),
    ({"layer": BOTTOM}, "modes, layer, leaf: expected"),
    ({"leaf": -7}, "modes, layer, leaf: expected"),
    ({"flags": 2}, "flags: expected"),
    ({"flags": 2**31}, "flags: expected"),
    ({"reserved": 1}, "reserved: expected 0"),
    ({"sources": 0}, "sources: expected"),
    ({"sources": 255}, "sources: expected"),
    ({"own": BOTTOM}, "sources: expected"),
    ({"partner": TOP}, "sources: expected"),
    ({"version": 0}, "version: expected 1"),
    ({"method": 200}, "method: expected"),
]
BOXES = [[[0.0, 0.0, 3.0, 3.0]]] * 3
POLICIES = [msda.Mixup(), msda.CutMix(), msda.FMix(), msda.GMix(), msda.ResizeMix()]
POLICIES += [msda.PuzzleMix()]


@pytest.mark.parametrize("fields, message", WRONG, ids=[str(fields) for fields, _ in WRONG])
def test_each_field_is_checked(fields, message, tmp_path):
    for policy in POLICIES:
        good = msda.draw(policy, 3, 9, 12, seed=2, step=0)
        np.save(tmp_path / "plan.npy", good)
        plan = good.copy()
        for name, value in fields.items():
            plan[name][1] = value
        np.save(tmp_path / "damaged.npy", plan)
        for call in (
            lambda plan=plan: msda.targets([0, 1, 2], plan, num_classes=3),
            lambda plan=plan: msda.blend(np.zeros((3, 9, 12, 3), np.uint8), plan),
            lambda plan=plan: msda.mask(plan, 9, 12),
            lambda plan=plan: msda.boxes(BOXES, [[0]] * 3, plan),
            lambda plan=plan: msda.values(np.zeros(3, np.float32), plan),
            lambda: msda.load(tmp_path / "damaged.npy"),
        ):
            with pytest.raises(ValueError, match=rf"plan\[1\]: .*{message}"):
                call()
        assert len(msda.load(tmp_path / "plan.npy")) == 3


@pytest.mark.parametrize("policy, most", [(msda.CutMix(), 2), (msda.Cutout(), 1), (msda.FMix(), 2)])
def test_a_method_mixes_no_more_samples_than_it_can(policy, most):
    plan = msda.draw(policy, 4, 9, 12, seed=2, step=0)
    plan["sources"] = most + 1
    with pytest.raises(ValueError, match=f"sources: expected at most {most} .* got {most + 1}"):
        msda.mask(plan, 9, 12)
