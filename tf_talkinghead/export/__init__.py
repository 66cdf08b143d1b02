"""Avatars on disk as TensorFlow Serving reads them: SavedModels, the shared bank, cards and versions."""
