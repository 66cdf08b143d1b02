"""The networks of the paper: embedder, generator, discriminator, and the perceptual networks."""
