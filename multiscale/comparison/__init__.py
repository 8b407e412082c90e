"""Reads run folders and sets them side by side: the only reader of results."""
