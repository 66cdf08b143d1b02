"""Training data: from video and photos to records, episodes and the landmark drawing."""
