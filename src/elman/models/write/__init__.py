"""A text for something: transduction and captions, and how decoders search."""
