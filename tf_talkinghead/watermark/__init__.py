"""The invisible, keyed watermark of rendered pictures: pattern, payload, embedding, detection."""
