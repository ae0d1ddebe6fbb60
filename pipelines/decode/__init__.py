"""From a row of the manifest to a decoded sample: an image, the frames of a clip, a recording of events."""
