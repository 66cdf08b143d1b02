"""A new person (Sec. 3.3): 1 to 32 reference images and meta-learned weights in, an avatar out."""
