"""Methods that take part in the training step, because they mix what the model computes."""
