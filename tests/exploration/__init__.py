"""The real `decide()`, explored exhaustively for small sets."""
