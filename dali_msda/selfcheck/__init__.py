"""``python -m dali_msda selfcheck``: whether this installation draws and mixes as it should."""
