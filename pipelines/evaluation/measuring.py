"""Collects a classifier's answers to batches of images, clean ones and ones made harder."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from dali_msda.pipelines.evaluation import attacks, boxes, localisation, measures
from dali_msda.pipelines.evaluation.measures import Answers
from dali_msda.pipelines.evaluation.pictures import Seen
from dali_msda.pipelines.evaluation.weights import Classifier


class Measuring:
    """Everything that is asked of a classifier.

    Args:
        classifier: In evaluation mode.
        steps: Of FGSM, in 255ths of the range of pixels.
        places: For each image the boxes in its crop, int64 ``(n, 4)``; or None for no measures
            that need them.
        localise: Whether to look for the objects by class activation maps, too.
        seed: Of the noise in backgrounds.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        steps: Sequence[float] = (),
        places: Sequence[np.ndarray] | None = None,
        localise: bool = False,
        seed: int = 0,
    ):
        self.classifier, self.steps, self.places = classifier, steps, places
        self.maps = localisation.ActivationMaps(classifier.model) if localise else None
        self.rng = np.random.default_rng(seed)
        self.parts: dict[str, list[Answers]] = {}
        self.overlaps: list[float] = []
        self.seen: dict[int, list[Seen]] = {}
        self.count = 0

    def show(self, numbers: Sequence[int]) -> None:
        """Keep the pictures of some images, given by their numbers, in ``seen``."""
        self.seen = {int(number): [] for number in numbers}

    @torch.no_grad()
    def add(self, pixels: Tensor, labels: Tensor, others: Tensor | None = None) -> None:
        """Measure a batch.

        Args:
            pixels: ``(B, 3, H, W)`` in [0, 1], the images that follow those of the last batch.
            labels: Numbers of the classifier's answers that are right, int64 ``(B,)``.
            others: Images whose pixels become backgrounds; with boxes only.
        """
        clean = self._ask("clean", pixels, labels)
        if self.steps:
            harder = attacks.fgsm(self.classifier, pixels, labels, self.steps)
            for step, one in zip(self.steps, harder, strict=True):
                self._ask(f"fgsm {step:g}", one, labels)
        if self.places is not None:
            own = self.places[self.count : self.count + len(labels)]
            inside = torch.from_numpy(boxes.masks(own, pixels.shape[-1])).to(pixels.device)
            replaced = attacks.replace_background(pixels, others, inside)
            self._ask("background replaced", replaced, labels)
            noisy = attacks.add_noise_to_background(pixels, inside, self.rng)
            self._ask("background noise", noisy, labels)
            if self.maps is not None:
                self._localise(pixels, clean, own)
        self.count += len(labels)

    def answers(self, what: str) -> Answers:
        """The answers to all images so far: "clean", "fgsm 4", "background replaced" or "noise"."""
        return measures.joined(self.parts[what])

    def results(self, bins: int) -> dict:
        """All measures but those by class.

        Args:
            bins: Of the calibration error.
        """
        found = {"clean": measures.summary(self.answers("clean"), bins)}
        for what in self.parts:
            kind, _, how = what.partition(" ")
            if how:
                row = measures.summary(self.answers(what), bins)
                found.setdefault(kind, {})[how] = row
        if self.overlaps:
            right = self.answers("clean").right
            found["localisation"] = localisation.scores(np.array(self.overlaps), right)
        return found

    def _ask(self, what: str, pixels: Tensor, labels: Tensor) -> Answers:
        answers = measures.answers_of(self.classifier(pixels), labels)
        self.parts.setdefault(what, []).append(answers)
        for row, kept in self._kept(len(labels)):
            image = (255 * pixels[row]).round().byte().permute(1, 2, 0).cpu().numpy()
            told = (one[row].item() for one in (answers.labels, answers.best, answers.confidence))
            kept.append(Seen(what, image, *told))
        return answers

    def _kept(self, rows: int) -> Iterator[tuple[int, list[Seen]]]:
        """The rows of this batch whose pictures are kept, and where."""
        for row in range(rows):
            if (kept := self.seen.get(self.count + row)) is not None:
                yield row, kept

    def _localise(self, pixels: Tensor, answers: Answers, places: Sequence[np.ndarray]) -> None:
        best = torch.from_numpy(answers.best).to(pixels.device)
        classes = self.classifier.columns[best]
        maps = self.maps(self.classifier.normalised(pixels), classes).cpu().numpy()
        found = [localisation.box_of(one) for one in maps]
        self.overlaps += map(localisation.overlap, found, places)
        for row, kept in self._kept(len(found)):
            kept[0] = kept[0]._replace(boxes=[*places[row].tolist(), found[row]], found=True)
            grey = (255 * maps[row]).round().astype(np.uint8)
            kept.append(kept[0]._replace(what="activation map", image=grey))
