"""What the trainer is made of: settings, models, schedules, metrics, processes, checkpoints."""
