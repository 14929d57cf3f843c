"""Networks by name, from torchvision and timm."""

import difflib

from torch import nn

from dali_msda.pipelines.torchvision_cpu import declare_operators

# Classifiers of torchvision with extra heads, which the loss would not know what to do with.
WITH_EXTRA_HEADS = ("googlenet", "inception_v3")


def make_model(name: str, num_classes: int) -> nn.Module:
    """Make an untrained classifier.

    Args:
        name: A classification model of torchvision, as ``resnet101``, or else of timm; with
            ``timm:`` before it always of timm.
        num_classes: Width of its output.

    Raises:
        ValueError: If neither has a model of that name.
    """
    declare_operators()
    import torchvision.models

    ours = torchvision.models.list_models(module=torchvision.models)
    if name in ours:
        extra = dict(aux_logits=False, init_weights=True) if name in WITH_EXTRA_HEADS else {}
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes, **extra)
    import timm  # takes a second or two

    plain = name.removeprefix("timm:")
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, [*ours, *timm.list_models()], n=3)
        guess = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"model: expected one of torchvision or timm, got {name!r}.{guess}")
    return timm.create_model(plain, num_classes=num_classes)
