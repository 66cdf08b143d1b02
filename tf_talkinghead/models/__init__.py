"""The networks: embedder, generators (the paper's and guided), discriminator, perceptual ones."""
