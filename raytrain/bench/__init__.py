"""What `raytrain bench` measures: figures of speed, each against a peer and with its bound."""
