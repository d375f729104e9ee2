"""Pictures of a user's own for some places of each training batch, on the device."""

import logging
from pathlib import Path

import jax.numpy as jnp

from xrdjax.config import TrainConfig
from xrdjax.errors import ConfigError
from xrdjax.patterns.device_store import OwnPictures

log = logging.getLogger(__name__)


def own_pictures(config: TrainConfig) -> OwnPictures | None:
    """Return the configured folder's pictures, or None without one.

    Raises PictureError naming what cannot be read, ConfigError if the network needs axes that the labels do not give.
    """
    if not config.data.pictures_share or config.data.pictures is None:
        return None
    from xrdjax.patterns.labelled_folder import read_labelled_folder  # slow to load, and seldom needed

    read = read_labelled_folder(Path(config.data.pictures), config.pattern)
    if (config.model.sees_axis or config.model.says_axis) and not read.uvw.any(1).all():
        name = read.names[int((~read.uvw.any(1)).argmax())]
        raise ConfigError(
            f"data.pictures = '{config.data.pictures}': no zone axis of '{name}'; give u,v,w of every picture, or set "
            "model.sees_axis and model.says_axis off"
        )
    groups = len(set(read.space_group.tolist()))
    log.info("%s: %d pictures of %d space groups", config.data.pictures, len(read.names), groups)
    image = jnp.asarray(read.image)[..., None]
    space_group, crystal_system, uvw = map(jnp.asarray, (read.space_group, read.crystal_system, read.uvw))
    return OwnPictures(
        image=image,
        space_group=space_group,
        crystal_system=crystal_system,
        uvw=uvw,
        names=read.names,
        share=config.data.pictures_share,
    )
