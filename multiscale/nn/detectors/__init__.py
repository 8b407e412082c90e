"""What decides where a level ends a segment: one file a detector."""
