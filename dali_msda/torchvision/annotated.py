"""Masks and boxes in a batch of torchvision's, mixed by the plan of its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.utils import _pytree as pytree  # torchvision's own transforms take samples apart by it

from dali_msda.annotations import boxes, segmentation
from dali_msda.ops import mask
from dali_msda.torch.torchvision_cpu import declare_operators

declare_operators()
from torchvision import tv_tensors  # noqa: E402
from torchvision.transforms.v2 import functional  # noqa: E402

HIDDEN = "an annotation"  # takes the place of one while torchvision mixes the rest
PLANS = Callable[[int, int, int], np.ndarray]  # by samples, height and width


def hidden(sample: object) -> tuple[object, list[object], object]:
    """A sample without its annotations, the leaves of the sample, and how they hang together.

    Leaves are masks, boxes, and dictionaries of boxes with what else is known of each.
    """
    leaves, spec = pytree.tree_flatten(sample, is_leaf=_is_annotation)
    rest = [HIDDEN if _is_annotation(leaf) else leaf for leaf in leaves]
    return pytree.tree_unflatten(rest, spec), leaves, spec


def mixed(
    made: object, leaves: list[object], spec: object, plan_of: PLANS, batch: int, least: float
) -> object:
    """The sample with its annotations mixed.

    Args:
        made: What torchvision made of the sample without annotations.
        leaves: What :func:`hidden` found; so is the next.
        spec: How the leaves hang together.
        plan_of: Makes the plan of the batch for samples of a size.
        batch: Number of samples.
        least: Least share of a box that must still show.

    Raises:
        TypeError, ValueError: If masks or boxes do not fit the batch.
    """
    parts = pytree.tree_flatten(made, is_leaf=_is_annotation)[0]
    slots = [slot for slot, leaf in enumerate(leaves) if _has_boxes(leaf)]
    for slot, leaf in enumerate(leaves):
        if isinstance(leaf, tv_tensors.Mask):
            parts[slot] = _mixed_maps(leaf, plan_of)
    if slots:
        several = _mixed_boxes([leaves[slot] for slot in slots], plan_of, batch, least)
        for slot, one in zip(slots, several, strict=True):
            parts[slot] = one
    return pytree.tree_unflatten(parts, spec)


def _is_annotation(value: object) -> bool:
    return isinstance(value, tv_tensors.Mask) or _has_boxes(value)


def _has_boxes(value: object) -> bool:
    if not isinstance(value, Mapping):
        return isinstance(value, tv_tensors.BoundingBoxes)
    kinds = tuple(type(part) for part in value.values())
    images = any(issubclass(kind, tv_tensors.Image | tv_tensors.Video) for kind in kinds)
    return kinds.count(tv_tensors.BoundingBoxes) == 1 and not images


def _mixed_maps(maps: tv_tensors.Mask, plan_of: PLANS) -> tv_tensors.Mask:
    planes = maps.as_subclass(torch.Tensor)
    if planes.ndim not in (3, 4) or (planes.ndim == 4 and planes.shape[1] != 1):
        raise ValueError(
            f"masks: expected a batch of maps of classes, (B, H, W) or (B, 1, H, W), got "
            f"{tuple(maps.shape)}; masks of objects belong into dictionaries with their boxes"
        )
    flat = planes.flatten(0, -3).contiguous()
    made = segmentation(flat, plan_of(*flat.shape))
    return tv_tensors.wrap(made.reshape(planes.shape), like=maps)


def _mixed_boxes(groups: list[object], plan_of: PLANS, batch: int, least: float) -> list[object]:
    """Boxes of each sample, and what is known of each, for all samples of a batch."""
    places = [_boxes_of(group) for group in groups]
    first = places[0]
    for slot, one in enumerate(places):
        if (one.canvas_size, one.format) != (first.canvas_size, first.format):
            raise ValueError(
                f"boxes: expected one canvas_size and format in a batch, got {one.canvas_size} and "
                f"{one.format} in sample {slot}, {first.canvas_size} and {first.format} in the "
                "first"
            )
    plan = plan_of(batch, *first.canvas_size)
    if len(groups) != batch:
        raise ValueError(f"boxes: expected as many as images, {batch}, got {len(groups)}")
    corners = [_converted(one, tv_tensors.BoundingBoxFormat.XYXY) for one in places]
    origin = [_numbered(slot, len(one)) for slot, one in enumerate(places)]
    found, sources, visible = boxes(corners, origin, plan, min_visible=least)
    shown = torch.from_numpy(mask(plan, *first.canvas_size))
    made = []
    for slot, group in enumerate(groups):
        like = places[slot]
        kept = tv_tensors.BoundingBoxes(
            found[slot], format=tv_tensors.BoundingBoxFormat.XYXY, canvas_size=like.canvas_size
        )
        kept = tv_tensors.wrap(_converted(kept, like.format).to(like.dtype), like=like)
        if not isinstance(group, Mapping):
            made.append(kept)
            continue
        rows = {
            name: kept if part is like else _rows(name, groups, slot, sources[slot], shown[slot])
            for name, part in group.items()
        }
        made.append(rows | {"visible": visible[slot]})
    return made


def _boxes_of(group: object) -> tv_tensors.BoundingBoxes:
    if not isinstance(group, Mapping):
        return group
    return next(part for part in group.values() if isinstance(part, tv_tensors.BoundingBoxes))


def _converted(places: tv_tensors.BoundingBoxes, form: object) -> torch.Tensor:
    made = functional.convert_bounding_box_format(places, new_format=form)
    return made.as_subclass(torch.Tensor)


def _numbered(sample: int, count: int) -> torch.Tensor:
    """Sample and number of each of its boxes, ``(count, 2)``, by which they are found again."""
    return torch.stack([torch.full((count,), sample), torch.arange(count)], 1)


def _rows(
    name: str, groups: list[object], slot: int, sources: torch.Tensor, shown: torch.Tensor
) -> object:
    """One field of a mixed sample: the rows of its boxes, or of the own sample what is no row."""
    own = groups[slot][name]
    if not isinstance(own, torch.Tensor) or own.shape[:1] != _boxes_of(groups[slot]).shape[:1]:
        return own
    rows = own.new_empty((len(sources), *own.shape[1:]))
    for row, (sample, number) in enumerate(sources.tolist()):
        rows[row] = groups[sample][name][number]
        if isinstance(own, tv_tensors.Mask):  # of an object: what shows of it
            rows[row] *= (shown > 0 if sample == slot else shown < 1).to(rows.dtype)
    return tv_tensors.wrap(rows, like=own) if isinstance(own, tv_tensors.TVTensor) else rows
