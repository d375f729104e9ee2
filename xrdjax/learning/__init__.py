"""What learns from the patterns: models, losses, the training loop, checkpoints and records."""
