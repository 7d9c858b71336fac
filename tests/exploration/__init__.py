"""The real `decide()`: explored exhaustively for small sets, by stories, and as logs of whole rollouts to read."""
