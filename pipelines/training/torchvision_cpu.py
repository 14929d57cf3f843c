"""See :mod:`dali_msda.torch.torchvision_cpu`."""

from dali_msda.torch.torchvision_cpu import declare_operators

__all__ = ["declare_operators"]
