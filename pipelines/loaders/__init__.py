"""The training and evaluation loaders over DALI, FFCV and PyTorch."""
