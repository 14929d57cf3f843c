"""The measures of logits in plain NumPy, written from their definitions."""

import numpy as np


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def wanted(logits, labels, bins):
    """Top-1, top-5, loss and ECE, image by image."""
    shares = softmax(logits)
    ranks = [int((row > row[label]).sum()) for row, label in zip(logits, labels, strict=True)]
    loss = -np.mean([np.log(row[label]) for row, label in zip(shares, labels, strict=True)])
    ece = 0.0
    for m in range(1, bins + 1):  # as papers number them
        inside = [i for i, row in enumerate(shares) if (m - 1) / bins < row.max() <= m / bins]
        if inside:
            accuracy = np.mean([ranks[i] == 0 for i in inside])
            ece += len(inside) / len(labels) * abs(accuracy - shares[inside].max(1).mean())
    top1, top5 = (100 * np.mean([rank < most for rank in ranks]) for most in (1, 5))
    return dict(images=len(labels), top1=top1, top5=top5, loss=loss, ece=100 * ece)
