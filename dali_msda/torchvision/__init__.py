"""Drop-ins for torchvision: ``from dali_msda.torchvision import CutMix, MixUp``."""

from dali_msda.torchvision.transforms import CutMix, MixUp

__all__ = ["CutMix", "MixUp"]
