"""Export to TensorFlow Serving: SavedModels, the shared bank, cards, the versioned model store."""
