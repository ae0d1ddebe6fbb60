"""What is fixed before an encoder: augmentations, operators, standardisers, cuts. Torch, no ray."""
