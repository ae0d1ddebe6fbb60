"""Any folder of videos: class folders or a ready split as for images, or a flat folder without labels.

root/<class>/**.mp4, or root/train/<class>/** beside root/test/<class>/**, by the rules of
`pipelines.sources.folder`. Without any class folder, wherever they lie in the root itself, videos are
unlabelled: all for pretraining. Each file is a group of its own: where several are cut from one source video,
say so by a list with a group column (data.source = csv).
"""

from pipelines.forms.media import VIDEOS
from pipelines.sources.folder import read_class_folders
from pipelines.storage.manifest import Manifest
from pipelines.storage.places import Storage
from raytrain.config.data import DataConfig


def recognise(storage: Storage, first: str) -> bool:
    """Return whether the first image or video below the root is a video."""
    return VIDEOS.holds(first)


def read_videos(config: DataConfig, storage: Storage) -> Manifest:
    """Return the manifest of a folder of videos; none is opened.

    Raises:
        DataError: no videos, or videos that lie in no class folder beside others that do.
    """
    return read_class_folders(config, storage, VIDEOS)
