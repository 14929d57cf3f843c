"""Methods that place blocks by the saliency of a model: Puzzle Mix and Co-Mixup."""
