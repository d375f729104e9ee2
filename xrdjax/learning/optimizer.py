"""The optimiser of a run, from its configuration."""

import optax

from xrdjax.config import OptimConfig


def learning_rate(config: OptimConfig, steps: int) -> optax.Schedule:
    """Return linear warm-up from zero, then a constant rate, or a cosine down to zero at the last step."""
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(config.lr, max(1, steps - config.warmup_steps))
    else:
        after = optax.constant_schedule(config.lr)
    if not config.warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, config.lr, config.warmup_steps)
    return optax.join_schedules([warmup, after], [config.warmup_steps])


def build_optimizer(config: OptimConfig, steps: int) -> optax.GradientTransformation:
    """Return AdamW (Adam, at zero weight decay), with the gradient's norm clipped if configured."""
    adam = optax.adamw(learning_rate(config, steps), weight_decay=config.weight_decay)
    return adam if config.clip_norm is None else optax.chain(optax.clip_by_global_norm(config.clip_norm), adam)
