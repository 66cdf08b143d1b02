"""From video and photos to landmarks, records, episodes and the landmark drawing."""
