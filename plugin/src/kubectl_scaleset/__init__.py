"""`kubectl scaleset`, the command line for people. It never imports kopf, and imports slow modules only when needed."""
