"""What the trainer is made of: settings, models, steps of their weights, metrics, checkpoints."""
