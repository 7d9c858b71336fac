"""What is asked of the API server before a revision is accepted, and before anything is deleted for a replacement."""
