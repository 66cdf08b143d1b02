"""The studio: avatars in a browser, made from photos, moved by hand, driven live or by a film."""
