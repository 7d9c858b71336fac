"""`kubectl scaleset`: what a person types. Never kopf, and nothing slow is imported before it is needed."""
