"""Where samples lie: folders, archives, shards, and the manifest that lists them."""
