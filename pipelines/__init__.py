"""Recipes over `dali_msda`: the ImageNet loaders, the trainer, the demo and its data."""
